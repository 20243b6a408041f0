"""Manifests, purge records and descriptions as Hypothesis draws them, and signed ones to damage."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

import zstandard
from hypothesis import strategies as st

from vaultpy.manifest import About, Manifest, encode
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
)
from vaultpy.purges import PurgeRecord
from vaultpy.signature import MANIFEST_NAMESPACE, SigningKey, sign

MILLISECOND = 1_000_000

ids = st.uuids()
hashes = st.binary(min_size=32, max_size=32)
sizes = st.integers(0, 2**63 - 1)
times = st.integers(-(2**63) // MILLISECOND + 1, 2**63 // MILLISECOND).map(lambda ms: ms * MILLISECOND)
blob_lists = st.dictionaries(hashes, sizes, max_size=5).map(
    lambda found: tuple(BlobRef(BlobHash(hash), size) for hash, size in sorted(found.items()))
)
export_lists = st.lists(
    st.builds(ExportRef, ids.map(ExportId), sizes, hashes, hashes), min_size=1, max_size=3, unique_by=lambda ref: ref.id
).map(tuple)
manifests = st.builds(
    Manifest,
    store=ids.map(StoreId),
    snapshot=ids.map(SnapshotId),
    source=ids.map(SourceId),
    host=ids,
    signer=st.text(),
    state=st.sampled_from(SnapshotState),
    sequence=sizes,
    started=times,
    completed=times,
    pinned=st.booleans(),
    parent=st.none() | ids.map(SnapshotId),
    repairs=st.none() | ids.map(SnapshotId),
    blobs=blob_lists,
    exports=export_lists,
    store_config_hash=hashes,
    key=ids.map(KeyId),
    wrapped_keys=st.lists(st.binary(max_size=50), max_size=3).map(tuple),
    about=st.binary(max_size=50),
)
abouts = st.builds(
    About,
    host=st.text(),
    source=st.text(),
    paths=st.lists(st.binary() | st.text().map(str.encode), max_size=4).map(tuple),
    tags=st.lists(st.text(), max_size=4).map(tuple),
    files=sizes,
    bytes=sizes,
    new_bytes=sizes,
    stored_bytes=sizes,
    problems=sizes,
    version=st.text(),
)
records = st.builds(
    PurgeRecord,
    snapshots=st.lists(ids.map(SnapshotId), max_size=4).map(tuple),
    blobs=st.lists(hashes.map(BlobHash), max_size=4).map(tuple),
    exports=st.lists(ids.map(ExportId), max_size=4).map(tuple),
)


@dataclass(frozen=True)
class Signed:
    """A manifest with everything that its reader has to know, and what lies in the store of it."""

    manifest: Manifest
    data: bytes
    signature: bytes


def small_manifest(key: SigningKey) -> Manifest:
    """One blob, one export, of the host that `key` belongs to."""
    return Manifest(
        store=StoreId(uuid.UUID(int=1)),
        snapshot=SnapshotId(uuid.UUID(int=2)),
        source=SourceId(uuid.UUID(int=3)),
        host=host_id_of(key.public_text()),
        signer=key.public_text(),
        state=SnapshotState.COMPLETE,
        sequence=1_767_225_600_000,
        started=1_767_225_600_000 * MILLISECOND,
        completed=1_767_225_601_000 * MILLISECOND,
        pinned=False,
        parent=None,
        repairs=None,
        blobs=(BlobRef(BlobHash(bytes(range(32))), 262144),),
        exports=(ExportRef(ExportId(uuid.UUID(int=2)), 1024, bytes(32), bytes(reversed(range(32)))),),
        store_config_hash=bytes(32),
        key=KeyId(uuid.UUID(int=4)),
        wrapped_keys=(b"age-encryption.org/v1\n",),
        about=b"sealed",
    )


def signed(manifest: Manifest, key: SigningKey) -> Signed:
    data = encode(manifest)
    return Signed(manifest, data, sign(key, data, MANIFEST_NAMESPACE))


def signed_by_its_host(key: SigningKey, **changes: object) -> Signed:
    return signed(replace(small_manifest(key), **changes), key)  # type: ignore[arg-type]


def unfolded(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)


def folded(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(data)
