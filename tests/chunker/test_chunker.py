"""FastCDC over a stream cuts as it does over the whole, and the cuts never change: they are part of the format."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from fastcdc.fastcdc_py import fastcdc_py  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy import chunker
from vaultpy.chunker import AVERAGE, MAXIMUM, MINIMUM, WINDOW, cut, hash_chunk, implementation, new_window

MIB = 1024 * 1024


def noise(seed: bytes, size: int) -> bytes:
    """Bytes that look random and are the same everywhere and for ever."""
    return hashlib.shake_128(seed).digest(size)


def read_by(data: bytes, sizes: Iterator[int]) -> Callable[[memoryview], int]:
    """A `fill` that brings as many bytes at a time as `sizes` says."""
    position = 0

    def fill(buffer: memoryview) -> int:
        nonlocal position
        piece = data[position : position + min(len(buffer), next(sizes))]
        buffer[: len(piece)] = piece
        position += len(piece)
        return len(piece)

    return fill


def always(size: int) -> Iterator[int]:
    while True:
        yield size


def lengths(data: bytes, read_size: int = 1 << 30, **options: object) -> list[int]:
    return [len(chunk) for chunk in cut(read_by(data, always(read_size)), **options)]  # type: ignore[arg-type]


def cuts_of_the_whole(data: bytes) -> list[int]:
    return [found.length for found in chunker._FASTCDC(memoryview(data), MINIMUM, AVERAGE, MAXIMUM)]


KNOWN = [
    (noise(b"known", 6 * MIB + 5), [702547, 1276626, 1073392, 563086, 1179014, 778905, 711778, 6113]),
    (
        b"".join(b"%d squared is %d\n" % (number, number * number) for number in range(200_000)),
        [1080878, 464363, 762046, 3109293, 326061],
    ),
    (bytes(9 * MIB), [4194304, 4194304, 1048576]),
    (
        noise(b"half", 3 * MIB) + bytes(6 * MIB) + noise(b"other half", 3 * MIB),
        [2160517, 4194304, 3359774, 828589, 1246774, 545907, 247047],
    ),
]
"""Data, and the lengths of its chunks: part of the format."""


@pytest.mark.parametrize(("data", "expected"), KNOWN, ids=["noise", "text", "zeros", "half"])
def test_the_cuts_are_those_of_the_format(data: bytes, expected: list[int]) -> None:
    assert lengths(data) == expected


@pytest.mark.parametrize(("data", "expected"), KNOWN[:2], ids=["noise", "text"])
def test_the_pure_python_algorithm_makes_the_same_cuts(data: bytes, expected: list[int]) -> None:
    assert lengths(data, algorithm=fastcdc_py) == expected


def test_the_hash_of_a_chunk_is_blake3() -> None:
    # The first of the test vectors that BLAKE3 itself publishes: the empty input.
    assert hash_chunk(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert hash_chunk(b"abc").hex() == "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"


def test_nothing_has_no_chunks() -> None:
    assert lengths(b"") == []


@pytest.mark.parametrize("size", [1, 2, MINIMUM - 1, MINIMUM])
def test_up_to_the_minimum_is_one_chunk_without_the_algorithm(size: int) -> None:
    def fail(*_: object) -> Iterator[object]:
        raise AssertionError("not to be called")

    assert lengths(noise(b"small", size), algorithm=fail) == [size] == cuts_of_the_whole(noise(b"small", size))


@pytest.mark.parametrize(
    "size",
    [
        MINIMUM + 1,
        AVERAGE,
        *(edge + step for edge in (MAXIMUM, 2 * MAXIMUM, WINDOW, 2 * WINDOW) for step in (-1, 0, 1)),
    ],
)
@pytest.mark.parametrize("make", [lambda size: noise(b"edge", size), bytes], ids=["noise", "zeros"])
def test_at_the_edges_a_stream_is_cut_as_the_whole(size: int, make: Callable[[int], bytes]) -> None:
    data = make(size)
    assert lengths(data) == cuts_of_the_whole(data)
    assert lengths(data, window=new_window(2 * MAXIMUM)) == cuts_of_the_whole(data)


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(0, 20 * MIB),
    period=st.one_of(st.none(), st.integers(1, 6 * MIB)),
    sizes=st.lists(st.integers(1, 9 * MIB), min_size=1, max_size=8),
    window=st.integers(2 * MAXIMUM, 3 * MAXIMUM),
)
def test_the_cuts_depend_on_the_bytes_alone(size: int, period: int | None, sizes: list[int], window: int) -> None:
    data = noise(b"stream", size) if period is None else (noise(b"stream", period) * (size // period + 1))[:size]

    def endless() -> Iterator[int]:
        while True:
            yield from (max(one, 4096) for one in sizes)

    chunks = list(cut(read_by(data, endless()), window=new_window(window)))
    assert b"".join(chunks) == data
    assert [len(chunk) for chunk in chunks] == cuts_of_the_whole(data)


def test_single_byte_reads_change_nothing() -> None:
    data = noise(b"single", MINIMUM + 1000)
    assert lengths(data, 1) == cuts_of_the_whole(data)


def test_chunks_stay_what_they_are_while_reading_goes_on() -> None:
    data = noise(b"stable", 12 * MIB)
    chunks = []
    hashes = []
    for chunk in cut(read_by(data, always(MIB)), window=new_window(2 * MAXIMUM)):
        chunks.append(chunk)
        hashes.append(hash_chunk(chunk))
    assert [hash_chunk(chunk) for chunk in chunks] == hashes


def test_an_insertion_moves_few_cuts() -> None:
    data = noise(b"insertion", 16 * MIB)
    before = {hash_chunk(chunk) for chunk in cut(read_by(data, always(MIB)))}
    changed = data[: 5 * MIB] + b"inserted" + data[5 * MIB :]
    after = {hash_chunk(chunk) for chunk in cut(read_by(changed, always(MIB)))}
    assert len(before) > 8
    assert len(after - before) <= 2


def test_memory_is_bounded_by_the_window() -> None:
    left = 256 * MIB

    def fill(buffer: memoryview) -> int:
        nonlocal left
        count = min(len(buffer), left)
        left -= count
        return count

    tracemalloc.start()
    try:
        total = sum(len(chunk) for chunk in cut(fill))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 256 * MIB
    assert peak < WINDOW + 3 * MAXIMUM


def test_an_error_of_the_reader_passes_through() -> None:
    def fill(buffer: memoryview) -> int:
        raise OSError("broken disk")

    with pytest.raises(OSError, match="broken disk"):
        list(cut(fill))


@pytest.mark.parametrize("compiled", [True, False])
def test_importing_prints_nothing(compiled: bool) -> None:
    hide = "" if compiled else "import sys; sys.modules['fastcdc.fastcdc_cy'] = None\n"
    script = hide + "import vaultpy.chunker as c; import sys; print(c.implementation(), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True, env=os.environ)
    assert done.stdout == ""
    assert done.stderr.strip() == (implementation() if compiled else "pure python")
