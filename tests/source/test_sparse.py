"""Holes: data spread around them, and zeros that become some."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.errors import DamageError
from vaultpy.source.sparse import HOLE_BLOCK, Segment, leave_zeros, spread


def encode(*holes: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">QQ", *hole) for hole in holes)


def assemble(segments: list[Segment], size: int) -> bytes:
    content = bytearray(size)
    for offset, data in segments:
        content[offset : offset + len(data)] = data
    return bytes(content)


@pytest.mark.parametrize("holes", [None, b""])
def test_without_holes_data_stays_where_it_is(holes: bytes | None) -> None:
    assert spread(holes, 7, b"data") == [(7, b"data")]


def test_data_goes_around_holes() -> None:
    holes = encode((2, 10), (14, 1), (20, 100))
    assert spread(holes, 0, b"abcdefghij") == [(0, b"ab"), (12, b"cd"), (15, b"efghi"), (120, b"j")]
    assert spread(holes, 1, b"bc") == [(1, b"b"), (12, b"c")]
    assert spread(holes, 2, b"cd") == [(12, b"cd")]
    assert spread(holes, 9, b"jk") == [(120, b"jk")]
    assert spread(encode((0, 4)), 0, b"ab") == [(4, b"ab")]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=6), st.integers(0, 30), st.data())
@settings(max_examples=100)
def test_chunks_of_any_size_end_up_where_they_were_read(
    gaps: list[tuple[int, int]], tail: int, draw: st.DataObject
) -> None:
    holes, content, at = [], b"", 0
    for data, hole in gaps:
        content += bytes(range(1, data + 1)) + bytes(hole)
        holes.append((at + data, hole))
        at += data + hole
    content += b"x" * tail
    stored = b"".join(
        content[end:next_start]
        for end, next_start in zip(
            [0, *(sum(hole) for hole in holes)], [*(hole[0] for hole in holes), len(content)], strict=True
        )
    )
    segments: list[Segment] = []
    start = 0
    while start < len(stored):
        size = draw.draw(st.integers(1, len(stored) - start))
        segments += spread(encode(*holes), start, stored[start : start + size])
        start += size
    assert assemble(segments, len(content)) == content
    assert sum(len(data) for _, data in segments) == len(stored)


@pytest.mark.parametrize(
    "holes",
    [
        b"x" * 15,
        encode((5, 0)),
        encode((5, 5), (10, 1)),
        encode((5, 5), (9, 1)),
        encode((1 << 63, 1)),
        encode((0, 1 << 63)),
        encode((1, (1 << 63) - 1)),
    ],
)
def test_holes_that_cannot_be_are_refused(holes: bytes) -> None:
    with pytest.raises(DamageError):
        spread(holes, 0, b"data")


@pytest.mark.parametrize("offset", [0, 1, HOLE_BLOCK - 1, HOLE_BLOCK])
def test_blocks_of_zeros_are_left_out_and_nothing_else(offset: int) -> None:
    data = b"a" + bytes(3 * HOLE_BLOCK) + b"b" + bytes(HOLE_BLOCK // 2)
    left = leave_zeros([(offset, data)])
    assert assemble(left, offset + len(data)) == bytes(offset) + data
    assert 2 * HOLE_BLOCK <= len(data) - sum(len(part) for _, part in left) <= 3 * HOLE_BLOCK


def test_nothing_but_zeros_writes_nothing() -> None:
    assert leave_zeros([(0, bytes(HOLE_BLOCK))]) == []
    assert leave_zeros([(0, bytes(HOLE_BLOCK - 1))]) == [(0, bytes(HOLE_BLOCK - 1))]
    assert leave_zeros([(0, b"")]) == []


def test_a_part_of_something_larger_is_looked_at_as_bytes_are() -> None:
    data = memoryview(b"before" + bytes(HOLE_BLOCK) + b"c")[6:]
    assert leave_zeros(spread(None, 0, data)) == [(HOLE_BLOCK, b"c")]
