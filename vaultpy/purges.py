"""Purge records: which snapshots were removed, and what a prune means to delete.

They are unsigned, so they are hints: a record permits nothing by itself, and whoever deletes checks again that nothing
needs what it names.  What a record can do is make runs store things anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from vaultpy.documents import (
    Document,
    check_ascending,
    digest,
    each,
    fold,
    identifier,
    read_document,
    unfold,
    write_document,
)
from vaultpy.model import BlobHash, ExportId, SnapshotId

FORMAT = 1
FOLDED_LIMIT = 64 * 1024 * 1024
RAW_LIMIT = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PurgeRecord:
    """What one record names; in ascending order, each once, when it comes out of a store."""

    snapshots: tuple[SnapshotId, ...] = ()
    blobs: tuple[BlobHash, ...] = ()
    exports: tuple[ExportId, ...] = ()


def encode_record(record: PurgeRecord) -> bytes:
    """The bytes of a record's object: zstd(JSON), everything in ascending order and once."""
    fields = {
        "format": FORMAT,
        "snapshots": _texts(record.snapshots),
        "blobs": [hash.hex() for hash in sorted(set(record.blobs))],
        "exports": _texts(record.exports),
    }
    return fold(write_document(fields))


def decode_record(data: bytes) -> PurgeRecord:
    """Raises DamageError, and StoreFormatError for a newer format."""
    raw = unfold(data, "purge record", folded_limit=FOLDED_LIMIT, raw_limit=RAW_LIMIT)
    document = read_document(raw, "purge record")
    document.check_format(FORMAT)
    blobs = document.get("blobs", each(digest))
    check_ascending(blobs, "purge record's blobs")
    return PurgeRecord(
        tuple(map(SnapshotId, _identifiers(document, "snapshots"))),
        tuple(map(BlobHash, blobs)),
        tuple(map(ExportId, _identifiers(document, "exports"))),
    )


def _texts(ids: Iterable[UUID]) -> list[str]:
    return list(map(str, sorted(set(ids))))


def _identifiers(document: Document, name: str) -> tuple[UUID, ...]:
    found = document.get(name, each(identifier))
    check_ascending([id.bytes for id in found], f"purge record's {name}")
    return found
