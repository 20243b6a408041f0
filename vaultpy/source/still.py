"""Copying a file and what lies beside it, all of one moment: read while none of them changes, or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Mapping, Sequence

from vaultpy.errors import ReplacedError, SourceError, VanishedError
from vaultpy.source.failures import translate
from vaultpy.source.read import open_regular, same

TRIES = 3

TICK_SECONDS = 0.02
"""Longer than any kernel's tick, which is how fine the times of files are."""

COARSE_SECONDS = 2.1
"""The same for file systems that keep whole seconds."""

_PIECE = 1 << 20
_LOOK_EVERY = 64 << 20

_Looks = Mapping[bytes, os.stat_result]
"""What is there of a name and its suffixes, by suffix (b"" for the name itself)."""


def copy_still(dir_fd: int, name: bytes, suffixes: Sequence[bytes], target: str) -> bool:
    """Copy the file of that name, and those of `name` + suffix, to `target` and `target` + suffix.

    Whether all held still from before the first byte was read until after the last; where not, after some tries, what
    lies at `target` is worth nothing.  Raises SourceError.
    """
    for _ in range(TRIES):
        before = _look(dir_fd, name, suffixes)
        if b"" not in before:
            return False
        # Any change from here on leaves another time than the last one did: a tick has passed since.
        time.sleep(TICK_SECONDS if any(one.st_ctime_ns % 1_000_000_000 for one in before.values()) else COARSE_SECONDS)
        if _holds_still(dir_fd, name, before, suffixes) and _copy_all(dir_fd, name, before, suffixes, target):
            return True
    return False


def _copy_all(dir_fd: int, name: bytes, before: _Looks, suffixes: Sequence[bytes], target: str) -> bool:
    for suffix in suffixes:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.fsencode(target) + suffix)  # of an earlier try: it may be gone from beside the file since
    for suffix, found in before.items():
        try:
            fd = open_regular(dir_fd, name + suffix, found)
        except (VanishedError, ReplacedError):
            return False
        try:
            out = os.open(os.fsencode(target) + suffix, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                offset = 0
                while data := _read(fd, offset):
                    _write(out, data)
                    offset += len(data)
                    if not offset % _LOOK_EVERY and not _holds_still(dir_fd, name, before, suffixes):
                        return False
            finally:
                os.close(out)
        finally:
            os.close(fd)
    return _holds_still(dir_fd, name, before, suffixes)


def _look(dir_fd: int, name: bytes, suffixes: Sequence[bytes]) -> dict[bytes, os.stat_result]:
    found = {}
    for suffix in (b"", *suffixes):
        try:
            one = os.stat(name + suffix, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise translate(error) from error
        if stat.S_ISREG(one.st_mode):
            found[suffix] = one
    return found


def _holds_still(dir_fd: int, name: bytes, before: _Looks, suffixes: Sequence[bytes]) -> bool:
    now = _look(dir_fd, name, suffixes)
    return now.keys() == before.keys() and all(same(before[one], now[one]) for one in now)


def _read(fd: int, offset: int) -> bytes:
    try:
        return os.pread(fd, _PIECE, offset)
    except OSError as error:
        raise translate(error) from error


def _write(fd: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError as error:
        raise SourceError(f"scratch copy: {os.strerror(error.errno or 0).lower()}") from error
