"""Bodies and names, as every store takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vaultpy.errors import StoreError
from vaultpy.store.base import Body

PIECE = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_=+@,-][A-Za-z0-9._=+@,-]*(?:/[A-Za-z0-9_=+@,-][A-Za-z0-9._=+@,-]*)*")


def check_name(name: str) -> None:
    """Raise StoreError unless `name` is a relative path of plain components: none empty, none beginning with a dot."""
    if len(name) > 512 or _NAME.fullmatch(name) is None:
        raise StoreError(f"object name {name[:80]!r} is not one that a store takes")


def body_pieces(body: Body) -> Iterator[bytes]:
    """A body's bytes in pieces; a file in pieces of 1 MiB."""
    if isinstance(body, bytes):
        yield body
    elif isinstance(body, Path):
        with body.open("rb") as source:
            while piece := source.read(PIECE):
                yield piece
    else:
        yield from body


def small_pieces(body: Body) -> Iterator[bytes]:
    """A body's bytes in pieces of at most 1 MiB, none empty."""
    for piece in body_pieces(body):
        for offset in range(0, len(piece), PIECE):
            yield piece[offset : offset + PIECE]


def body_size(body: Body) -> int:
    """A body's length in bytes."""
    if isinstance(body, bytes):
        return len(body)
    if isinstance(body, Path):
        return body.stat().st_size
    return sum(map(len, body))


def same_bytes(existing: BinaryIO, body: Body) -> bool:
    """Whether a file holds exactly the bytes of a body, compared piece by piece."""
    return all(existing.read(len(piece)) == piece for piece in body_pieces(body)) and not existing.read(1)
