"""Going down a tree of directories and up again, by descriptor, at any depth.

Paths longer than the kernel takes (4,096 bytes), ten thousand levels, and links that somebody puts in the way while
we are below are all met by opening one name at a time below the directory we are in.  Only the innermost directories
stay open, and the root; one further up is opened again through `..` when we come back, and must then be the same inode.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType

from vaultpy.errors import ReplacedError, SourceError
from vaultpy.source.failures import translate
from vaultpy.source.read import open_unseen

KEPT_OPEN = 64
"""Directories that stay open at a time."""

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PASS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Level:
    name: bytes
    identity: tuple[int, int]
    fd: int | None


class Descent:
    """The directories from a root to where we are; close it (or leave the `with`) to close them all."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []

    def enter(self, name: bytes) -> tuple[int, os.stat_result]:
        """Go down into a directory: its descriptor, valid until the next `enter` or `leave`, and what it is.

        The first name is the root's path; links on the way to it are followed, but not the last.  Raises SourceError
        (VanishedError, ReplacedError), and then we are where we were.
        """
        fd, found = _open(name, _OPEN, self._here() if self._levels else None)
        self._levels.append(_Level(name, _identity(found), fd))
        far = len(self._levels) - KEPT_OPEN
        if far > 0:  # the root, level 0, stays open: it is where we can always begin again
            self._close(self._levels[far])
        return fd, found

    def leave(self) -> None:
        """Go up one directory."""
        level = self._levels.pop()
        if self._levels and level.fd is not None and self._levels[-1].fd is None:
            self._levels[-1].fd = _open_parent(level.fd, self._levels[-1].identity)
        self._close(level)

    def close(self) -> None:
        while self._levels:
            self._close(self._levels.pop())

    def __enter__(self) -> Descent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _here(self) -> int:
        level = self._levels[-1]
        if level.fd is None:
            level.fd = self._find_again()
        return level.fd

    def _find_again(self) -> int:
        """Go down from the root once more, because where we came from was moved; the same inodes must be there."""
        root = self._levels[0].fd
        assert root is not None
        fd = os.dup(root)
        for level in self._levels[1:]:
            try:
                below, found = _open(level.name, _PASS if level is not self._levels[-1] else _OPEN, fd)
            finally:
                os.close(fd)
            fd = below
            if _identity(found) != level.identity:
                os.close(fd)
                raise ReplacedError("a folder above it was replaced")
        return fd

    @staticmethod
    def _close(level: _Level) -> None:
        if level.fd is not None:
            os.close(level.fd)
            level.fd = None


def _open(name: bytes, flags: int, dir_fd: int | None) -> tuple[int, os.stat_result]:
    try:
        fd = open_unseen(name, flags, dir_fd)
        try:
            return fd, os.fstat(fd)
        except OSError:
            os.close(fd)
            raise
    except OSError as error:
        raise translate(error) from error


def _open_parent(fd: int, identity: tuple[int, int]) -> int | None:
    """The directory above, if it still is the one that we came through."""
    try:
        parent, found = _open(b"..", _OPEN, fd)
    except SourceError:
        return None
    if _identity(found) == identity:
        return parent
    os.close(parent)
    return None


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
