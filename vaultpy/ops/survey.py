"""What the store holds now, by its own listings: the ground on which a run decides what it may build on.

Only listings that came to their end count.  What a listing does not show is "not there" for nothing but reuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from vaultpy.errors import DamageError, IndexBehind, ObjectNotFound, StoreFormatError
from vaultpy.index.checks import damaged_blobs, note_listing
from vaultpy.index.db import Index
from vaultpy.index.reuse import find_blobs, find_ids
from vaultpy.index.snapshots import all_snapshots
from vaultpy.manifest import open_manifest
from vaultpy.model import BlobHash, ExportId, SnapshotId
from vaultpy.purges import PurgeRecord, decode_record
from vaultpy.signature import MANIFEST_NAMESPACE, Trust, verify
from vaultpy.store import names
from vaultpy.store.base import ObjectInfo, Store
from vaultpy.store.whole import get_document
from vaultpy.vault import Vault


@dataclass(frozen=True, slots=True)
class Metadata:
    """The listing of metadata/: which snapshots have a manifest, and which exports are there with what size."""

    manifests: dict[SnapshotId, ObjectInfo]
    signatures: dict[SnapshotId, ObjectInfo]
    exports: dict[ExportId, ObjectInfo]


@dataclass(frozen=True, slots=True)
class Marked:
    """What purge records name: a prune may delete it, so nothing new is built on it."""

    snapshots: frozenset[SnapshotId]
    blobs: frozenset[BlobHash]
    exports: frozenset[ExportId]


@dataclass(frozen=True, slots=True)
class Survey:
    """The store as one run sees it; `present`: ids of indexed blobs that are listed whole, and are not marked."""

    metadata: Metadata
    marked: Marked
    present: frozenset[int]


def list_metadata(store: Store) -> Metadata:
    """One listing of metadata/, whole."""
    found = Metadata({}, {}, {})
    for info in store.list(names.METADATA):
        if (snapshot := names.parse_manifest_name(info.name)) is not None:
            found.manifests[snapshot] = info
        elif (snapshot := names.parse_signature_name(info.name)) is not None:
            found.signatures[snapshot] = info
        elif (export := names.parse_export_name(info.name)) is not None:
            found.exports[export] = info
    return found


def list_records(store: Store) -> list[tuple[ObjectInfo, PurgeRecord]]:
    """All purge records that are there and whole.

    One that a keeper deletes meanwhile is none any more.  A damaged one is passed over: no prune can act on it either.
    """
    found = []
    for info in list(store.list(names.PURGES)):
        if names.parse_purge_name(info.name) is None:
            continue
        try:
            found.append((info, decode_record(get_document(store, info.name))))
        except (ObjectNotFound, DamageError):
            continue
    return found


def list_marked(store: Store) -> Marked:
    """Everything that some purge record names."""
    records = [record for _, record in list_records(store)]
    return Marked(
        frozenset(one for record in records for one in record.snapshots),
        frozenset(one for record in records for one in record.blobs),
        frozenset(one for record in records for one in record.exports),
    )


def listed_blobs(store: Store) -> Iterator[tuple[BlobHash, int]]:
    """Hash and size of every object of blobs/."""
    for info in store.list(names.BLOBS):
        if (hash := names.parse_blob_name(info.name)) is not None:
            yield hash, info.size


def usable_blobs(store: Store, index: Index, now: int) -> frozenset[int]:
    """Ids of the indexed blobs that one whole listing shows as they should be, that no record names, and that no
    verification found damaged since.  What the listing does not show and snapshots need is remembered."""
    marked = list_marked(store)
    listed = find_blobs(index, listed_blobs(store))
    note_listing(index, listed, now)
    return frozenset(listed - find_ids(index, marked.blobs) - damaged_blobs(index))


def unknown_own_snapshots(vault: Vault, index: Index, metadata: Metadata) -> list[SnapshotId]:
    """Snapshots in the store that this host signed and that the index does not know.

    Each foreign manifest is fetched once and remembered.  One that only claims to be this host's, or that this host signed
    for another place, is not believed: verify and prune name it, and it must not be able to stop the backups.
    """
    known = {row.id for row in all_snapshots(index)}
    foreign = {SnapshotId(UUID(bytes=row[0])) for row in index.rows("SELECT id FROM foreign_manifests")}
    ours, theirs = [], []
    for snapshot in sorted(metadata.manifests.keys() - known - foreign):
        is_ours = _is_ours(vault, snapshot)
        if is_ours:
            ours.append(snapshot)
        elif is_ours is not None:
            theirs.append(snapshot)
    with index.transaction():
        index.run_many("INSERT OR IGNORE INTO foreign_manifests VALUES (?)", [(one.bytes,) for one in theirs])
    return ours


def _is_ours(vault: Vault, snapshot: SnapshotId) -> bool | None:
    """Whether this host made a snapshot; None where nothing can be said yet (it is half there, or damaged).

    The signature comes first: nothing looks into what a stranger may have written.
    """
    own = vault.host.signing_key.public_text()
    try:
        message = get_document(vault.store, names.manifest_name(snapshot))
        signature = get_document(vault.store, names.signature_name(snapshot))
        if verify(signature, message, MANIFEST_NAMESPACE) != own:
            return False
    except (DamageError, ObjectNotFound):
        return None
    try:
        open_manifest(message, signature, vault.at.settings.id, snapshot, Trust(frozenset([own]), False))
    except DamageError:
        return False  # a copy of what we signed for another snapshot or store, put here by somebody
    except StoreFormatError:
        return True  # by a newer vaultpy on this host, which knew more than this index
    return True


def refuse_unknown(unknown: list[SnapshotId], index: Index) -> None:
    """Raise IndexBehind when the store knows more of this host than the index does (rule 3)."""
    if unknown:
        raise IndexBehind(
            f"index {index.path} does not know {len(unknown)} snapshots that this host made (the first: {unknown[0]})",
            hint="an old copy of the index: run vaultpy index rebuild; or a second machine runs with a copy of this"
            " one's state folder: then stop, and run vaultpy init there anew",
        )
