"""File flags, as chattr sets and lsattr shows them: read and written by ioctl (Linux's linux/fs.h, ioctl_iflags(2)).

Only regular files and directories have them, and only on some file systems.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import struct
import sys

APPEND = 0x20
IMMUTABLE = 0x10
NODUMP = 0x40

KEPT = 0x0283C4FF
"""The flags that somebody chose: secure deletion, undelete, compress, sync, immutable, append, nodump, noatime, no
compression, journal, no tail, dirsync, top directory, nocow and DAX.  Left out is what the file system itself says (extents,
index, inline, encrypted, verity, …), and what means nothing without more (project, casefold)."""

_NONE_HERE = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_LONG = struct.calcsize("l")
_ODD_IOCTLS = ("alpha", "mips", "parisc", "powerpc", "ppc", "sparc")
_READ, _WRITE = (1 << 30, 1 << 31) if platform.machine().startswith(_ODD_IOCTLS) else (1 << 31, 1 << 30)
_GET = _READ | _LONG << 16 | ord("f") << 8 | 1
_SET = _WRITE | _LONG << 16 | ord("f") << 8 | 2
_EMPTY = bytes(4)


class FlagReader:
    """Reads flags, and remembers which devices have none, so that these cost one call each and not one per file."""

    def __init__(self) -> None:
        self._without: set[int] = set()
        self._kept: dict[bytes, int] = {}

    def read(self, fd: int, device: int) -> int:
        """The kept flags of an open regular file or directory on a device; 0 where it has none, or does not tell."""
        if device in self._without:
            return 0
        try:
            answer = fcntl.ioctl(fd, _GET, _EMPTY)
        except OSError as error:
            if error.errno in _NONE_HERE:
                self._without.add(device)
            return 0
        kept = self._kept.get(answer)  # a file system gives the same few answers again and again
        if kept is None:
            kept = self._kept[answer] = int.from_bytes(answer, sys.byteorder) & KEPT
        return kept

    def read_at(self, dir_fd: int, name: bytes, device: int) -> int:
        """The same for a directory in an open one; 0, too, where it may not be opened, or is none any more."""
        if device in self._without:
            return 0
        try:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        except OSError:
            return 0
        try:
            return self.read(fd, device)
        finally:
            os.close(fd)


def read_flags(fd: int) -> int:
    """All flags of an open file.  Raises OSError, ENOTTY among others where the file system has none."""
    # The kernel reads and writes an int here, whatever the size in the request says.
    return int.from_bytes(fcntl.ioctl(fd, _GET, _EMPTY), sys.byteorder)


def write_flags(fd: int, flags: int) -> None:
    """Give an open regular file or directory the kept flags in `flags`, and leave it those that are not ours to change.

    Raises OSError: EPERM for the flags that only root may set, EOPNOTSUPP for what the file system does not know.
    """
    now = read_flags(fd)
    wanted = now & ~KEPT | flags & KEPT
    if wanted != now:
        fcntl.ioctl(fd, _SET, wanted.to_bytes(4, sys.byteorder))
