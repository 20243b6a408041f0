"""Purge records over time, by the store's clock alone: when one may be acted on, when it is void, when it goes.

    0 ──────── grace ──────── 2 graces ──────── 3 graces
      a warning    may be acted on     void: only a warning   may be removed

Hosts build nothing on what any record names.  A void record goes a whole grace after the last moment at which somebody may
have begun to act on it, so that a prune that stood still in the middle (a laptop asleep) still has its warning standing
where hosts see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from vaultpy.errors import DamageError, ObjectNotFound
from vaultpy.model import BlobHash, ExportId, SnapshotId, uuid7
from vaultpy.purges import PurgeRecord, encode_record
from vaultpy.purges import decode_record as decode
from vaultpy.store import names
from vaultpy.store.base import ObjectInfo, Store
from vaultpy.store.whole import get_document

Random = Callable[[int], bytes]

OBJECTS = 500_000
"""Objects that one record names at most: a record has to stay far below the size that readers refuse."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record and its entry in the listing; one that cannot be read names nothing, since nobody can act on it."""

    info: ObjectInfo
    named: PurgeRecord


@dataclass(frozen=True, slots=True)
class Window:
    """What is when: `now` by the store's clock and `grace`, both in nanoseconds."""

    now: int
    grace: int

    def is_settled(self, info: ObjectInfo) -> bool:
        """Older than the grace: whoever put it had the time to publish what it is for."""
        return self.now - info.modified > self.grace

    def is_live(self, info: ObjectInfo) -> bool:
        """Of a record: not void."""
        return self.now - info.modified <= 2 * self.grace

    def is_due(self, info: ObjectInfo) -> bool:
        """Of a record: between one and two graces old, so that it may be acted on."""
        return self.is_live(info) and self.now - info.modified >= self.grace

    def is_spent(self, info: ObjectInfo) -> bool:
        """Of a record: void for so long that nobody can still be acting on it."""
        return self.now - info.modified > 3 * self.grace


def read_records(store: Store) -> list[Record]:
    """All purge records.  One that somebody deletes meanwhile is none any more.  Raises StoreFormatError for a newer one,
    because its writer may know of things to keep that this reader does not."""
    found = []
    for info in list(store.list(names.PURGES)):
        if names.parse_purge_name(info.name) is None:
            continue
        try:
            found.append(Record(info, decode(get_document(store, info.name))))
        except ObjectNotFound:
            continue
        except DamageError:
            found.append(Record(info, PurgeRecord()))
    return found


def removed_snapshots(records: Sequence[Record]) -> frozenset[SnapshotId]:
    """The snapshots of which some record says that they were removed."""
    return frozenset(id for record in records for id in record.named.snapshots)


def put_record(store: Store, named: PurgeRecord, now: int, random: Random) -> UUID:
    """Make a record durable; `now` in nanoseconds goes into its name, where nobody relies on it."""
    id = uuid7(now // 1_000_000, random(10))
    store.put(names.purge_name(id), encode_record(named))
    return id


def put_candidates(
    store: Store, objects: Sequence[ObjectInfo], now: int, random: Random, *, limit: int = OBJECTS
) -> tuple[UUID, ...]:
    """Record blobs and exports that may go later, in as many records as that takes."""
    put = []
    for start in range(0, len(objects), limit):
        keys = [object_key(one) for one in objects[start : start + limit]]
        exports = tuple(ExportId(key) for key in keys if isinstance(key, UUID))
        blobs = tuple(BlobHash(key) for key in keys if isinstance(key, bytes))
        put.append(put_record(store, PurgeRecord(blobs=blobs, exports=exports), now, random))
    return tuple(put)


def object_key(info: ObjectInfo) -> BlobHash | ExportId | None:
    """What manifests and records call an object; None for everything that is neither blob nor export."""
    return names.parse_blob_name(info.name) or names.parse_export_name(info.name)
