"""`store info`: what a store is and holds, by its settings and one listing.  Needs no key, and changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vaultpy.model import SnapshotId, StoreId
from vaultpy.store import names
from vaultpy.vault import OpenStore


@dataclass(frozen=True, slots=True)
class Amount:
    """How many objects, and their bytes."""

    objects: int = 0
    bytes: int = 0

    def plus(self, size: int) -> Amount:
        return Amount(self.objects + 1, self.bytes + size)


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A store as its own listing shows it.  `created` in nanoseconds; `grace` in seconds; `answered`: seconds until
    vaultpy.json came; `amounts` by what a name begins with; `manifests`: snapshots that have one (partial ones, too);
    `unfinished`: folders of metadata/ with an export only, of runs that died, or that other snapshots still stand on;
    `broken`: those with a signature and no manifest."""

    url: str
    id: StoreId
    created: int
    grace: int
    answered: float
    amounts: dict[str, Amount]
    manifests: int
    unfinished: int
    broken: int

    @property
    def total(self) -> Amount:
        return Amount(
            sum(one.objects for one in self.amounts.values()), sum(one.bytes for one in self.amounts.values())
        )


KINDS = ("settings", "blobs", "metadata", "keys", "purges", "other")


def store_info(at: OpenStore) -> StoreInfo:
    """What a store holds, by one listing.  Needs no key.  Raises StoreError."""
    began = time.monotonic()
    at.store.get(names.CONFIG)
    answered = time.monotonic() - began
    amounts = dict.fromkeys(KINDS, Amount())
    folders = _Folders(set(), set(), set())
    for info in at.store.list(""):
        kind = _kind_of(info.name, folders)
        amounts[kind] = amounts[kind].plus(info.size)
    return StoreInfo(
        at.store.url,
        at.settings.id,
        at.settings.created,
        at.settings.grace,
        answered,
        amounts,
        len(folders.manifests),
        len(folders.exports - folders.manifests - folders.signatures),
        len(folders.signatures - folders.manifests),
    )


@dataclass(frozen=True, slots=True)
class _Folders:
    """Which folders of metadata/ hold what."""

    manifests: set[SnapshotId]
    signatures: set[SnapshotId]
    exports: set[SnapshotId]


def _kind_of(name: str, folders: _Folders) -> str:
    """What an object counts as; one whose name is none of ours is `other`, wherever it lies."""
    if name == names.CONFIG:
        return "settings"
    if names.parse_blob_name(name) is not None:
        return "blobs"
    if names.parse_key_name(name) is not None:
        return "keys"
    if names.parse_purge_name(name) is not None:
        return "purges"
    if (snapshot := names.parse_manifest_name(name)) is not None:
        folders.manifests.add(snapshot)
    elif (snapshot := names.parse_signature_name(name)) is not None:
        folders.signatures.add(snapshot)
    elif (export := names.parse_export_name(name)) is not None:
        folders.exports.add(SnapshotId(export))
    else:
        return "other"
    return "metadata"
