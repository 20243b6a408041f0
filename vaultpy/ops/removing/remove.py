"""`snapshot remove`: take named snapshots away, but never the newest of a source that has others.

The newest is what the next snapshot builds on and what a restore looks for first; it goes only with all the others, which
retires the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vaultpy.errors import UntrustedSigner, UsageError
from vaultpy.model import HostId, SnapshotId, SourceId
from vaultpy.ops.reading.catalog import Catalog, Entry, describe_source, sources_of
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.reading.resolve import resolve_snapshot
from vaultpy.ops.records import Random
from vaultpy.ops.removing.purge import retired_partials
from vaultpy.ops.removing.unpublish import Removed, remove_entries


@dataclass(frozen=True, slots=True)
class RemovalPlan:
    """What would go: snapshots, partial ones that go with them, and the names of the sources that end with that."""

    going: tuple[Entry, ...]
    partial: tuple[SnapshotId, ...]
    retired_sources: tuple[str, ...]


def plan_removal(catalog: Catalog, texts: Sequence[str], source: str | None = None, *, force: bool) -> RemovalPlan:
    """The snapshots that people named.

    `force` permits two things: a pinned one, and the newest of a source if all of its snapshots go.  Raises UsageError,
    and UntrustedSigner for what an unknown signer signed.
    """
    going = tuple({one.id: one for one in (resolve_snapshot(catalog, text, source) for text in texts)}.values())
    for one in going:
        _check_one(one, force=force)
    ended = _ended_sources(catalog, going, force=force)
    partial = retired_partials(catalog, {(one.host, one.source) for one in going})
    partial += [one.id for one in catalog.partial if (one.host, one.source) in ended]
    return RemovalPlan(going, tuple(dict.fromkeys(partial)), tuple(ended.values()))


def apply_removal(reader: Reader, plan: RemovalPlan, random: Random) -> Removed:
    """Remove what was planned, with what it repairs and hides."""
    return remove_entries(reader, plan.going, plan.partial, random)


def _check_one(entry: Entry, *, force: bool) -> None:
    if entry.signed is False:
        raise UntrustedSigner(
            f"snapshot {entry.id} is signed by an unknown signer",
            hint=f"give --signer if you know its host; what nobody vouches for goes by:"
            f" vaultpy store prune --retire {entry.id}",
        )
    if entry.pinned and not force:
        raise UsageError(f"snapshot {entry.id} is pinned", hint="give --force to remove it all the same")


def _ended_sources(catalog: Catalog, going: Sequence[Entry], *, force: bool) -> dict[tuple[HostId, SourceId], str]:
    """The sources of which nothing would be left, by name for people."""
    ids = {one.id for one in going}
    ended = {}
    for key, group in sources_of(catalog.entries).items():
        newest = max(group, key=lambda one: (one.flag is None, one.seq, one.id))
        if newest.id not in ids:
            continue
        if any(one.id not in ids for one in group):
            raise UsageError(
                f"snapshot {newest.id} is the newest of {describe_source(newest)}",
                hint="it goes only with all the others of its source: name them all, and give --force",
            )
        if not force:
            raise UsageError(
                f"snapshot {newest.id} is the last one of {describe_source(newest)}",
                hint="give --force to retire the source",
            )
        ended[key] = describe_source(newest)
    return ended
