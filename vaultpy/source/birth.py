"""When a file was made: statx(2), which Python does not have.

A call costs twice what `fstat` does, and no system lets anybody set the time again, so it is read only on request.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable

BirthReader = Callable[[int], int | None]
"""An open file's descriptor in, nanoseconds since 1970 out; None where its file system does not keep the time."""

_AT_EMPTY_PATH = 0x1000
_BTIME = 0x800
_SIZE = 256
_MASK = struct.Struct("=I")
_TIME = struct.Struct("=qI")
_MASK_AT, _BTIME_AT = 0, 80
"""Where struct statx (linux/stat.h) has stx_mask and stx_btime: the same on every architecture."""


def birth_reader() -> BirthReader:
    """A function that reads birth times; for one thread.  Where the system has no statx it always says None."""
    try:
        statx = ctypes.CDLL(None).statx
    except (OSError, AttributeError):
        return lambda fd: None
    statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
    statx.restype = ctypes.c_int
    found = ctypes.create_string_buffer(_SIZE)

    def read(fd: int) -> int | None:
        if statx(fd, b"", _AT_EMPTY_PATH, _BTIME, found) != 0:
            return None
        if not _MASK.unpack_from(found, _MASK_AT)[0] & _BTIME:
            return None
        seconds, nanoseconds = _TIME.unpack_from(found, _BTIME_AT)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)

    return read


def birth_at(read: BirthReader, dir_fd: int, name: bytes) -> int | None:
    """The same for something that is not to be opened, without following it."""
    try:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return None
    try:
        return read(fd)
    finally:
        os.close(fd)
