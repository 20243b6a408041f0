"""Cutting files into content-defined chunks, and naming chunks by their hash.  Bytes in, bytes out.

The cuts are those of the `fastcdc` package (FastCDC with a 32-bit gear hash that shifts right, normalised by two masks
around the average) with the three sizes below.  They are part of the format: other cuts would restore just as well, but
nothing stored before would be recognised.  Known-answer tests hold them still.

The algorithm finds a cut by looking at no more than MAXIMUM bytes from where the last one fell, so a window over the
file gives the cuts of the whole file as long as none is taken with fewer than MAXIMUM bytes behind its beginning
(unless the file ends there).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import blake3

from vaultpy.model import ChunkHash

MINIMUM = 256 * 1024
AVERAGE = 1024 * 1024
MAXIMUM = 4 * 1024 * 1024
"""Sizes in bytes.  A file of up to MINIMUM bytes is one chunk; only a file's last chunk may be shorter than MINIMUM."""

WINDOW = 2 * MAXIMUM
"""Bytes held at a time.  At the end of a window less than MAXIMUM is moved to its front, so a wide one moves little."""

Fill = Callable[[memoryview], int]
"""Writes to the front of a buffer and returns how many bytes, as few as it likes; 0 only at the end (as `readinto`)."""

Algorithm = Callable[[memoryview, int, int, int], Iterator[Any]]
"""A data source, minimum, average and maximum in; objects with a `length`, one after the other, out."""


def _load_algorithm() -> tuple[Algorithm, str]:
    # Where the compiled module is missing, the package's own __init__ says so on stdout, which belongs to our users.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            from fastcdc.fastcdc_cy import fastcdc_cy  # type: ignore[import-untyped]

            return fastcdc_cy, "compiled"
        except ImportError:
            from fastcdc.fastcdc_py import fastcdc_py  # type: ignore[import-untyped]

            return fastcdc_py, "pure python"


_FASTCDC, _IMPLEMENTATION = _load_algorithm()


def implementation() -> str:
    """Which FastCDC runs: `compiled` (over 1 GB/s) or `pure python` (some 10 MB/s, with the same cuts)."""
    return _IMPLEMENTATION


def hash_chunk(data: bytes | memoryview) -> ChunkHash:
    """BLAKE3-256 of a chunk's bytes: its name."""
    return ChunkHash(blake3.blake3(data).digest())


def new_window(size: int = WINDOW) -> memoryview:
    """A buffer for `cut`, of at least twice MAXIMUM bytes, which may serve one file after the other."""
    assert size >= 2 * MAXIMUM
    return memoryview(bytearray(size))


def cut(fill: Fill, window: memoryview | None = None, *, algorithm: Algorithm = _FASTCDC) -> Iterator[bytes]:
    """The chunks of what `fill` yields, end to end; nothing for nothing.

    The cuts depend on the bytes alone, not on how many of them a call of `fill` brings.  Memory is bounded by `window`,
    which comes from `new_window` and is for this iterator alone while it runs, at any length.  What `fill` raises passes
    through; no chunk that reaches over bytes that were not read has been yielded by then.
    """
    buffer = new_window() if window is None else window
    filled = 0
    while True:
        at_end, filled = _top_up(fill, buffer, filled)
        taken = 0
        for length in _lengths(buffer[:filled], at_end, algorithm):
            # A copy, because chunks outlive the window: another thread compresses them later.
            yield bytes(buffer[taken : taken + length])
            taken += length
        if at_end:
            return
        buffer[: filled - taken] = buffer[taken:filled]
        filled -= taken


def _top_up(fill: Fill, buffer: memoryview, filled: int) -> tuple[bool, int]:
    """Read until the buffer is full or the data ends; (whether it ended, bytes in the buffer)."""
    while filled < len(buffer):
        count = fill(buffer[filled:])
        if not count:
            return True, filled
        filled += count
    return False, filled


def _lengths(data: memoryview, at_end: bool, algorithm: Algorithm) -> Iterator[int]:
    """Lengths of the chunks at the front of `data` that no later byte can change."""
    left = len(data)
    if at_end and 0 < left <= MINIMUM:
        yield left
        return
    cuts = algorithm(data, MINIMUM, AVERAGE, MAXIMUM)
    while left >= MAXIMUM or (at_end and left):
        length: int = next(cuts).length
        yield length
        left -= length
