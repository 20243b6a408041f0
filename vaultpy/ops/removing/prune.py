"""`store prune`: record what nothing needs; delete, a grace later, what still nothing needs.

Safe beside hosts that make snapshots at any time, without a lock and without trusting any clock but the store's:

    prune:  P1 list and read the records → P2 list and read the manifests, and then hidden ones that a lock keeps → P3 list
            the objects → P4 delete what was in a due record at P1, was named by no manifest at P2 and was older than the
            grace at P3 → P5 delete the record, if nothing that it names is left
    host:   H1 list records and objects, build only on what is listed and not recorded → H2 put the manifest → H3 look
            again: list the records, then the objects; store anew what is recorded or missing, and publish once more

Say a host's manifest names an object, and a prune deletes it at P4.  The manifest was not listed at P2, so H2 came after P2,
hence H3 after P1, and the record had been put before P1.  If H3 finds the record, the object is stored anew.  If it does
not, the record went at P5, and P5 comes only after every object it names was gone: H3 lists the objects after the records,
and finds it missing.  Either way the snapshot ends up standing on an object that no record names.

Why P5 is so strict: of two prunes at once, one may keep an object that the other, whose P2 was earlier, is still about to
delete.  As long as the record stands, H3 sees it.  A record with something left becomes void by age; before every few
deletes a prune looks whether its record is still there and due, and records go only a whole grace after that has ended
(records.py).  What remains is a prune that stands still for more than a grace between that look and the deletes after it.

The grace itself is not what makes this safe: it keeps prunes out of the way of runs, which would have to store things
anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from uuid import UUID

from vaultpy.events import OnEvent, StepAdvanced, StepBegan, ignore
from vaultpy.model import BlobHash, ExportId, SnapshotId
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.records import (
    Random,
    Record,
    Window,
    object_key,
    put_candidates,
    read_records,
    removed_snapshots,
)
from vaultpy.ops.removing.needs import Needs, Pardon, read_needs
from vaultpy.ops.removing.unpublish import Removed, delete_objects, remove_snapshots
from vaultpy.store import names
from vaultpy.store.base import ObjectInfo, Store
from vaultpy.units import Duration, before

BATCH = 200
"""Objects deleted between two looks at the record that allows it."""

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """`grace`: to wait longer than the store asks; `pardon`: what a person decided about manifests in the way."""

    grace: Duration | None = None
    pardon: Pardon = field(default_factory=Pardon)


@dataclass(frozen=True, slots=True)
class Due:
    """A record that may be acted on, the objects of it that still nothing needs, and whether others of it are left."""

    info: ObjectInfo
    objects: tuple[ObjectInfo, ...] = field(repr=False)
    others_left: bool


@dataclass(frozen=True, slots=True)
class Amount:
    """Objects by kind, and their bytes."""

    blobs: int = 0
    exports: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What a prune would do.  `manifests`: how many were read; `locked`: how many more that are hidden, and that a lock
    keeps; `retired`: partial snapshots to remove; `leftovers`: signatures of removed snapshots; `spent`: names of records
    to drop; `candidates`: to be recorded; `waiting`: recorded, and not to be deleted yet."""

    window: Window
    manifests: int
    locked: int
    retired: tuple[SnapshotId, ...]
    given_up: tuple[SnapshotId, ...]
    leftovers: tuple[str, ...]
    due: tuple[Due, ...]
    spent: tuple[str, ...]
    candidates: tuple[ObjectInfo, ...] = field(repr=False)
    waiting: tuple[ObjectInfo, ...] = field(repr=False)

    @property
    def doomed(self) -> Amount:
        """What would be deleted."""
        return amount_of({one.name: one for due in self.due for one in due.objects}.values())


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did.  `refused`: the store said "not yet" (`answer`); `records`: the new ones; `spent`: records that
    were dropped."""

    deleted: Amount
    refused: Amount
    recorded: Amount
    records: tuple[UUID, ...]
    removed: Removed
    spent: int
    answer: str | None = None


def plan_prune(reader: Reader, options: PruneOptions = PruneOptions(), on_event: OnEvent = ignore) -> PrunePlan:
    """Look at everything, in the order that the argument above needs; nothing is changed.

    Raises UntrustedSigner, DamageError and StoreFormatError for manifests of which nobody can say what they need,
    UsageError for a pardon that makes no sense.
    """
    store = reader.at.store
    # The clock first: all ages come out a little too small, which spares objects and lets snapshots count as fresh.
    now = store.clock()
    window = Window(now, _grace(reader.at.settings.grace, options.grace, now))
    records = read_records(store)
    needs = read_needs(reader, options.pardon, removed_snapshots(records), window, on_event)
    on_event(StepBegan("listing objects"))
    return _sort(records, needs, chain(store.list(names.BLOBS), needs.metadata.exports.values()), window)


def apply_prune(store: Store, plan: PrunePlan, random: Random, on_event: OnEvent = ignore) -> Pruned:
    """Do what was planned.  It may die anywhere and be repeated: every step leaves only what the next prune understands."""
    removed = remove_snapshots(store, [[*plan.retired, *plan.given_up]], plan.window.now, random)
    delete_objects(store, plan.leftovers)
    gone, refused, answer = _delete_all_due(store, plan, on_event)
    spent = delete_objects(store, plan.spent)
    records = record_candidates(store, plan, random)
    return Pruned(
        deleted=amount_of(gone),
        refused=amount_of(refused),
        recorded=amount_of(plan.candidates),
        records=records,
        removed=removed,
        spent=len(spent.gone),
        answer=answer or removed.answer or spent.answer,
    )


def record_candidates(store: Store, plan: PrunePlan, random: Random) -> tuple[UUID, ...]:
    """The recording half alone, with which a purge ends, too."""
    return put_candidates(store, plan.candidates, plan.window.now, random)


def amount_of(objects: Iterable[ObjectInfo]) -> Amount:
    """Blobs, exports and bytes of some objects."""
    blobs = exports = size = 0
    for one in objects:
        is_blob = one.name.startswith(names.BLOBS)
        blobs, exports, size = blobs + is_blob, exports + (not is_blob), size + one.size
    return Amount(blobs, exports, size)


def _grace(least: int, asked: Duration | None, now: int) -> int:
    """In nanoseconds; never less than the store asks (`least`, in seconds)."""
    return max(least * NANOSECONDS, now - before(now, asked) if asked else 0)


def _sort(records: Sequence[Record], needs: Needs, objects: Iterable[ObjectInfo], window: Window) -> PrunePlan:
    """Tell the objects apart: needed or young, to be deleted, waiting, or new candidates."""
    due = [one for one in records if window.is_due(one.info) and (one.named.blobs or one.named.exports)]
    named_by = _positions(due)
    live = set(chain.from_iterable(_keys(one) for one in records if window.is_live(one.info)))
    doomed: list[list[ObjectInfo]] = [[] for _ in due]
    # A record that also tells of removals goes by age alone.
    others_left = [bool(one.named.snapshots) for one in due]
    candidates, waiting = [], []
    for info in objects:
        key = object_key(info)
        if key is None:
            continue
        may_go = window.is_settled(info) and key not in needs.blobs and key not in needs.exports
        for position in named_by.get(key, ()):
            if may_go:
                doomed[position].append(info)
            else:
                others_left[position] = True
        if may_go and key not in live:
            candidates.append(info)
        elif may_go and key not in named_by:
            waiting.append(info)
    return PrunePlan(
        window,
        needs.manifests,
        needs.locked,
        needs.retired,
        needs.given_up,
        tuple(_leftovers(records, needs, window)),
        tuple(Due(one.info, tuple(doomed[at]), others_left[at]) for at, one in enumerate(due)),
        tuple(one.info.name for one in records if window.is_spent(one.info) and not _is_awaited(one, needs)),
        tuple(candidates),
        tuple(waiting),
    )


def _keys(record: Record) -> Iterator[BlobHash | ExportId]:
    yield from record.named.blobs
    yield from record.named.exports


def _positions(records: Sequence[Record]) -> dict[BlobHash | ExportId, list[int]]:
    """Which of the records name an object; two prunes at once may both have recorded it."""
    found: dict[BlobHash | ExportId, list[int]] = {}
    for position, record in enumerate(records):
        for key in _keys(record):
            found.setdefault(key, []).append(position)
    return found


def _leftovers(records: Sequence[Record], needs: Needs, window: Window) -> Iterator[str]:
    """Signatures that a removal died before; not young ones, whose manifest may be on its way."""
    metadata = needs.metadata
    for id in sorted(removed_snapshots(records)):
        info = metadata.signatures.get(id)
        if info is not None and id not in metadata.manifests and window.is_settled(info):
            yield info.name


def _is_awaited(record: Record, needs: Needs) -> bool:
    """Whether something is still left of a snapshot without a manifest (its signature; its row in the index of a host
    that has not run since), which only this record may explain."""
    return not needs.unshown.isdisjoint(record.named.snapshots)


def _delete_all_due(
    store: Store, plan: PrunePlan, on_event: OnEvent
) -> tuple[list[ObjectInfo], list[ObjectInfo], str | None]:
    gone: dict[str, ObjectInfo] = {}
    refused: dict[str, ObjectInfo] = {}
    answer = None
    on_event(StepBegan("deleting", files_total=sum(len(one.objects) for one in plan.due)))
    for due in plan.due:
        for start in range(0, len(due.objects), BATCH):
            if not _is_still_due(store, due.info, plan.window.grace):
                break
            batch = {one.name: one for one in due.objects[start : start + BATCH]}
            deleted = delete_objects(store, batch)
            gone |= {name: batch[name] for name in deleted.gone}
            refused |= {name: batch[name] for name in deleted.refused}
            answer = answer or deleted.answer
            on_event(StepAdvanced(len(gone) + len(refused), sum(one.size for one in gone.values())))
        if not due.others_left and all(one.name in gone for one in due.objects):
            delete_objects(store, [due.info.name])
    return list(gone.values()), list(refused.values()), answer


def _is_still_due(store: Store, record: ObjectInfo, grace: int) -> bool:
    """Whether hosts still see the record; another prune may have ended it, or this one have stood still for long."""
    found = store.stat(record.name)
    return found is not None and Window(store.clock(), grace).is_due(found)
