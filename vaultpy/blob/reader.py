"""Blobs, read in part: any chunk out of a blob for little more than its frame.

Opening a blob takes two small fetches (its age header, 4 KiB, and its seek table, in the last one or two 64 KiB pieces),
then each run of neighbouring frames one, or so much of a frame as leads to the last byte that is wanted of it; a blob of up
to FETCH_WHOLE is one fetch in all.  What is in memory is bounded by MERGE_LIMIT and one frame, at any size of blob.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import add

from vaultpy.age import PIECE_SIZE, AgeReader, Identity
from vaultpy.blob.frames import FRAME_LIMIT, decompress_frame, decompress_start
from vaultpy.blob.seektable import MAX_SEEK_TABLE, Entry, decode_seek_table
from vaultpy.chunker import hash_chunk
from vaultpy.errors import DamageError
from vaultpy.model import ChunkPlace, Places

MERGE_LIMIT = 4 * 1024 * 1024
"""Stored bytes up to which neighbouring frames are fetched at once."""

MERGE_GAP = 64 * 1024
"""Frames no further apart than this are neighbours: encrypted in pieces of that size, most of the gap comes anyway."""

FETCH_WHOLE = 256 * 1024
"""Stored bytes up to which a blob is fetched at once: over a network three small requests take longer."""

GUESS_MARGIN = 32 * 1024
"""Stored bytes that are fetched beyond where something should end, if its frame shrank alike from end to end."""

Fetch = Callable[[int, int], bytes]
"""Start and length in, exactly those bytes of the object out, or a StoreError."""


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """A frame of a blob: its number, its place in the raw bytes, and in the bytes before encryption."""

    index: int
    raw_offset: int
    raw_size: int
    start: int
    length: int


class BlobReader:
    """An opened blob: its bytes as they were stored, or DamageError; what `fetch` raises passes through."""

    def __init__(self, fetch: Fetch, size: int, identities: Sequence[Identity], *, max_raw: int = FRAME_LIMIT) -> None:
        """Open the object of `size` bytes that `fetch` reads; `max_raw` is the most raw bytes a frame may have.

        Raises NoIdentity, and DamageError unless it is a whole age file with a sound seek table at its end.
        """
        self._plain = AgeReader(_fetched(fetch, size) if size <= FETCH_WHOLE else fetch, size, identities)
        end = min(self._plain.size, MAX_SEEK_TABLE)
        entries = decode_seek_table(self._plain.read(self._plain.size - end, end), self._plain.size, max_raw=max_raw)
        self.frames: tuple[FrameInfo, ...] = tuple(_places(entries))
        self._starts = [frame.raw_offset for frame in self.frames]
        self.raw_size = self.frames[-1].raw_offset + self.frames[-1].raw_size

    def frame_at(self, raw_offset: int) -> FrameInfo:
        """The frame that holds the raw byte at `raw_offset`; DamageError where the blob has none."""
        if not 0 <= raw_offset < self.raw_size:
            raise DamageError(f"blob has {self.raw_size} raw bytes, so none at {raw_offset}")
        return self.frames[bisect_right(self._starts, raw_offset) - 1]

    def read_frame(self, frame: FrameInfo) -> bytes:
        """The raw bytes of one frame."""
        return decompress_frame(self._plain.read(frame.start, frame.length), frame.raw_size)

    def read_start(self, frame: FrameInfo, wanted: int) -> bytes:
        """At least the first `wanted` raw bytes of one frame (all, if it has no more), for little more than those take;
        seldom in two fetches."""
        wanted = min(max(wanted, 1), frame.raw_size)
        # Most frames shrink alike from end to end.  Up to the end of a piece, which is fetched whole anyway.
        guess = frame.length * wanted // frame.raw_size + GUESS_MARGIN
        end = -(-(frame.start + guess) // PIECE_SIZE) * PIECE_SIZE
        if end >= frame.start + frame.length:
            return self.read_frame(frame)
        stored = self._plain.read(frame.start, end - frame.start)
        raw = decompress_start(stored, frame.raw_size, wanted)
        if len(raw) == wanted:
            return raw
        rest = self._plain.read(end, frame.start + frame.length - end)
        return decompress_frame(b"".join((stored, rest)), frame.raw_size)

    def read_frames(self, frames: Iterable[FrameInfo]) -> Iterator[tuple[FrameInfo, bytes]]:
        """These frames in the order given, each with its raw bytes; neighbours in that order are fetched at once."""
        for run in _runs(frames):
            first, last = run[0], run[-1]
            stored = self._plain.read(first.start, last.start + last.length - first.start)
            for frame in run:
                start = frame.start - first.start
                yield frame, decompress_frame(stored[start : start + frame.length], frame.raw_size)

    def chunk(self, place: ChunkPlace) -> memoryview:
        """One chunk, checked by its hash."""
        frame = self.frame_at(place.raw_offset)
        return take_chunk(frame, self.read_frame(frame), place)

    def chunks(self, places: Iterable[ChunkPlace]) -> Iterator[tuple[ChunkPlace, memoryview]]:
        """These chunks by rising offset, each checked by its hash; each frame is fetched and opened once."""
        ordered = sorted(places, key=lambda place: place.raw_offset)
        wanted = [
            (frame, list(group)) for frame, group in groupby(ordered, lambda place: self.frame_at(place.raw_offset))
        ]
        opened = self.read_frames(frame for frame, _ in wanted)
        for (_, group), (frame, raw) in zip(wanted, opened, strict=True):
            for place in group:
                yield place, take_chunk(frame, raw, place)

    def find_bad(self, places: Places) -> Iterator[tuple[ChunkPlace, str]]:
        """Look at chunks, each by its hash: those that are not there, with the reason.  Each frame is opened once."""
        position = 0
        while position < len(places):
            first = places[position]
            try:
                frame = self.frame_at(first.raw_offset)
            except DamageError:
                yield first, f"the blob has no raw byte {first.raw_offset}"
                position += 1
                continue
            end = bisect_left(places.offsets, frame.raw_offset + frame.raw_size, position)
            yield from self._find_bad_in(frame, places, range(position, end))
            position = end

    def _find_bad_in(self, frame: FrameInfo, places: Places, positions: range) -> Iterator[tuple[ChunkPlace, str]]:
        try:
            raw = self.read_frame(frame)
        except DamageError as error:
            yield from ((places[position], error.message) for position in positions)
            return
        if _hashes(frame, raw, places, positions) == places.hashes[32 * positions.start : 32 * positions.stop]:
            return
        for place in map(places.__getitem__, positions):
            try:
                take_chunk(frame, raw, place)
            except DamageError as error:
                yield place, error.message


def _hashes(frame: FrameInfo, raw: bytes, places: Places, positions: range) -> bytes:
    """The hashes of what lies at these places of a frame, end to end; of nothing where one is not all inside it.

    Made by maps of built-ins: of small chunks there are 16,384 in a frame.
    """
    starts = [offset - frame.raw_offset for offset in places.offsets[positions.start : positions.stop]]
    ends = list(map(add, starts, places.sizes[positions.start : positions.stop]))
    if max(ends) > len(raw):
        return b""
    return b"".join(map(hash_chunk, map(memoryview(raw).__getitem__, map(slice, starts, ends))))


def _fetched(fetch: Fetch, size: int) -> Fetch:
    data = fetch(0, size)
    return lambda start, length: data[start : start + length]


def take_chunk(frame: FrameInfo, raw: bytes | memoryview, place: ChunkPlace) -> memoryview:
    """The chunk at `place` in its frame's raw bytes, uncopied; DamageError unless it has the hash that it is known by."""
    return cut_chunk(frame, raw, place.raw_offset, place.size, place.hash)


