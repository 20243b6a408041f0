"""What a run and its worker processes say to each other, over a socket between the two.

    to the worker:    Setup · Batch with its folders' descriptors · Verdict, one for each Part · None: finish
    from the worker:  Part · SealedBlob, its bytes in a spool · Failed · None: all is sent

Both ends are this program, on this machine, joined by an inherited socket that nobody else can open; so what comes over it
is believed, and Python's own pickle carries it.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from vaultpy.blob.spool import Spool
from vaultpy.blob.writer import SealedBlob
from vaultpy.errors import VaultpyError
from vaultpy.ops.making.seal import SealSettings
from vaultpy.source.batch import Listed

FOLDERS = 64
"""Folders in a batch: their descriptors travel together, and a socket takes at most 253."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker seals for, and how; where blobs wait; and whether it reads when files were made."""

    recipients: tuple[str, ...]
    settings: SealSettings
    scratch: Path
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
        except OSError as error:  # the other end is gone, between two messages or within one
            raise EOFError from error

    def has_message(self) -> bool:
        """Whether a message has begun to come in."""
        return self._connection.poll()

    def take_fds(self, count: int) -> list[int]:
        """The descriptors that come with the message just received; the caller closes them."""
        _data, fds, _flags, _address = socket.recv_fds(self._socket, 1, count)
        if len(fds) != count:
            raise EOFError
        return fds

    def send_blob(self, blob: SealedBlob) -> None:
        """Hand a blob over whose bytes are in a spool, without copying them."""
        assert isinstance(blob.pieces, Spool)
        self.send(replace(blob, pieces=()), [blob.pieces.fd])

    def take_blob(self, blob: SealedBlob) -> SealedBlob:
        """The blob that came, with the bytes that came with it."""
        (fd,) = self.take_fds(1)
        return replace(blob, pieces=Spool(fd, blob.size))

    def close(self) -> None:
        self._connection.close()
        self._socket.close()
