"""Holes are found as the file system has them, and what lies between them is the file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

import pytest

from vaultpy.errors import DamageError, SourceError
from vaultpy.model import HOLES_LIMIT, decode_holes, encode_holes
from vaultpy.source.holes import data_between, find_holes, holes_before, may_have_holes
from vaultpy.source.read import read_file

BLOCK = 4096
HUGE = (1 << 63) - 1


@pytest.fixture
def sparse(tmp_path: os.PathLike[str]) -> Iterator[Callable[..., int]]:
    """Makes a file of a size with data in some blocks; returns its descriptor."""
    opened: list[int] = []

    def make(size: int, *blocks: int) -> int:
        fd = os.open(os.path.join(tmp_path, f"f{len(opened)}"), os.O_RDWR | os.O_CREAT)
        opened.append(fd)
        os.ftruncate(fd, size)
        for block in blocks:
            os.pwrite(fd, b"data" * (BLOCK // 4), block * BLOCK)
        return fd

    yield make
    for fd in opened:
        os.close(fd)


@pytest.mark.parametrize(
    ("size", "blocks", "holes"),
    [
        (0, [], []),
        (1, [], [(0, 1)]),
        (BLOCK, [0], []),
        (BLOCK, [], [(0, BLOCK)]),
        (3 * BLOCK, [1], [(0, BLOCK), (2 * BLOCK, BLOCK)]),
        (3 * BLOCK, [0, 2], [(BLOCK, BLOCK)]),
        (3 * BLOCK + 1, [0, 1, 2], [(3 * BLOCK, 1)]),
        (100 << 30, [5 << 18], [(0, 5 << 30), ((5 << 30) + BLOCK, (95 << 30) - BLOCK)]),
    ],
)
def test_holes_are_found_at_both_ends_and_between(
    sparse: Callable[..., int], size: int, blocks: list[int], holes: list[tuple[int, int]]
) -> None:
    fd = sparse(size, *blocks)
    assert find_holes(fd, size) == holes
    assert may_have_holes(os.fstat(fd)) == bool(holes)
    data = data_between(holes, size)
    assert sum(length for _, length in (*holes, *data)) == size
    assert b"".join(read_file(fd, size, data)) == b"data" * (BLOCK // 4) * len(blocks)


def test_a_file_of_8_eib_is_one_hole() -> None:
    fd = os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR)
    try:
        os.ftruncate(fd, HUGE)
        assert find_holes(fd, HUGE) == [(0, HUGE)]
        assert data_between([(0, HUGE)], HUGE) == []
    finally:
        os.close(fd)


def test_of_too_many_holes_the_longest_are_kept_in_order(sparse: Callable[..., int]) -> None:
    # Every second block holds data, and the hole after block 10 is longer.
    blocks = [n if n <= 10 else n + 1 for n in range(0, 2 * HOLES_LIMIT + 10, 2)]
    size = (blocks[-1] + 1) * BLOCK
    holes = find_holes(sparse(size, *blocks), size)
    assert len(holes) == HOLES_LIMIT
    assert (11 * BLOCK, 2 * BLOCK) in holes
    assert holes == sorted(holes)


def test_an_extent_ends_where_the_file_is_thought_to_end(sparse: Callable[..., int]) -> None:
    fd = sparse(4 * BLOCK, 1, 3)
    assert find_holes(fd, BLOCK + 10) == [(0, BLOCK)]
    assert find_holes(fd, 3 * BLOCK - 1) == [(0, BLOCK), (2 * BLOCK, BLOCK - 1)]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_where_the_file_system_knows_no_holes_there_are_none(
    sparse: Callable[..., int], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fd = sparse(3 * BLOCK)

    def refuse(fd: int, offset: int, whence: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "lseek", refuse)
    assert find_holes(fd, 3 * BLOCK) == []


def test_a_disk_that_fails_to_say_is_a_source_error(
    sparse: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = sparse(3 * BLOCK)

    def fail(fd: int, offset: int, whence: int) -> int:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "lseek", fail)
    with pytest.raises(SourceError, match="input/output error"):
        find_holes(fd, 3 * BLOCK)


def test_a_file_system_that_goes_nowhere_is_believed_no_further(
    sparse: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = sparse(3 * BLOCK)
    monkeypatch.setattr(os, "lseek", lambda fd, offset, whence: max(offset, BLOCK))
    assert find_holes(fd, 3 * BLOCK) == [(0, BLOCK)]


def test_holes_beyond_an_end_that_came_sooner_are_cut() -> None:
    holes = [(0, 10), (20, 10), (40, 10)]
    assert holes_before(holes, 25) == [(0, 10), (20, 5)]
    assert holes_before(holes, 20) == [(0, 10)]
    assert holes_before(holes, 0) == []


@pytest.mark.parametrize("holes", [[], [(0, 1)], [(0, HUGE)], [(5, 10), (16, HUGE - 16)]])
def test_holes_come_back_from_their_bytes(holes: list[tuple[int, int]]) -> None:
    data = encode_holes(holes)
    assert len(data) == 16 * len(holes)
    assert decode_holes(data, HUGE) == holes


def test_the_bytes_of_a_hole_are_two_big_endian_numbers() -> None:
    assert encode_holes([(4096, 1)]).hex() == "00000000000010000000000000000001"


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 15,
        encode_holes([(0, 0)]),
        encode_holes([(90, 11)]),
        encode_holes([(101, 1)]),
        encode_holes([(10, 5), (0, 5)]),
        encode_holes([(0, 5), (5, 5)]),
        encode_holes([(0, 5), (4, 5)]),
        encode_holes([(0, 1 << 63)]),
        encode_holes((3 * n, 1) for n in range(HOLES_LIMIT + 1)),
    ],
)
def test_holes_that_cannot_be_are_refused(data: bytes) -> None:
    size = 100 if len(data) < 1000 else 1 << 20
    with pytest.raises(DamageError):
        decode_holes(data, size)


def test_as_many_holes_as_there_may_be_are_read() -> None:
    holes = [(3 * n, 1) for n in range(HOLES_LIMIT)]
    assert decode_holes(encode_holes(holes), 3 * HOLES_LIMIT) == holes
