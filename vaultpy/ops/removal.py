"""Removing manifests, which is all that makes a snapshot go: record, manifest, signature.

The order is that of publishing, backwards.  The record is durable before anything goes, so that a signature without a
manifest, which whoever prunes must take for a loss, is known for a removal from the first moment on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

from vaultpy.errors import StoreDenied
from vaultpy.model import SnapshotId, uuid7
from vaultpy.purges import PurgeRecord, encode_record
from vaultpy.store import names
from vaultpy.store.base import ObjectInfo, Store

Random = Callable[[int], bytes]

DELETES = 8
"""Objects deleted at once."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What went of what should go, by name.  `refused`: the store said no, which under Object Lock means "not yet";
    `answer` is what it said the first time."""

    gone: tuple[str, ...] = field(default=(), repr=False)
    refused: tuple[str, ...] = field(default=(), repr=False)
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """Which snapshots went, under which record (None: nothing was to go); `refused` and `answer` as with Deleted."""

    record: UUID | None = None
    snapshots: tuple[SnapshotId, ...] = ()
    refused: tuple[SnapshotId, ...] = ()
    answer: str | None = None


def put_record(store: Store, record: PurgeRecord, now: int, random: Random) -> UUID:
    """Make a purge record durable; `now` in nanoseconds goes into its name, where nobody relies on it."""
    id = uuid7(now // 1_000_000, random(10))
    store.put(names.purge_name(id), encode_record(record))
    return id


def remove_snapshots(store: Store, groups: Iterable[Sequence[SnapshotId]], now: int, random: Random) -> Removed:
    """Remove snapshots, one group after the other, under one record.  Repeating it is safe: what is gone stays gone.

    A snapshot that repairs another comes in a later group than the one that it hides: a crash between the two must not
    bring the damaged one back to light.
    """
    wanted = [list(dict.fromkeys(group)) for group in groups]
    record = PurgeRecord(snapshots=tuple(id for group in wanted for id in group))
    if not record.snapshots:
        return Removed()
    id = put_record(store, record, now, random)
    gone: list[SnapshotId] = []
    refused: list[SnapshotId] = []
    answer = None
    for group in wanted:
        manifests = delete_objects(store, map(names.manifest_name, group))
        kept = set(manifests.refused)
        unlisted = [one for one in group if names.manifest_name(one) not in kept]
        # Only now: a manifest is never seen without its signature.  A signature that may not go yet is no harm.
        delete_objects(store, map(names.signature_name, unlisted))
        gone += unlisted
        refused += [one for one in group if names.manifest_name(one) in kept]
        answer = answer or manifests.answer
    return Removed(id, tuple(gone), tuple(refused), answer)


def delete_objects(store: Store, wanted: Iterable[str]) -> Deleted:
    """Delete objects by name, several at once; a refusal is noted, every other failure raised."""
    named = list(wanted)
    with ThreadPoolExecutor(DELETES) as pool:
        answers = list(pool.map(lambda name: _delete(store, name), named))
    return Deleted(
        tuple(name for name, answer in zip(named, answers, strict=True) if answer is None),
        tuple(name for name, answer in zip(named, answers, strict=True) if answer is not None),
        next(filter(None, answers), None),
    )


def total_size(objects: Iterable[ObjectInfo]) -> int:
    """Their bytes."""
    return sum(one.size for one in objects)


def _delete(store: Store, name: str) -> str | None:
    try:
        store.delete(name)
    except StoreDenied as error:
        return error.message
    return None
