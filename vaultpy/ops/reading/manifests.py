"""Reading the manifests of many snapshots, and opening the store keys that they name."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, StoreFormatError, VaultpyError
from vaultpy.keys import OpenedStoreKey
from vaultpy.manifest import Manifest, open_manifest
from vaultpy.model import KeyId, SnapshotId
from vaultpy.ops.reading.reader import Reader, fetch_manifest, open_key

AHEAD = 8
"""Documents fetched at once, and held."""

_Wanted = TypeVar("_Wanted")
_Fetched = TypeVar("_Fetched")


def read_manifests(
    reader: Reader, snapshots: Sequence[SnapshotId]
) -> Iterator[tuple[SnapshotId, Manifest | VaultpyError]]:
    """The manifests of snapshots in their order, or what is wrong with each.

    Their bytes are fetched ahead.  What they say is read here, one after the other: one of 10 TB has 10 MB, and takes 130
    while it is read, and 40 as long as it is held.
    """
    store, id = reader.at.store, reader.at.settings.id
    for snapshot, fetched in fetch_ahead(lambda one: fetch_manifest(store, one), snapshots):
        if isinstance(fetched, VaultpyError):
            yield snapshot, fetched
        else:
            yield snapshot, outcome(partial(open_manifest, *fetched, id, snapshot, None))


def fetch_ahead(
    fetch: Callable[[_Wanted], _Fetched], wanted: Iterable[_Wanted]
) -> Iterator[tuple[_Wanted, _Fetched | VaultpyError]]:
    """What `fetch` gives for each, or that it is missing or damaged, in their order; other errors end it."""
    under_way: deque[tuple[_Wanted, Future[_Fetched | VaultpyError]]] = deque()
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="fetch") as pool:
        try:
            for one in wanted:
                under_way.append((one, pool.submit(outcome, partial(fetch, one))))
                if len(under_way) >= AHEAD:
                    first, future = under_way.popleft()
                    yield first, future.result()
            while under_way:
                first, future = under_way.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def outcome(read: Callable[[], _Fetched]) -> _Fetched | VaultpyError:
    """What it gives, or that it is missing, damaged or of a newer format."""
    try:
        return read()
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
