"""Stores with hand-made, really signed snapshots, and a clock that tests set."""

from __future__ import annotations

import itertools
import os
import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import blake3

from vaultpy.index.db import Index
from vaultpy.manifest import Manifest, encode, hash_bytes
from vaultpy.model import (
    BlobHash,
    BlobRef,
    ExportId,
    ExportRef,
    KeyId,
    SnapshotId,
    SnapshotState,
    SourceId,
    StoreId,
    host_id_of,
    uuid7,
)
from vaultpy.ops.reading.reader import Reader
from vaultpy.purges import PurgeRecord, encode_record
from vaultpy.signature import MANIFEST_NAMESPACE, SigningKey, Trust, sign
from vaultpy.store import names
from vaultpy.store.base import Body, Store
from vaultpy.store.identity import StoreConfig, encode_store_config
from vaultpy.store.local import LocalStore
from vaultpy.store.memory import MemoryStore
from vaultpy.vault import OpenStore

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
GRACE = 24 * 3600
START = 1_700_000_000 * SECOND

SETTINGS = StoreConfig(StoreId(uuid.UUID(int=1)), START, GRACE)
KEY = SigningKey.generate()
STRANGER = SigningKey.generate()
SOURCE = SourceId(uuid.UUID(int=3))
OTHER_SOURCE = SourceId(uuid.UUID(int=4))

_numbers = itertools.count(1)


@dataclass
class Site:
    """A store and its time."""

    store: Store
    time: list[int]

    @property
    def now(self) -> int:
        return self.time[0]

    def pass_time(self, nanoseconds: int) -> None:
        self.time[0] += nanoseconds

    def reader(self, *keys: SigningKey, index: Index | None = None, trust: Trust | None = None) -> Reader:
        """Believes the site's own host, or those given."""
        pinned = trust or Trust(frozenset(key.public_text() for key in keys or (KEY,)), False)
        return Reader(self.at, None, None, index, None, pinned)

    @property
    def at(self) -> OpenStore:
        return OpenStore(self.store, SETTINGS, hash_bytes(encode_store_config(SETTINGS)))

    def blob(self, size: int = 100) -> BlobRef:
        data = random.randbytes(size)
        ref = BlobRef(BlobHash(blake3.blake3(data).digest()), size)
        self.store.put(names.blob_name(ref.hash), data)
        return ref

    def export(self, id: ExportId) -> ExportRef:
        data = f"export {id}".encode()
        self.store.put(names.export_name(id), data)
        return ExportRef(id, len(data), blake3.blake3(data).digest(), bytes(32))

    def snapshot(
        self,
        blobs: Iterable[BlobRef] = (),
        *,
        key: SigningKey = KEY,
        chain: Sequence[ExportRef] = (),
        **changes: object,
    ) -> Manifest:
        """Publish one now, with an export of its own at the end of `chain` if it is complete."""
        manifest = self.manifest(blobs, key=key, chain=chain, **changes)
        self.publish(manifest, key)
        return manifest

    def manifest(
        self,
        blobs: Iterable[BlobRef] = (),
        *,
        key: SigningKey = KEY,
        chain: Sequence[ExportRef] = (),
        state: SnapshotState = SnapshotState.COMPLETE,
        sequence: int | None = None,
        source: SourceId = SOURCE,
        repairs: SnapshotId | None = None,
        pinned: bool = False,
        started: int | None = None,
        store: StoreId = SETTINGS.id,
    ) -> Manifest:
        number = next(_numbers)
        id = SnapshotId(uuid7(self.now // 1_000_000, number.to_bytes(10, "big")))
        exports = [*chain, self.export(ExportId(id))] if state == SnapshotState.COMPLETE else ()
        return Manifest(
            store=store,
            snapshot=id,
            source=source,
            host=host_id_of(key.public_text()),
            signer=key.public_text(),
            state=state,
            sequence=self.now // 1_000_000 + number if sequence is None else sequence,
            started=self.now if started is None else started,
            completed=self.now,
            pinned=pinned,
            parent=None,
            repairs=repairs,
            blobs=tuple(sorted(blobs, key=lambda ref: ref.hash)),
            exports=tuple(exports),
            store_config_hash=bytes(32),
            key=KeyId(uuid.UUID(int=4)),
            wrapped_keys=(),
            about=b"sealed",
        )

    def publish(self, manifest: Manifest, key: SigningKey = KEY) -> None:
        data = encode(manifest)
        self.store.put(names.signature_name(manifest.snapshot), sign(key, data, MANIFEST_NAMESPACE))
        self.store.put(names.manifest_name(manifest.snapshot), data)

    def record(self, **named: object) -> str:
        name = names.purge_name(uuid7(self.now // 1_000_000, os.urandom(10)))
        self.store.put(name, encode_record(PurgeRecord(**named)))  # type: ignore[arg-type]
        return name

    def listed(self, prefix: str = "") -> set[str]:
        return {info.name for info in self.store.list(prefix)}

    def has(self, *refs: BlobRef) -> list[bool]:
        return [self.store.stat(names.blob_name(ref.hash)) is not None for ref in refs]


class ClockedFolder(LocalStore):
    """A folder that lives in the time that a test sets."""

    def __init__(self, root: Path, clock: Callable[[], int]) -> None:
        super().__init__(root)
        self._clock = clock

    def put(self, name: str, body: Body) -> None:
        super().put(name, body)
        os.utime(self.root / name, ns=(self._clock(), self._clock()))

    def clock(self) -> int:
        return self._clock()


def memory_site() -> Site:
    return _site(lambda clock: MemoryStore(clock))


def folder_site(folder: Path) -> Site:
    return _site(lambda clock: ClockedFolder(folder, clock))


def _site(make: Callable[[Callable[[], int]], Store]) -> Site:
    time = [START]
    made = Site(make(lambda: time[0]), time)
    made.store.put(names.CONFIG, encode_store_config(SETTINGS))
    return made
