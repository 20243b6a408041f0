"""What the snapshots of a store need: every manifest read and believed, or a stop.

A prune deletes what no manifest names, so a manifest that is missing, damaged, of an unknown signer or of a newer format
must never be taken for one that names nothing.  All of them are named, and nothing is deleted or recorded.

Manifests that were deleted or overwritten count as long as a lock keeps them (locked.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial

from vaultpy.errors import DamageError, ObjectNotFound, StoreFormatError, UntrustedSigner, UsageError, VaultpyError
from vaultpy.events import OnEvent, StepAdvanced, StepBegan
from vaultpy.index.snapshots import State, all_snapshots
from vaultpy.manifest import Manifest
from vaultpy.model import BlobHash, ExportId, HostId, SnapshotId, SnapshotState, SourceId
from vaultpy.ops.reading.manifests import fetch_ahead, outcome, read_manifests
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.records import Window, read_records, removed_snapshots
from vaultpy.ops.removing.locked import LockedManifest, fetch_locked, list_locked, open_locked
from vaultpy.ops.survey import Metadata, list_metadata
from vaultpy.signature import Trust, fingerprint

LOOKS = 4
"""How often a prune looks, as long as it is always something else that stands in its way."""

_SHOWN = 5

Place = tuple[HostId, SourceId, int, SnapshotId]
"""Host, source, sequence and id of a snapshot."""


@dataclass(frozen=True, slots=True)
class Pardon:
    """What a person decided about manifests that would stop a prune: `trusted` are believed whoever signed them,
    `given_up` are lost."""

    trusted: frozenset[SnapshotId] = frozenset()
    given_up: frozenset[SnapshotId] = frozenset()


@dataclass(frozen=True, slots=True)
class Needs:
    """What has to stay.

    `retired`: partial snapshots that a later complete one of their source made superfluous (what the fresh ones of them
    name is still needed).  `given_up`: those of the pardon's.  `metadata`: the listing that all this was read by.
    `manifests`: how many were read; `locked`: how many more that only a lock keeps.  `unshown`: snapshots without a
    manifest of which something is left, here or in the store: only the record of their removal explains that.
    """

    manifests: int
    locked: int
    blobs: set[BlobHash] = field(repr=False)
    exports: set[ExportId] = field(repr=False)
    retired: tuple[SnapshotId, ...]
    given_up: tuple[SnapshotId, ...]
    metadata: Metadata = field(repr=False)
    unshown: frozenset[SnapshotId] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Obstacle:
    """A snapshot of which nobody can say what it needs; `signer` (fingerprint) where only that is unknown."""

    id: SnapshotId
    why: str
    signer: str | None = None
    newer: bool = False


def read_needs(
    reader: Reader, pardon: Pardon, removed: frozenset[SnapshotId], window: Window, on_event: OnEvent
) -> Needs:
    """Read every manifest there is.

    `removed`: the snapshots that purge records named when they were read before this; `window`: partial snapshots count
    while they are younger than its grace, locks when they end after its `now`.  Raises UntrustedSigner, DamageError and
    StoreFormatError with the names of all that stand in the way, UsageError for a pardon that nothing needs.
    """
    reading = _Reading(reader, pardon, window, on_event)
    # The index before the listing: its host may be at work, and what it published since is in neither then.
    published = _published(reader)
    metadata = reading.read(list_metadata(reader.at.store))
    before: set[SnapshotId] = set()
    for _ in range(LOOKS - 1):
        standing = {one.id for one in (*reading.obstacles, *_missing(published, metadata, removed))}
        if standing <= before or not standing & before <= pardon.given_up:
            break
        # A host puts the signature first, whoever removes takes the manifest first: one in the middle of it is done by
        # now, and another may have begun.  What stands there twice is not on its way.  The records are read after
        # the listing, because they come before what they remove goes.
        before = standing
        published = _published(reader)
        metadata = reading.read(list_metadata(reader.at.store))
        removed = removed_snapshots(read_records(reader.at.store))
    # Last: what was removed since it could be read is locked now.
    locked = list_locked(reader.at.store, window.now)
    obstacles = [
        *reading.obstacles,
        *_missing(published, metadata, removed),
        *reading.vanished(metadata, removed),
        *reading.read_locked(locked),
    ]
    listed = metadata.manifests.keys() | {one.id for one in locked}
    _check_pardon(pardon, reading, listed, {one.id for one in obstacles} | removed)
    unpardoned = [one for one in obstacles if one.id not in pardon.given_up]
    if unpardoned:
        raise _stop(unpardoned)
    return Needs(
        reading.manifests,
        reading.locked,
        reading.blobs,
        reading.exports,
        tuple(find_retired(reading.complete, reading.partial)),
        tuple(sorted({one.id for one in obstacles})),
        metadata,
        frozenset(_unshown(published, metadata)),
    )


def find_retired(complete: Iterable[Place], partial: Iterable[Place]) -> list[SnapshotId]:
    """The partial snapshots that a later complete one of the same source retires.

    Of equal sequences the ids tell, which grow with time: a run that stores anew what its second look found missing goes
    on under its sequence, and its partial snapshots are not those of the manifest before.
    """
    newest: dict[tuple[HostId, SourceId], tuple[int, SnapshotId]] = {}
    for host, source, seq, id in complete:
        newest[host, source] = max(newest.get((host, source), (seq, id)), (seq, id))
    return [id for host, source, seq, id in partial if (host, source) in newest and (seq, id) < newest[host, source]]


class _Reading:
    """The sums over all manifests, one after the other, because all of them together may not fit in memory."""

    def __init__(self, reader: Reader, pardon: Pardon, window: Window, on_event: OnEvent) -> None:
        self._reader, self._pardon, self._on_event = reader, pardon, on_event
        self._fresh = window.now - window.grace
        self._trust = reader.trust or Trust(frozenset(), False)
        self._seen: set[SnapshotId] = set()
        self.read_whole: set[SnapshotId] = set()
        self.locked = 0
        self.obstacles: list[_Obstacle] = []
        self.blobs: set[BlobHash] = set()
        self.exports: set[ExportId] = set()
        self.complete: list[Place] = []
        self.partial: list[Place] = []

    @property
    def manifests(self) -> int:
        return len(self.read_whole)

    def read(self, metadata: Metadata) -> Metadata:
        """Read what is listed and was not read yet; what stood in the way before is looked at again."""
        self.obstacles.clear()
        self._seen |= metadata.manifests.keys()
        wanted = sorted(metadata.manifests.keys() - self.read_whole)
        self._on_event(StepBegan("reading manifests", files_total=len(wanted)))
        for number, (id, found) in enumerate(read_manifests(self._reader, wanted), 1):
            self._add(self._judge(id, found), metadata)
            self._on_event(StepAdvanced(number, 0))
        return metadata

    def vanished(self, metadata: Metadata, removed: frozenset[SnapshotId]) -> Iterator[_Obstacle]:
        """What was listed once, was not read, and is not listed any more, though nothing says that it was removed."""
        for id in sorted(self._seen - self.read_whole - metadata.manifests.keys() - metadata.signatures.keys()):
            if id not in removed:
                yield _Obstacle(id, "it vanished while it was read, and nothing says that it was removed")

    def read_locked(self, locked: Sequence[LockedManifest]) -> list[_Obstacle]:
        """Read what only locks keep; gives what stands in the way.

        A host signs one manifest for a snapshot, so where one was read, versions that nobody signed have nothing to add:
        else whoever can put could stop all prunes until the lock on his rubbish ends.
        """
        obstacles: list[_Obstacle] = []
        whole = set(self.read_whole)
        at = self._reader.at
        for one, fetched in fetch_ahead(lambda one: fetch_locked(at.store, one), locked):
            if isinstance(fetched, VaultpyError):
                found = self._judge(one.id, fetched)
            else:
                found = self._judge(one.id, outcome(partial(open_locked, one, *fetched, at.settings.id)))
            if isinstance(found, _Obstacle):
                why = f"version {one.version.id} of its manifest is locked: {found.why}"
                obstacles.append(replace(found, why=why))
                continue
            whole.add(one.id)
            self.locked += 1
            self._need(found, one.version.modified)
        return [one for one in obstacles if one.signer or one.newer or one.id not in whole]

    def _judge(self, id: SnapshotId, found: Manifest | VaultpyError) -> Manifest | _Obstacle:
        if isinstance(found, ObjectNotFound):
            return _Obstacle(id, "it is listed, and cannot be found")
        if isinstance(found, VaultpyError):
            return _Obstacle(id, found.message, newer=isinstance(found, StoreFormatError))
        try:
            if id not in self._pardon.trusted:
                self._trust.check(found.signer)
        except UntrustedSigner:
            return _Obstacle(id, "its signer is unknown", signer=fingerprint(found.signer))
        return found

    def _add(self, found: Manifest | _Obstacle, metadata: Metadata) -> None:
        if isinstance(found, _Obstacle):
            self.obstacles.append(found)
            return
        self.read_whole.add(found.snapshot)
        place = (found.host, found.source, found.sequence, found.snapshot)
        (self.partial if found.state == SnapshotState.PARTIAL else self.complete).append(place)
        self._need(found, metadata.manifests[found.snapshot].modified)

    def _need(self, manifest: Manifest, modified: int) -> None:
        if manifest.state == SnapshotState.COMPLETE or modified >= self._fresh:
            self.blobs.update(ref.hash for ref in manifest.blobs)
            self.exports.update(ref.id for ref in manifest.exports)


def _published(reader: Reader) -> list[SnapshotId]:
    """What the index here, if there is one, knows to have been published."""
    if reader.index is None:
        return []
    return [row.id for row in all_snapshots(reader.index) if row.state in (State.COMPLETE, State.UNCLEAN)]


def _missing(published: Sequence[SnapshotId], metadata: Metadata, removed: frozenset[SnapshotId]) -> list[_Obstacle]:
    """Snapshots that were published, and whose manifests are neither there nor said to have been removed."""
    return [
        _Obstacle(id, f"{why}, and nothing says that it was removed")
        for id, why in sorted(_unshown(published, metadata).items())
        if id not in removed
    ]


def _unshown(published: Sequence[SnapshotId], metadata: Metadata) -> dict[SnapshotId, str]:
    """Snapshots of which something is left, and whose manifests are not there: what is left of each."""
    found = dict.fromkeys(metadata.signatures, "it has a signature and no manifest")
    found |= dict.fromkeys(published, "this host's index knows it, and the store shows no manifest")
    return {id: why for id, why in found.items() if id not in metadata.manifests}


def _check_pardon(pardon: Pardon, reading: _Reading, listed: Set[SnapshotId], known: set[SnapshotId]) -> None:
    """A mistyped UUID, or one of a snapshot that is whole, must not pass for a decision; `listed`: what has a manifest,
    `known`: what stands in the way, or was removed."""
    for id in sorted(pardon.given_up):
        if id in reading.read_whole:
            raise UsageError(f"snapshot {id} is whole", hint=f"to remove it: vaultpy snapshot remove {id}")
        if id not in known:
            raise UsageError(f"snapshot {id}: the store has nothing of it", hint="check the UUID")
    for id in sorted(pardon.trusted):
        if id not in listed:
            raise UsageError(f"snapshot {id}: the store has no manifest of it", hint="check the UUID")


def _stop(obstacles: Sequence[_Obstacle]) -> VaultpyError:
    if all(one.newer for one in obstacles):
        return StoreFormatError(f"prune stops: {_enumerate(obstacles)}", hint="use a newer vaultpy")
    if all(one.signer for one in obstacles):
        signers = ", ".join(sorted({str(one.signer) for one in obstacles}))
        return UntrustedSigner(
            "prune stops: it cannot be told what snapshots of unknown signers need"
            f" ({signers}; {len(obstacles)} in number, the first is {obstacles[0].id})",
            hint="add the hosts to signers in the config, or give --signer for each;"
            " one snapshot alone: --trust UUID to believe it, --retire UUID to give it up",
        )
    return DamageError(
        f"prune stops: {_enumerate(obstacles)}",
        hint="what they need cannot be told, so nothing was deleted; bring them back, or give up those that are lost:"
        " --retire UUID",
    )


def _enumerate(obstacles: Sequence[_Obstacle]) -> str:
    shown = "; ".join(f"snapshot {one.id}: {one.why}" for one in obstacles[:_SHOWN])
    hidden = len(obstacles) - _SHOWN
    return f"{shown}; and {hidden} more" if hidden > 0 else shown
