"""Where a file's data goes when the file has holes, and which zeros need not be written at all."""

from __future__ import annotations

from collections.abc import Iterator

from vaultpy.model import decode_holes

Segment = tuple[int, bytes | memoryview]
"""Where in a file, and what is there."""

HOLE_BLOCK = 4096
"""Bytes of zeros, at a multiple of so many, that become a hole: what file systems keep apart."""

_ZEROS = bytes(HOLE_BLOCK)
_LONGEST = (1 << 63) - 1
"""Bytes of the longest file that there can be: the data after the last hole ends where it ends."""


def spread(holes: bytes | None, start: int, data: bytes | memoryview) -> list[Segment]:
    """Where in the file the data belongs that begins at `start` of the file's data, all holes left out.

    `holes` are those of `model.encode_holes`.  Raises DamageError unless they are in order and apart.
    """
    if not holes:
        return [(start, data)]
    return [
        (offset + max(start - begin, 0), data[max(begin - start, 0) : begin + length - start])
        for offset, begin, length in _runs(holes)
        if begin < start + len(data) and begin + length > start
    ]


def _runs(holes: bytes) -> Iterator[tuple[int, int, int]]:
    """Between the holes: where in the file, where in the data, how long."""
    at = taken = 0
    for offset, length in decode_holes(holes, _LONGEST):
        yield at, taken, offset - at
        taken += offset - at
        at = offset + length
    yield at, taken, _LONGEST - at


def leave_zeros(segments: list[Segment]) -> list[Segment]:
    """The same segments without the blocks that are all zeros: in a new file they are holes if nobody writes them."""
    return [part for offset, data in segments for part in _without_zeros(offset, bytes(data))]


def _without_zeros(offset: int, data: bytes) -> Iterator[Segment]:
    begin = 0
    at = -offset % HOLE_BLOCK
    while at + HOLE_BLOCK <= len(data):
        if data[at : at + HOLE_BLOCK] == _ZEROS:
            if begin < at:
                yield offset + begin, data[begin:at]
            begin = at + HOLE_BLOCK
        at += HOLE_BLOCK
    if begin < len(data):
        yield offset + begin, data[begin:]
