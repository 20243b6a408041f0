"""What goes up: a file over the pieces of a body, so that a blob is sent without being joined; and its MD5."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from vaultpy.errors import StoreError
from vaultpy.store.base import Body
from vaultpy.store.bodies import body_pieces, body_size


class PieceReader:
    """Reads a sequence of pieces as one file, as far as botocore and urllib3 need one: read, seek and tell."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))
        self._position = 0  # of the whole
        self._index = 0  # of the piece that is read next
        self._offset = 0  # in that piece

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._size - self._position if size is None or size < 0 else size
        taken: list[bytes] = []
        while wanted and self._index < len(self._pieces):
            piece = self._pieces[self._index]
            part = piece[self._offset : self._offset + wanted]
            taken.append(part)
            wanted -= len(part)
            self._position += len(part)
            self._offset += len(part)
            if self._offset == len(piece):
                self._index, self._offset = self._index + 1, 0
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        target = min(max(base + offset, 0), self._size)
        self._index, self._offset = 0, target
        while self._index < len(self._pieces) and self._offset >= len(self._pieces[self._index]):
            self._offset -= len(self._pieces[self._index])
            self._index += 1
        self._position = target
        return target

    def tell(self) -> int:
        return self._position


@contextlib.contextmanager
def open_body(name: str, body: Body) -> Iterator[bytes | BinaryIO | PieceReader]:
    """A body as botocore takes it.  Raises StoreError for a file that cannot be opened."""
    if isinstance(body, bytes):
        yield body
    elif isinstance(body, Path):
        with _reading(name):
            source = body.open("rb")
        with source:
            yield source
    else:
        yield PieceReader(body)


def measure(name: str, body: Body) -> int:
    """A body's length in bytes.  Raises StoreError for a file that is not there."""
    with _reading(name):
        return body_size(body)


def content_md5(name: str, body: Body) -> str:
    """The Content-MD5 header: Object Lock asks for it, and it tells bytes that were damaged on the way."""
    digest = hashlib.md5(usedforsecurity=False)
    with _reading(name):
        for piece in body_pieces(body):
            digest.update(piece)
    return base64.b64encode(digest.digest()).decode("ascii")


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Translates only what a local file says: botocore's time-outs are OSErrors, too, and mean something else."""
    try:
        yield
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise StoreError(f"object {name} cannot be put: its file cannot be read: {said}") from error
