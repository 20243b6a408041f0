"""`snapshot purge`: remove, source by source, the snapshots that no rule keeps.

Planning is pure and shows a reason for every snapshot; applying removes, and ends with the recording half of a prune.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from vaultpy.errors import UntrustedSigner, UsageError, VaultpyError
from vaultpy.events import OnEvent, ignore
from vaultpy.model import HostId, SnapshotId, SourceId
from vaultpy.ops.reading.catalog import Catalog, Entry, describe_source, is_called, sources_of
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.records import Random
from vaultpy.ops.removing.needs import Place, find_retired
from vaultpy.ops.removing.prune import Amount, amount_of, plan_prune, record_candidates
from vaultpy.ops.removing.retention import Rules, Verdict, decide
from vaultpy.ops.removing.unpublish import Removed, remove_entries
from vaultpy.signature import fingerprint
from vaultpy.store.base import Store
from vaultpy.vault import Clock

Groups = Mapping[tuple[HostId, SourceId], Sequence[Entry]]


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """The verdicts on one source's snapshots, oldest first; `name` for people."""

    name: str
    verdicts: tuple[Verdict, ...] = field(repr=False)

    @property
    def going(self) -> tuple[Entry, ...]:
        return tuple(one.entry for one in self.verdicts if not one.keep)

    @property
    def counted(self) -> int:
        """The snapshots that rules look at: what is flagged is not among them."""
        return sum(one.entry.flag is None for one in self.verdicts)

    @property
    def is_drastic(self) -> bool:
        """More than half would go."""
        return len(self.going) * 2 > self.counted


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What a purge would remove: snapshots by source, and `partial` ones that a later complete one retires."""

    sources: tuple[SourcePlan, ...]
    partial: tuple[SnapshotId, ...]

    @property
    def going(self) -> tuple[Entry, ...]:
        return tuple(entry for source in self.sources for entry in source.going)


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge did; `recorded`: what a prune may delete a grace later, or None where `stopped` says why nothing was
    recorded."""

    removed: Removed
    recorded: Amount | None
    stopped: VaultpyError | None


def plan_purge(catalog: Catalog, rules: Rules, now: int, source: str | None = None) -> PurgePlan:
    """What the rules make of every source, or of those of one name (or id); `now` from `safe_now`, in nanoseconds.

    Raises UsageError where there is no rule, where a source or tag is unknown, and where names or tags would be needed
    that nothing here can tell: none of these may ever come to mean "everything".
    """
    if not rules:
        raise UsageError("snapshot purge: no rule was given", hint="for example --keep-daily 7, or --older-than 1y")
    groups = _choose(catalog, source)
    _check_tags(groups, rules.tags)
    sources = tuple(SourcePlan(describe_source(group[-1]), decide(group, rules, now)) for group in groups.values())
    return PurgePlan(sources, tuple(retired_partials(catalog, groups.keys())))


def safe_now(store: Store, clock: Clock) -> int:
    """The earlier of the store's clock and this machine's, from which ages count: one alone that runs ahead must not make
    old what is young.  In nanoseconds."""
    return min(store.clock(), clock())


def check_plan(plan: PurgePlan, *, force: bool) -> None:
    """Raise UsageError where more than half of a source would go and nobody said that this is meant."""
    drastic = [one for one in plan.sources if one.is_drastic]
    if drastic and not force:
        shown = "; ".join(f"{one.name}: {len(one.going)} of {one.counted} snapshots" for one in drastic)
        raise UsageError(
            f"purge would remove more than half of a source ({shown})",
            hint="nothing was removed; look at it by --dry-run, and give --force if it is meant",
        )


def apply_purge(reader: Reader, plan: PurgePlan, random: Random, on_event: OnEvent = ignore) -> Purged:
    """Remove what was planned, then record what nothing needs any more.

    That the recording cannot be done (an unknown signer, a damaged manifest) undoes no removal: it is told in `stopped`.
    """
    removed = remove_entries(reader, plan.going, plan.partial, random)
    try:
        after = plan_prune(reader, on_event=on_event)
        record_candidates(reader.at.store, after, random)
    except VaultpyError as error:
        return Purged(removed, None, error)
    return Purged(removed, amount_of(after.candidates), None)


def check_signers(reader: Reader, catalog: Catalog) -> None:
    """Raise UntrustedSigner where nothing says whose snapshots are believed: starts that nobody signed must not decide
    what goes."""
    if reader.trust is not None or not catalog.entries:
        return
    found = sorted({fingerprint(one.signer) for one in catalog.entries if one.signer})
    raise UntrustedSigner(
        f"nothing here says whose snapshots may be believed; their signers are {', '.join(found)}",
        hint="give --signer for each host that you know, or a config that names them under signers",
    )


def retired_partials(catalog: Catalog, sources: Collection[tuple[HostId, SourceId]]) -> list[SnapshotId]:
    """The partial snapshots of some sources that a later complete one makes superfluous."""
    return find_retired(
        [_place(one) for one in catalog.entries if one.signed is not False],
        [_place(one) for one in catalog.partial if (one.host, one.source) in sources],
    )


def _place(entry: Entry) -> Place:
    return entry.host, entry.source, entry.seq, entry.id


def _choose(catalog: Catalog, source: str | None) -> Groups:
    groups = sources_of(catalog.entries)
    if source is None:
        return groups
    by_id = {key: group for key, group in groups.items() if str(key[1]) == source}
    if by_id:
        return by_id
    believed = [one for one in catalog.entries if one.flag is None]
    if any(one.source_name is None for one in believed):
        raise UsageError(
            "source names cannot be told without an identity", hint="give --identity FILE, or the source's id"
        )
    chosen = {(one.host, one.source) for one in believed if is_called(one, source)}
    if not chosen:
        known = ", ".join(sorted({str(one.source_name) for one in believed})) or "none"
        raise UsageError(f"source {source!r} has no snapshots", hint=f"there are: {known}")
    return {key: groups[key] for key in groups if key in chosen}


def _check_tags(groups: Groups, tags: Sequence[str]) -> None:
    if not tags:
        return
    believed = [one for group in groups.values() for one in group if one.flag is None]
    if any(one.tags is None for one in believed):
        raise UsageError(
            "tags cannot be told without an identity", hint="give --identity FILE, or leave --keep-tag out"
        )
    known = {tag for one in believed for tag in one.tags or ()}
    for tag in tags:
        if tag not in known:
            raise UsageError(f"tag {tag!r} is on no snapshot", hint=f"there are: {', '.join(sorted(known)) or 'none'}")
