"""Opening and reading one file of a tree that other programs go on using.

Everything is opened below a directory's descriptor, without following links, without blocking on a FIFO, and compared
with what was listed.  A source is never mapped into memory: cutting a mapped file kills the process that reads it.
Errors carry the system's words without the path (see `failures.to_problem`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from typing import Protocol

from vaultpy import chunker
from vaultpy.errors import ReplacedError
from vaultpy.source.failures import translate
from vaultpy.source.holes import Extent

OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""How a file is opened for reading, whatever it has become meanwhile."""


class Listed(Protocol):
    """What a listing said about a file, as far as opening it needs that; `os.stat_result` is one."""

    @property
    def st_ino(self) -> int: ...
    @property
    def st_dev(self) -> int: ...
    @property
    def st_uid(self) -> int: ...


def open_regular(dir_fd: int, name: bytes, expected: Listed) -> int:
    """A descriptor of the regular file that was listed, to be closed by the caller.

    Reading through it leaves the access time alone where the system allows that.  Raises VanishedError, ReplacedError
    (another inode or kind has the name), or SourceError.
    """
    fd = _open(dir_fd, name, expected)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or (found.st_ino, found.st_dev) != (expected.st_ino, expected.st_dev):
            raise ReplacedError("another file has the name now")
    except OSError as error:
        os.close(fd)
        raise translate(error) from error
    except ReplacedError:
        os.close(fd)
        raise
    return fd


def open_unseen(name: bytes, flags: int, dir_fd: int | None = None) -> int:
    """Open something so that reading it leaves its access time alone, where the system allows that: as its owner, or root.

    Raises OSError.
    """
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=dir_fd)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
    return os.open(name, flags, dir_fd=dir_fd)


def _open(dir_fd: int, name: bytes, expected: Listed) -> int:
    # O_NOATIME is the owner's and root's alone: asking only then saves everybody else a refused call per file.
    user = os.geteuid()
    if user in (0, expected.st_uid):
        try:
            return os.open(name, OPEN | os.O_NOATIME, dir_fd=dir_fd)
        except PermissionError:
            pass  # root of a container is refused this for files of users that it does not own
        except OSError as error:
            raise translate(error) from error
    try:
        return os.open(name, OPEN, dir_fd=dir_fd)
    except OSError as error:
        raise translate(error) from error


def read_file(
    fd: int, size: int, extents: Sequence[Extent] | None = None, window: memoryview | None = None
) -> Iterable[bytes]:
    """The chunks of an open file from its beginning; `size` is what it is thought to be, and only chooses the way.

    `extents` (from `holes.data_between`) leaves the holes between them out: the chunks are those of the parts end to end.
    `window`: from `chunker.new_window`, for this file alone while it is iterated; making one costs more than cutting a
    small file.  Raises SourceError, while it is iterated.
    """
    if size <= chunker.MINIMUM and extents is None:
        data = read_small(fd, size)
        if data is not None:
            return (data,) if data else ()
    return read_chunks(fd, extents, window)


def read_small(fd: int, size: int) -> bytes | None:
    """A file of `size` bytes (up to chunker.MINIMUM: one chunk) by one call; None when it is longer or shorter by now.

    Leaves the file's position alone, so that `read_chunks` may follow.  Raises SourceError.
    """
    try:
        data = os.pread(fd, size + 1, 0)
    except OSError as error:
        raise translate(error) from error
    return data if len(data) == size else None


def read_chunks(fd: int, extents: Sequence[Extent] | None = None, window: memoryview | None = None) -> Iterable[bytes]:
    """The chunks of a file of any length, in bounded memory.  Raises SourceError while it is iterated."""
    return chunker.cut(_whole(fd) if extents is None else _parts(fd, extents), window)


def _whole(fd: int) -> chunker.Fill:
    offset = 0

    def fill(buffer: memoryview) -> int:
        nonlocal offset
        count = _read_at(fd, buffer, offset)
        offset += count
        return count

    return fill


def _parts(fd: int, extents: Sequence[Extent]) -> chunker.Fill:
    remaining = iter(extents)
    offset = end = 0

    def fill(buffer: memoryview) -> int:
        nonlocal offset, end
        while True:
            count = _read_at(fd, buffer[: end - offset], offset) if offset < end else 0
            if count:
                offset += count
                return count
            if offset < end:
                return 0  # the file was cut: what lies behind has no place
            part = next(remaining, None)
            if part is None:
                return 0
            offset, end = part[0], part[0] + part[1]

    return fill


def _read_at(fd: int, buffer: memoryview, offset: int) -> int:
    try:
        return os.preadv(fd, [buffer], offset)
    except OSError as error:
        raise translate(error) from error


def read_link(dir_fd: int, name: bytes) -> bytes:
    """Where a symbolic link points, as it is written.  Raises VanishedError, ReplacedError or SourceError."""
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except OSError as error:
        raise translate(error) from error


def same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether a file held still between two looks: size, mtime, ctime (nanoseconds) and inode are equal."""
    return (
        before.st_size == after.st_size
        and before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_ino == after.st_ino
    )
