"""A blob's bytes on their way to the store, in a file without a name: what waits for a slow store takes no memory.

The file is gone with its last descriptor, whatever becomes of the process, and nothing ever syncs it; one that is put
within seconds mostly never reaches the disk.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from vaultpy.errors import VaultpyError

PIECE = 1024 * 1024
"""Bytes in which it is read."""


class Spool(Sequence[bytes]):
    """Bytes that are appended, then read as pieces of PIECE; the file goes when this is forgotten."""

    def __init__(self, fd: int, size: int = 0, folder: Path = Path()) -> None:
        """`fd`: an open file of `size` bytes, ours from now on; `folder` only serves for naming what is full."""
        self.fd, self.size, self._folder = fd, size, folder

    def append(self, data: bytes) -> None:
        """Write at the end.  Raises VaultpyError where there is no room."""
        view = memoryview(data)
        try:
            while view:
                count = os.pwrite(self.fd, view, self.size)
                view, self.size = view[count:], self.size + count
        except OSError as error:
            raise _no_room(self._folder, error) from error

    def __len__(self) -> int:
        return (self.size + PIECE - 1) // PIECE

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        start = range(len(self))[at] * PIECE
        try:
            return os.pread(self.fd, min(PIECE, self.size - start), start)
        except OSError as error:
            raise VaultpyError(
                f"scratch folder does not give a blob back: {(error.strerror or str(error)).lower()}",
                hint="look after the disk of the state folder; nothing finished is lost, the next run goes on",
            ) from error

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.fd)


def open_spool(folder: Path) -> Spool:
    """An empty spool on the file system of `folder`.  Raises VaultpyError where it cannot be made."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as unnamed:
            return Spool(os.dup(unnamed.fileno()), folder=folder)
    except OSError as error:
        raise _no_room(folder, error) from error


def _no_room(folder: Path, error: OSError) -> VaultpyError:
    return VaultpyError(
        f"scratch folder {folder} cannot keep a blob until it is uploaded: {(error.strerror or str(error)).lower()}",
        hint="make room for some blobs there; nothing finished is lost, the next run goes on",
    )
