"""Removing manifests, which is all that makes a snapshot go: record, manifest, signature.

The order is that of publishing, backwards.  The record is durable before anything goes, so that a signature without a
manifest, which whoever prunes must take for a loss, is known for a removal from the first moment on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

from vaultpy.errors import DamageError, ObjectNotFound, StoreDenied, StoreFormatError, UntrustedSigner
from vaultpy.model import SnapshotId
from vaultpy.ops.reading.catalog import Entry
from vaultpy.ops.reading.reader import Reader, read_manifest
from vaultpy.ops.records import Random, put_record
from vaultpy.purges import PurgeRecord
from vaultpy.store import names
from vaultpy.store.base import Store

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


def remove_entries(reader: Reader, entries: Iterable[Entry], partial: Sequence[SnapshotId], random: Random) -> Removed:
    """Remove snapshots that a catalog shows, with the ones that they repair and hide, and partial ones."""
    store = reader.at.store
    going = list(entries)
    hidden = [[id] for one in going for id in reversed(_hidden(reader, one))]
    return remove_snapshots(store, [*hidden, [*partial, *(one.id for one in going)]], store.clock(), random)


def remove_snapshots(store: Store, groups: Iterable[Sequence[SnapshotId]], now: int, random: Random) -> Removed:
    """Remove snapshots, one group after the other, under one record.  Repeating it is safe: what is gone stays gone.

    A snapshot that repairs another comes in a later group than the one that it hides: a crash between the two must not
    bring the damaged one back to light.
    """
    wanted = [list(dict.fromkeys(group)) for group in groups]
    named = tuple(id for group in wanted for id in group)
    if not named:
        return Removed()
    record = put_record(store, PurgeRecord(snapshots=named), now, random)
    gone: list[SnapshotId] = []
    refused: list[SnapshotId] = []
    answer = None
    for group in wanted:
        manifests = delete_objects(store, map(names.manifest_name, group))
        held = set(manifests.refused)
        unlisted = [one for one in group if names.manifest_name(one) not in held]
        # Only now: a manifest is never seen without its signature.  A signature that has to stay for a while is no harm.
        delete_objects(store, map(names.signature_name, unlisted))
        gone += unlisted
        refused += [one for one in group if names.manifest_name(one) in held]
        answer = answer or manifests.answer
    return Removed(record, tuple(gone), tuple(refused), answer)


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


def _delete(store: Store, name: str) -> str | None:
    try:
        store.delete(name)
    except StoreDenied as error:
        return error.message
    return None


def _hidden(reader: Reader, entry: Entry) -> list[SnapshotId]:
    """What lists leave out because this snapshot repairs it: each the one that the one before names.

    Believed only as far as lists believe it: of the same host, source and sequence.  Where that cannot be told, nothing is
    removed on its word; prune names what is damaged.
    """
    found: list[SnapshotId] = []
    wanted = entry.repairs
    while wanted is not None and wanted != entry.id and wanted not in found:
        try:
            manifest = read_manifest(reader, wanted, reader.trust)
        except (ObjectNotFound, DamageError, UntrustedSigner, StoreFormatError):
            break
        if (manifest.host, manifest.source, manifest.sequence) != (entry.host, entry.source, entry.seq):
            break
        found.append(wanted)
        wanted = manifest.repairs
    return found
