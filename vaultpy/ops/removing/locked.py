"""Manifests that were deleted or overwritten, and that Object Lock keeps all the same.

Whoever removes the marker above such a version has the snapshot back, so it needs its blobs and exports as any other.  Only
versions that nobody can delete yet count: one whose lock has ended, or in a bucket with versions and without locks, is gone
for good with the next lifecycle rule, and would keep its blobs for ever if it counted for as long as it lies there.

Unlike what a name shows now, a locked version cannot be changed: who replaces a manifest by one that names less gains
nothing.  It can be joined by others, though, which then cannot be deleted either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from vaultpy.errors import DamageError, ObjectNotFound
from vaultpy.manifest import Manifest, open_manifest
from vaultpy.model import SnapshotId, StoreId
from vaultpy.store import names
from vaultpy.store.base import Store
from vaultpy.store.versions import ObjectVersion, Versioned, versions_of

REQUESTS = 8
"""Locks asked for at once."""


@dataclass(frozen=True, slots=True)
class LockedManifest:
    """A version of a snapshot's manifest that its name does not show, and all versions that there are of its signature."""

    id: SnapshotId
    version: ObjectVersion
    signatures: tuple[ObjectVersion, ...] = field(repr=False)


def list_locked(store: Store, now: int) -> list[LockedManifest]:
    """The manifests that are hidden and locked beyond `now` (nanoseconds, the store's clock); by one listing, whole.

    Raises StoreError where the store may have versions and does not let them, or their locks, be seen.
    """
    versions = versions_of(store)
    hidden: list[tuple[SnapshotId, ObjectVersion]] = []
    signatures: dict[SnapshotId, list[ObjectVersion]] = {}
    for version in versions.list_versions(names.METADATA):
        if (id := names.parse_signature_name(version.name)) is not None:
            signatures.setdefault(id, []).append(version)
        elif (id := names.parse_manifest_name(version.name)) is not None and not version.latest:
            hidden.append((id, version))
    locks = _see_locks(versions, [version for _, version in hidden], now)
    return [
        LockedManifest(id, version, tuple(signatures.get(id, ())))
        for (id, version), locked in zip(hidden, locks, strict=True)
        if locked
    ]


def fetch_locked(store: Store, locked: LockedManifest) -> tuple[bytes, list[bytes]]:
    """The bytes of a locked manifest, and of the signatures that there are.  Raises ObjectNotFound, DamageError."""
    versions = versions_of(store)
    return versions.get_version(locked.version), list(_get_each(versions, locked.signatures))


def open_locked(locked: LockedManifest, data: bytes, signatures: Sequence[bytes], store_id: StoreId) -> Manifest:
    """A locked manifest, with a good signature out of those that there are; who signed it is for the caller to judge.

    Raises DamageError, StoreFormatError.
    """
    reason: DamageError | None = None
    for signature in signatures:
        try:
            return open_manifest(data, signature, store_id, locked.id, None)
        except DamageError as error:
            reason = reason or error
    raise reason or DamageError(f"snapshot {locked.id} has no signature", hint="nothing proves who made it")


def _see_locks(versions: Versioned, hidden: Sequence[ObjectVersion], now: int) -> list[bool]:
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(lambda version: versions.is_locked(version, now), hidden))


def _get_each(versions: Versioned, wanted: Iterable[ObjectVersion]) -> Iterator[bytes]:
    """One after the other; a version that went meanwhile is passed over."""
    for version in wanted:
        try:
            data = versions.get_version(version)
        except ObjectNotFound:
            continue
        yield data