def cut_chunk(frame: FrameInfo, raw: bytes | memoryview, raw_offset: int, size: int, hash: bytes) -> memoryview:
    """As `take_chunk`, for who has a million places."""
    start = raw_offset - frame.raw_offset
    if not 0 <= start < start + size <= len(raw):
        raise DamageError(f"chunk of {size} bytes at {raw_offset} is not inside one frame of its blob")
    data = memoryview(raw)[start : start + size]
    if hash_chunk(data) != hash:
        raise DamageError(f"chunk of {size} bytes at {raw_offset} is not what was stored: its hash differs")
    return data


def _places(entries: Iterable[Entry]) -> Iterator[FrameInfo]:
    start = raw_offset = 0
    for index, entry in enumerate(entries):
        yield FrameInfo(index, raw_offset, entry.raw_size, start, entry.length)
        start += entry.length
        raw_offset += entry.raw_size


def _runs(frames: Iterable[FrameInfo]) -> Iterator[list[FrameInfo]]:
    """The frames in the order given, cut where the next is not near or would make the fetch too long."""
    run: list[FrameInfo] = []
    for frame in frames:
        if run and not _joins(run, frame):
            yield run
            run = []
        run.append(frame)
    if run:
        yield run


def _joins(run: Sequence[FrameInfo], frame: FrameInfo) -> bool:
    gap = frame.start - (run[-1].start + run[-1].length)
    return 0 <= gap <= MERGE_GAP and frame.start + frame.length - run[0].start <= MERGE_LIMIT
