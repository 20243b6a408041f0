"""What a run and its worker processes say to each other, over a socket between the two.

    to the worker:    Setup · Batch with its folders' descriptors · Verdict, one for each Part · None: finish
    from the worker:  Part · SealedBlob, its bytes in a memory file · Failed · None: all is sent

Both ends are this program, on this machine, joined by an inherited socket that nobody else can open; so what comes over it
is believed, and Python's own pickle carries it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, overload

from vaultpy.blob.writer import SealedBlob
from vaultpy.errors import VaultpyError
from vaultpy.ops.seal import SealSettings
from vaultpy.source.batch import Listed

PIECE = 1024 * 1024

FOLDERS = 64
"""Folders in a batch: their descriptors travel together, and a socket takes at most 253."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker seals for, and how; and whether it reads when files were made."""

    recipients: tuple[str, ...]
    settings: SealSettings
    birth_times: bool = False


class Batch(NamedTuple):
    """Files to be read, folder by folder; each folder's descriptor comes with it."""

    number: int
    files: list[Sequence[Listed]]


class Verdict(NamedTuple):
    """A flag for each hash of a part: whether its chunk is to be stored."""

    new: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """What ended a worker."""

    kind: type[VaultpyError]
    message: str
    hint: str | None


class Wire:
    """One end.  Any thread may send; one receives."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._connection = Connection(os.dup(fd))
        self._sending = threading.Lock()

    def send(self, message: object, fds: Sequence[int] = ()) -> None:
        """Say something; descriptors follow as a message of one byte, which the other end takes with `take_fds`."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        with self._sending:
            self._connection.send_bytes(data)
            if fds:
                socket.send_fds(self._socket, [b"\0"], list(fds))

    def receive(self) -> Any:
        """The next message; EOFError when the other end is gone."""
        try:
            return pickle.loads(self._connection.recv_bytes())
        except ConnectionError as error:
            raise EOFError from error

    def take_fds(self, count: int) -> list[int]:
        """The descriptors that come with the message just received; the caller closes them."""
        _data, fds, _flags, _address = socket.recv_fds(self._socket, 1, count)
        if len(fds) != count:
            raise EOFError
        return fds

    def send_blob(self, blob: SealedBlob) -> None:
        """Hand a blob over, without its bytes being copied through the socket."""
        fd = os.memfd_create("blob", os.MFD_CLOEXEC)
        try:
            for piece in blob.pieces:
                _write(fd, piece)
            self.send(replace(blob, pieces=()), [fd])
        finally:
            os.close(fd)

    def take_blob(self, blob: SealedBlob) -> SealedBlob:
        """The blob that came, with the bytes that came with it."""
        (fd,) = self.take_fds(1)
        return replace(blob, pieces=MemoryFile(fd, blob.size))

    def close(self) -> None:
        self._connection.close()
        self._socket.close()


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class MemoryFile(Sequence[bytes]):
    """The bytes of a memory file, in pieces that are read when they are asked for; closes it when it is forgotten."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd, self._size = fd, size

    def __len__(self) -> int:
        return (self._size + PIECE - 1) // PIECE

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        start = range(len(self))[at] * PIECE
        return os.pread(self._fd, min(PIECE, self._size - start), start)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)
