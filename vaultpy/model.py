"""Frozen values that every room may import: ids, kinds and the few records that cross walls."""

from __future__ import annotations

import enum
import hashlib
import struct
import uuid
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NewType

from vaultpy.errors import DamageError

ChunkHash = NewType("ChunkHash", bytes)
"""BLAKE3-256 of a chunk's bytes (32 bytes).  Never leaves the encryption."""
BlobHash = NewType("BlobHash", bytes)
"""BLAKE3-256 of a stored object's bytes (32 bytes): its name."""

CHUNK_LIMIT = 4 * 1024 * 1024
"""The most bytes that a chunk can have: FastCDC's maximum, part of the format."""

Hole = tuple[int, int]
"""Offset and length, in bytes, of a part of a file that holds nothing and reads as zeros.  Its chunks leave it out."""

HOLES_LIMIT = 1024
"""The most holes that a file can have, so that its line of an export stays under 64 KiB."""

_HOLE = struct.Struct(">QQ")

StoreId = NewType("StoreId", uuid.UUID)
HostId = NewType("HostId", uuid.UUID)
SourceId = NewType("SourceId", uuid.UUID)
SnapshotId = NewType("SnapshotId", uuid.UUID)
ExportId = NewType("ExportId", uuid.UUID)
KeyId = NewType("KeyId", uuid.UUID)


def uuid7(milliseconds: int, randomness: bytes) -> uuid.UUID:
    """A version 7 UUID (RFC 9562): 48 bits of Unix time in milliseconds, then 74 bits of the 10 bytes `randomness`."""
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(randomness, "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return uuid.UUID(int=value)


def host_id_of(signer: str) -> HostId:
    """The id of the host that signs with this public key (`ssh-ed25519 AAAA…`): a version 8 UUID made of the key's hash.

    So a signer can speak for no host but its own, and nobody has to keep a list of who is who.
    """
    value = int.from_bytes(hashlib.sha256(b"vaultpy host " + signer.encode()).digest()[:16], "big")
    value = value & ~(0xF << 76) | 8 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return HostId(uuid.UUID(int=value))


class Kind(enum.IntEnum):
    """What a path is.  The numbers are part of the export's format."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    CHARACTER_DEVICE = 5
    BLOCK_DEVICE = 6


class SnapshotState(enum.StrEnum):
    """`complete`: a manifest is published.  `partial`: only keeps the blobs of a long run alive."""

    COMPLETE = "complete"
    PARTIAL = "partial"


class ProblemKind(enum.StrEnum):
    """Why a path is not, or not quite, in a snapshot.  `inconsistent`: a database in use that is there as its files lay
    on the disk.  `failed`: a command, whose output is not there, or a hook."""

    UNREADABLE = "unreadable"
    MISSING = "missing"
    CHANGED = "changed"
    VANISHED = "vanished"
    INCONSISTENT = "inconsistent"
    FAILED = "failed"

    @property
    def is_note(self) -> bool:
        """Whether it is only what happens in a tree that moves, and makes no run a failure."""
        return self in (ProblemKind.CHANGED, ProblemKind.VANISHED)


@dataclass(frozen=True, slots=True)
class Problem:
    """One path that a snapshot could not take as it should; `detail` is what the system said."""

    path: bytes
    kind: ProblemKind
    detail: str


def encode_holes(holes: Iterable[Hole]) -> bytes:
    """Holes as the index and exports keep them: pairs of offset and length, 8 bytes each, big-endian."""
    return b"".join(_HOLE.pack(*hole) for hole in holes)


def decode_holes(data: bytes, size: int) -> list[Hole]:
    """The holes of a file of `size` bytes.  Raises DamageError unless they are in order, apart, and inside the file."""
    if len(data) % _HOLE.size or len(data) > HOLES_LIMIT * _HOLE.size:
        raise DamageError(f"holes: {len(data)} bytes are no list of them")
    holes = [(start, length) for start, length in _HOLE.iter_unpack(data)]
    end = -1
    for start, length in holes:
        if start <= end or not 0 < length <= size - start:
            raise DamageError(f"holes: one of {length} bytes at {start} cannot be")
        end = start + length
    return holes


@dataclass(frozen=True, slots=True)
class BlobRef:
    """An object of blobs/ as a manifest names it: hash of the object's bytes and their number."""

    hash: BlobHash
    size: int


@dataclass(frozen=True, slots=True)
class ExportRef:
    """One export in a manifest's chain: the folder it lies in, its size in bytes, and two hashes of its bytes."""

    id: ExportId
    size: int
    blake3: bytes
    sha256: bytes


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk begins in a blob's raw bytes (all frames' contents end to end), and its length, in bytes."""

    hash: ChunkHash
    raw_offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where chunks lie in one blob, by rising offset: what ChunkPlace says, as columns, for who looks at a million of them."""

    offsets: array[int]
    sizes: array[int]
    hashes: bytes = field(repr=False)
    """32 bytes each, end to end."""

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, position: int) -> ChunkPlace:
        hash = ChunkHash(self.hashes[32 * position : 32 * position + 32])
        return ChunkPlace(hash, self.offsets[position], self.sizes[position])
