"""Reading the manifests of many snapshots, and opening the store keys that they name."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, StoreFormatError, VaultpyError
from vaultpy.keys import OpenedStoreKey
from vaultpy.manifest import Manifest
from vaultpy.model import KeyId, SnapshotId
from vaultpy.ops.reading.reader import Reader, open_key, read_manifest

AHEAD = 8
"""Manifests fetched at once, and held: one of terabytes has megabytes."""


def read_manifests(
    reader: Reader, snapshots: Sequence[SnapshotId]
) -> Iterator[tuple[SnapshotId, Manifest | VaultpyError]]:
    """The manifests of snapshots in their order, or what is wrong with each; a few are fetched ahead, no more are held."""
    under_way: deque[tuple[SnapshotId, Future[Manifest | VaultpyError]]] = deque()
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="manifest") as pool:
        try:
            for snapshot in snapshots:
                under_way.append((snapshot, pool.submit(_read_one, reader, snapshot)))
                if len(under_way) >= AHEAD:
                    first, future = under_way.popleft()
                    yield first, future.result()
            while under_way:
                first, future = under_way.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read_one(reader: Reader, snapshot: SnapshotId) -> Manifest | VaultpyError:
    try:
        return read_manifest(reader, snapshot, None)
    except (DamageError, StoreFormatError, ObjectNotFound) as error:
        return error


class KeyRing:
    """Store keys, each opened once: a hardware key is not asked again for every snapshot."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[tuple[KeyId, tuple[bytes, ...]], OpenedStoreKey | NoIdentity] = {}

    def open(self, manifest: Manifest) -> OpenedStoreKey:
        """Raises NoIdentity, UntrustedSigner, DamageError, ObjectNotFound for a manifest that is gone meanwhile."""
        key = manifest.key, manifest.wrapped_keys
        if key not in self._known:
            try:
                self._known[key] = open_key(self._reader, manifest)[0]
            except NoIdentity as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, NoIdentity):
            raise found
        return found
