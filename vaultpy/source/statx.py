"""statx(2), which Python does not have, for what `stat` does not tell: birth times, and the nodump flag without an open.

A call costs twice what `os.stat` does, so both are asked for only on request.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from typing import Any

_NO_FOLLOW = 0x100
_EMPTY_PATH = 0x1000
_BTIME = 0x800
_NODUMP = 0x40
_SIZE = 256
_MASK_AND_ATTRIBUTES = struct.Struct("=IIQ")
_TIME = struct.Struct("=qI")
_BTIME_AT = 80
"""Where struct statx (linux/stat.h) has stx_btime; stx_mask and stx_attributes begin it.  Alike on every architecture."""


class Statx:
    """Asks the system, with one buffer for all answers: for one thread.  Where there is no statx nothing is known."""

    def __init__(self) -> None:
        self._found = ctypes.create_string_buffer(_SIZE)
        self._call: Any = None
        with contextlib.suppress(OSError, AttributeError):
            self._call = ctypes.CDLL(None).statx
            self._call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)
            self._call.restype = ctypes.c_int

    def birth(self, fd: int) -> int | None:
        """When an open file (O_PATH is enough) was made, in nanoseconds since 1970; None where nobody kept that."""
        if not self._ask(fd, b"", _EMPTY_PATH) or not self._first()[0] & _BTIME:
            return None
        seconds, nanoseconds = _TIME.unpack_from(self._found, _BTIME_AT)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)

    def birth_at(self, dir_fd: int, name: bytes) -> int | None:
        """The same for something that is not to be opened, without following it."""
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        except OSError:
            return None
        try:
            return self.birth(fd)
        finally:
            os.close(fd)

    def is_nodump(self, dir_fd: int, name: bytes) -> bool:
        """Whether a name in a directory has the nodump flag, where its file system says so here (ext4, XFS, btrfs do)."""
        return self._ask(dir_fd, name, _NO_FOLLOW) and bool(self._first()[2] & _NODUMP)

    def _ask(self, fd: int, name: bytes, flags: int) -> bool:
        return self._call is not None and self._call(fd, name, flags, _BTIME, self._found) == 0

    def _first(self) -> tuple[Any, ...]:
        return _MASK_AND_ATTRIBUTES.unpack_from(self._found)
