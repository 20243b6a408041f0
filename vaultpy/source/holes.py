"""Where a file holds nothing: the holes of sparse files, as the file system knows them.

Only files that take less room than their size are asked (`may_have_holes`), so an ordinary file costs nothing more.  Room
that was reserved and never written reads as zeros and counts as data.
"""

from __future__ import annotations

import errno
import heapq
import os
from collections.abc import Iterator, Sequence
from operator import itemgetter

from vaultpy.model import HOLES_LIMIT, Hole
from vaultpy.source.failures import translate

Extent = tuple[int, int]
"""Offset and length, in bytes, of a part of a file that is not a hole."""

_BLOCK = 512
"""The unit of st_blocks, whatever the file system's own blocks are."""

_KNOWS_NO_HOLES = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})


def may_have_holes(found: os.stat_result) -> bool:
    """Whether a regular file takes less room than its bytes would (a compressed one does, too)."""
    return found.st_blocks * _BLOCK < found.st_size


def find_holes(fd: int, size: int) -> list[Hole]:
    """The holes in the first `size` bytes, in order; of more than HOLES_LIMIT the longest.

    A file system that knows no holes has none.  Raises SourceError.
    """
    return sorted(heapq.nlargest(HOLES_LIMIT, _holes(fd, size), key=itemgetter(1)))


def data_between(holes: Sequence[Hole], size: int) -> list[Extent]:
    """The parts of a file of `size` bytes that lie between its holes."""
    extents = []
    offset = 0
    for start, length in (*holes, (size, 0)):
        if start > offset:
            extents.append((offset, start - offset))
        offset = start + length
    return extents


def end_of(extents: Sequence[Extent], read: int, size: int) -> int:
    """Where a file of `size` bytes turned out to end, when so many bytes of its extents could be read."""
    for start, length in extents:
        if read < length:
            return start + read
        read -= length
    return size


def holes_before(holes: Sequence[Hole], end: int) -> list[Hole]:
    """The holes of a file that turned out to end at `end`."""
    return [(start, min(length, end - start)) for start, length in holes if start < end]


def _holes(fd: int, size: int) -> Iterator[Hole]:
    offset = 0
    while offset < size:
        data = _seek(fd, offset, os.SEEK_DATA)
        if data is None or data >= size:
            yield offset, size - offset
            return
        if data > offset:
            yield offset, data - offset
        end = _seek(fd, data, os.SEEK_HOLE)
        if end is None or end <= data:  # somebody punches holes while we look: what is left counts as data
            return
        offset = end


def _seek(fd: int, offset: int, whence: int) -> int | None:
    """Where the next data or hole begins; None when there is none.  Where nobody knows, the file is data to its end."""
    try:
        return os.lseek(fd, offset, whence)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno in _KNOWS_NO_HOLES:
            return offset
        raise translate(error) from error
