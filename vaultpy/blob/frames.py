"""Frames: whole chunks, compressed together as one zstd frame (RFC 8878) that can be opened by itself.

Every frame states its content size and carries zstd's checksum (without it nearly every flipped bit decodes silently
wrong), needs no dictionary, and has a window of at most WINDOW_LIMIT; `decompress_frame` refuses anything else, and
`FrameCompressor` opens each frame by it before anybody sees the frame.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import zstandard

from vaultpy.chunker import hash_chunk
from vaultpy.errors import DamageError
from vaultpy.model import ChunkHash

FRAME_SIZE = 2 * 1024 * 1024
"""Raw bytes at which a shared frame is full; a chunk of that size or more is a frame by itself."""

FRAME_LIMIT = 8 * 1024 * 1024
"""Raw bytes of the largest frame that is written, or opened: twice the largest chunk."""

FRAME_CHUNKS = 16 * 1024
"""Chunks at which a shared frame is full, however small they are, so that rows waiting for their blob stay few."""

WINDOW_LIMIT = 8 * 1024 * 1024
"""The largest zstd window in bytes: what RFC 8878 asks every decoder to support."""

TRIED_ABOVE = 12
"""The level above which frames are first tried at level 1, which passes what does not shrink at over 2 GB/s.  Up to it zstd
itself passes that at 600 MB/s and more, at 15 at 100, at 19 at 9 (docs/performance.md)."""

LEAST_SAVED = 1 / 256
"""The part of a frame that the trial has to save for the frame to be worked on."""

FrameInput = Sequence[tuple[ChunkHash, bytes]]
"""The chunks of one frame to be, in order: each chunk's hash and its bytes."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that was opened again and found right: its stored bytes, and its chunks' hashes and sizes, in order."""

    data: bytes = field(repr=False)
    raw_size: int
    hashes: tuple[ChunkHash, ...] = field(repr=False)
    sizes: tuple[int, ...] = field(repr=False)


class FrameBuilder:
    """Groups chunks into frames: small ones share, in the order of the walk, because small files compress together.

    A shared frame has less than twice FRAME_SIZE.  A large chunk goes past the shared frame without closing it.
    """

    def __init__(self) -> None:
        self._open: list[tuple[ChunkHash, bytes]] = []
        self._size = 0

    def add(self, hash: ChunkHash, data: bytes) -> Sequence[FrameInput]:
        """Take one chunk; the frame that is ready now, if there is one."""
        size = len(data)
        if size >= FRAME_SIZE:
            return (((hash, data),),)
        self._open.append((hash, data))
        self._size += size
        if self._size >= FRAME_SIZE or len(self._open) >= FRAME_CHUNKS:
            return self.flush()
        return ()

    def flush(self) -> Sequence[FrameInput]:
        """The frame that is still open, if there is one."""
        group, self._open, self._size = self._open, [], 0
        return (group,) if group else ()


class FrameCompressor:
    """Makes frames; safe to use from many threads at once, each of which keeps its own zstd state in here."""

    def __init__(self, level: int) -> None:
        self._own = _ThreadState(level)

    def compress(self, chunks: FrameInput) -> Frame:
        """One frame of these chunks, which are neither empty nor together over FRAME_LIMIT.

        Before it returns, the frame was decompressed and each chunk in it hashed again.  Raises DamageError when that
        finds something else than what came in: then this machine cannot be trusted with the rest either.
        """
        hashes, contents = zip(*chunks, strict=True)
        sizes = tuple(map(len, contents))
        raw = b"".join(contents)
        if 0 in sizes or len(raw) > FRAME_LIMIT:
            # An entry of 0 bytes means padding in the seek table, and nobody would open a larger frame.
            raise ValueError(f"a frame of {len(sizes)} chunks and {len(raw)} bytes cannot be stored")
        frame = Frame(self._own.compress(raw), len(raw), hashes, sizes)
        _check(frame)
        return frame


class _ThreadState(threading.local):
    # threading.local runs this once in every thread that touches the object.
    def __init__(self, level: int) -> None:
        self._full = _compressor(level)
        self._trial = _compressor(1) if level > TRIED_ABOVE else None

    def compress(self, raw: bytes) -> bytes:
        """One frame of these bytes: what hardly shrinks at level 1 stays as that left it."""
        if self._trial is not None:
            tried = self._trial.compress(raw)
            if len(tried) > len(raw) * (1 - LEAST_SAVED):
                return tried
        return self._full.compress(raw)


def _compressor(level: int) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)


def _check(frame: Frame) -> None:
    """zstd encoders have written what no decoder gives back (restic#4523), and memory flips bits: so look first."""
    try:
        found = tuple(map(hash_chunk, split(decompress_frame(frame.data, frame.raw_size), frame.sizes)))
    except DamageError as error:
        raise _encoder_fault(str(error)) from error
    if found != frame.hashes:
        raise _encoder_fault("a chunk has another hash than when it was read")


def _encoder_fault(what: str) -> DamageError:
    return DamageError(
        f"a new frame does not give back what went into it: {what}",
        hint="this machine's memory or its zstd library is at fault; nothing of the frame was stored; test the memory",
    )


def split(raw: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """The chunks of an opened frame, one after the other."""
    ends = list(accumulate(sizes))
    # Slices made in C: a frame can hold 16,384 chunks.  The slice that is the whole frame is not a copy.
    return map(raw.__getitem__, map(slice, [0, *ends], ends))


def decompress_frame(data: bytes | memoryview, raw_size: int) -> bytes:
    """The `raw_size` bytes in the one frame that `data` is, from its first byte to its last; DamageError otherwise.

    Nothing is allocated before the frame's header says exactly `raw_size`: zstandard's own `max_output_size` has no
    effect on a frame that states its size, and 8 kB can unfold to 256 MiB.
    """
    try:
        header = zstandard.get_frame_parameters(data)
        _check_header(header, raw_size)
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DamageError(f"frame is damaged: {error}") from error


def decompress_start(data: bytes | memoryview, raw_size: int, wanted: int) -> bytes:
    """The first `wanted` of the `raw_size` bytes of a frame that begins as `data` does, or as many as that much of it gives.

    What its checksum says nobody knows before its end: chunks out of these bytes prove themselves by their hashes.  Raises
    DamageError; allocates no more than `wanted`.
    """
    try:
        _check_header(zstandard.get_frame_parameters(data), raw_size)
        with zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT).stream_reader(data) as reader:
            return reader.read(wanted)
    except zstandard.ZstdError as error:
        raise DamageError(f"frame is damaged: {error}") from error


def _check_header(header: zstandard.FrameParameters, raw_size: int) -> None:
    if header.content_size != raw_size:
        raise DamageError(f"frame is damaged: it does not state the {raw_size} bytes that are expected")
    if header.window_size > WINDOW_LIMIT:
        raise DamageError(
            f"frame is damaged: its window has {header.window_size} bytes, {WINDOW_LIMIT} at most are allowed"
        )
    if not header.has_checksum:
        raise DamageError("frame is damaged: it has no checksum")
    if header.dict_id:
        raise DamageError(f"frame is damaged: it asks for dictionary {header.dict_id}")
