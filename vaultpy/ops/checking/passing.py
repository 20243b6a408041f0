"""An object that is fetched once, from its first byte to its last, and hashed as it passes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import blake3

from vaultpy.index.inventory import NamedObject
from vaultpy.store.base import Store

PIECE = 8 * 1024 * 1024
"""Bytes of one fetch."""

TAIL = 2 * (64 * 1024 + 16)
"""Bytes at the end of a blob that hold its seek table: the last two pieces that age sealed."""


class PassingObject:
    """An object on its way.

    What is near can be read while it passes; its end, where a blob's seek table lies, is fetched beforehand where the
    object is longer than one fetch.
    """

    def __init__(self, store: Store, object: NamedObject, piece: int | None = None) -> None:
        """`piece`: bytes of one fetch, if not PIECE."""
        self._fetch: Callable[[int, int], bytes] = lambda start, length: store.get(object.name, start, length)
        self._object, self._piece = object, piece or PIECE
        self._blake3 = blake3.blake3()
        self._sha256 = hashlib.sha256() if object.sha256 else None
        self._near = bytearray()
        self._near_start = self._near_end = 0
        self._tail_start = object.size - TAIL if object.size > self._piece else object.size
        self._tail: bytes | None = None

    def read(self, start: int, length: int) -> bytes:
        """These bytes of the object; reads that go forward cost no fetch of their own."""
        end = start + length
        if start >= self._tail_start:
            if self._tail is None:
                self._tail = self._fetch(self._tail_start, self._object.size - self._tail_start)
            return self._tail[start - self._tail_start : end - self._tail_start]
        if start < self._near_start:
            return self._fetch(start, length)
        while self._near_end < end:
            self._pass(keep_from=start)
        return bytes(self._near[start - self._near_start : end - self._near_start])

    def finish(self) -> bool:
        """Let the rest pass; whether all the bytes have the object's hashes."""
        while self._near_end < self._object.size:
            self._pass(keep_from=self._near_end)
        if self._sha256 is not None and self._sha256.digest() != self._object.sha256:
            return False
        return self._blake3.digest() == self._object.blake3

    def _pass(self, keep_from: int) -> None:
        """Fetch the next piece; forget what lies before `keep_from`."""
        drop = min(keep_from, self._near_end) - self._near_start
        del self._near[:drop]
        self._near_start += drop
        piece = self._fetch(self._near_end, min(self._piece, self._object.size - self._near_end))
        self._blake3.update(piece)
        if self._sha256 is not None:
            self._sha256.update(piece)
        self._near += piece
        self._near_end += len(piece)
