"""Blobs, written: age(frames ‖ padding ‖ seek table), encrypted and hashed as the frames arrive.

A blob's stored size says little: it is a multiple of STEP, and that of a run's last, smaller one a Padmé size
("Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", 2019), whose steps are finer there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import blake3

from vaultpy.age import Encryptor, PayloadError, Recipient, encrypted_size, plaintext_size
from vaultpy.blob.frames import Frame
from vaultpy.blob.seektable import (
    MAX_FRAMES,
    MIN_PADDING,
    Entry,
    decode_seek_table,
    encode_padding,
    encode_seek_table,
    seek_table_size,
)
from vaultpy.blob.spool import Spool
from vaultpy.errors import DamageError
from vaultpy.model import BlobHash, ChunkHash, ChunkPlace
from vaultpy.padding import padme

TARGET = 32 * 1024 * 1024
"""Stored bytes at which a blob is full."""

STEP = 256 * 1024
"""Every blob's stored size is a multiple of this, but for a run's last."""

SMALL = 16 * 1024 * 1024
"""Below this Padmé's steps are finer than STEP, or the same; so a run's last blob is padded by it only if smaller."""

MAX_CHUNKS = 32 * 1024
"""Chunks at which a blob is full: their rows wait in memory until it is durable."""


Pieces = list[bytes] | Spool
"""Where a blob's bytes gather."""


@dataclass(frozen=True, slots=True)
class SealedBlob:
    """An object ready to be put, and its chunks in columns (a blob can have 49,000 of them).

    `size` is that of `pieces` end to end; `raw_size` that of all chunks.  `offsets` are raw offsets, as in ChunkPlace.
    """

    hash: BlobHash
    size: int
    raw_size: int
    pieces: Sequence[bytes] = field(repr=False)
    hashes: Sequence[ChunkHash] = field(repr=False)
    offsets: Sequence[int] = field(repr=False)
    sizes: Sequence[int] = field(repr=False)

    def places(self) -> Iterator[ChunkPlace]:
        """The chunks one by one."""
        return map(ChunkPlace, self.hashes, self.offsets, self.sizes)


class BlobWriter:
    """One blob in the making.  Its encrypted bytes, `target` and one frame and the padding at most, go to `pieces`."""

    def __init__(
        self,
        recipients: Sequence[Recipient],
        *,
        random: Callable[[int], bytes],
        target: int = TARGET,
        max_chunks: int = MAX_CHUNKS,
        pieces: Pieces | None = None,
    ) -> None:
        self._target = target
        self._max_chunks = max_chunks
        self._encryptor = Encryptor(recipients, random)
        self._hasher = blake3.blake3()
        self._pieces: Pieces = [] if pieces is None else pieces
        self._stored = 0
        self._entries: list[Entry] = []
        self._hashes: list[ChunkHash] = []
        self._sizes: list[int] = []
        self._length = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to seal."""
        return not self._entries

    @property
    def full(self) -> bool:
        """Whether the blob must be sealed before another frame comes."""
        return (
            len(self._entries) >= MAX_FRAMES
            or len(self._hashes) >= self._max_chunks
            or self._stored_size(self._least_size()) >= self._target
        )

    def add(self, frame: Frame) -> None:
        """Append a frame; only to a blob that is not full."""
        if self.full:
            raise ValueError("a frame was added to a full blob")
        self._write(frame.data)
        self._entries.append(Entry(len(frame.data), frame.raw_size))
        self._hashes += frame.hashes
        self._sizes += frame.sizes

    def seal(self, *, last: bool) -> SealedBlob:
        """Pad and finish the blob, which is not empty; the writer is used up.  `last`: the run has no other."""
        if self.empty:
            raise ValueError("an empty blob was sealed")
        least = self._least_size()
        padding = MIN_PADDING + self._padded_size(least, last) - least
        entries = [*self._entries, Entry(padding, 0)]
        table = encode_seek_table(entries)
        self._write(encode_padding(padding))
        _check_table(table, self._length, entries)
        self._write(table)
        self._keep(self._encryptor.finish())
        return SealedBlob(
            hash=BlobHash(self._hasher.digest()),
            size=self._stored,
            raw_size=sum(self._sizes),
            pieces=self._pieces,
            hashes=self._hashes,
            offsets=list(accumulate(self._sizes[:-1], initial=0)),
            sizes=self._sizes,
        )

    def _write(self, data: bytes) -> None:
        self._length += len(data)
        for piece in self._encryptor.update(data):
            self._keep(piece)

    def _keep(self, piece: bytes) -> None:
        self._hasher.update(piece)
        self._stored += len(piece)
        self._pieces.append(piece)

    def _least_size(self) -> int:
        """Bytes before encryption, if the blob were sealed now with the smallest padding."""
        return self._length + MIN_PADDING + seek_table_size(len(self._entries))

    def _stored_size(self, size: int) -> int:
        return encrypted_size(len(self._encryptor.header), size)

    def _padded_size(self, least: int, last: bool) -> int:
        """Bytes before encryption, `least` or the next that make a stored size which may be seen."""
        stored = self._stored_size(least)
        while True:
            stored = _visible_size(stored, last)
            try:
                return plaintext_size(len(self._encryptor.header), stored)
            except PayloadError:
                # No plaintext makes a file that ends 1 to 16 bytes into a piece of age's: take the next size.
                stored += 1


def _visible_size(stored: int, last: bool) -> int:
    """The smallest stored size, `stored` or more, that a blob may show."""
    return padme(stored) if last and stored < SMALL else -(-stored // STEP) * STEP


def _check_table(table: bytes, start: int, entries: Sequence[Entry]) -> None:
    """Read the table back before it is sealed: without it nothing in the blob is found again."""
    if decode_seek_table(table, start + len(table)) != tuple(entries[:-1]):
        raise DamageError(
            "a new blob's seek table does not read back", hint="this machine's memory is at fault; test it"
        )
