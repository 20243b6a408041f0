"""Which snapshots miss something that they need, as far as that can be told without looking at all of the store: by what
verifications found, and by the listing of metadata/ that every list reads anyway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vaultpy.errors import StoreError
from vaultpy.index.checks import ObjectKey, damaged_objects, snapshots_hurt
from vaultpy.index.db import Index
from vaultpy.index.snapshots import all_exports
from vaultpy.manifest import Manifest
from vaultpy.model import SnapshotId
from vaultpy.ops.reading.checked import name_of
from vaultpy.ops.reading.findings import Damage
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.survey import Metadata
from vaultpy.store.base import Store

LOOKS = 64
"""Objects that were missing and may be back at which a list looks; of more it believes what was found."""


@dataclass(frozen=True, slots=True)
class Hurt:
    """`objects`: the damaged ones that are known; `snapshots`: of those in the index, how many of them each needs;
    `metadata`: the listing."""

    objects: frozenset[ObjectKey]
    snapshots: Mapping[SnapshotId, int]
    metadata: Metadata

    def flag_of(self, snapshot: SnapshotId) -> str | None:
        """What a list says about a snapshot that the index knows; None where nothing is wrong."""
        return _flag(self.snapshots.get(snapshot, 0))

    def flag_of_manifest(self, manifest: Manifest) -> str | None:
        """The same by a manifest."""
        exports = self.metadata.exports
        lost = sum(
            ref.id.bytes in self.objects or ref.id not in exports or exports[ref.id].size != ref.size
            for ref in manifest.exports
        )
        return _flag(lost + sum(blob.hash in self.objects for blob in manifest.blobs))


def find_hurt(reader: Reader, metadata: Metadata) -> Hurt:
    """What is known to be damaged; `metadata`: a listing that came to its end."""
    if reader.index is None:
        return Hurt(frozenset(), {}, metadata)
    objects = {*_still_damaged(reader.index, reader.at.store), *_lost_exports(reader.index, metadata)}
    return Hurt(frozenset(objects), snapshots_hurt(reader.index, objects) if objects else {}, metadata)


def _still_damaged(index: Index, store: Store) -> Iterator[ObjectKey]:
    """What was found damaged, without what was missing and has come back."""
    for number, one in enumerate(damaged_objects(index)):
        if number < LOOKS and one.damage in (Damage.MISSING, Damage.SIZE) and _is_back(index, store, one.object):
            continue
        yield one.object


def _is_back(index: Index, store: Store, key: ObjectKey) -> bool:
    size = index.value(
        "SELECT stored_size FROM blobs WHERE hash = ?1 UNION SELECT size FROM exports WHERE id = ?1", (key,)
    )
    try:
        found = store.stat(name_of(key))
    except StoreError:
        return False
    return found is not None and (size is None or found.size == size)


def _lost_exports(index: Index, metadata: Metadata) -> Iterator[ObjectKey]:
    for ref in all_exports(index):
        listed = metadata.exports.get(ref.id)
        if listed is None or listed.size != ref.size:
            yield ref.id.bytes


def _flag(count: int) -> str | None:
    if not count:
        return None
    return f"damaged: {count} of the objects that it needs {'is' if count == 1 else 'are'} missing or bad"
