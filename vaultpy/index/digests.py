"""Digests by the million, in files but for a small part of them: is each there once, and is each there that is asked for?

A digest is what `hash` makes of bytes: SipHash, 64 bits, under a key that every process draws anew.  Two that should differ
are equal once in 2^64 pairs; nobody can bring that about.
"""

from __future__ import annotations

import contextlib
import enum
import struct
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class Group(enum.IntEnum):
    """What digests are of."""

    FILE = 0
    """A file's id; each is there once."""
    PATH = 1
    """A directory and a name in it; each is there once."""
    CHUNK = 2
    """A chunk; each is there once."""
    SIZED = 3
    """A chunk and its size."""
    NEEDED = 4
    """A chunk and its size; is among SIZED, added before."""
    FOLDER = 5
    """A directory."""
    USED = 6
    """A directory; is among FOLDER, added before."""
    ENTRY = 7
    """A directory and a name in it, that stand for a directory."""
    NAMED = 8
    """What a directory says is its entry; is among ENTRY, added at any time."""


MOST_PARTS = 128
"""As many files are open while digests are taken."""

_DISTINCT = (Group.FILE, Group.PATH, Group.CHUNK)
_AMONG = {Group.NEEDED: Group.SIZED, Group.USED: Group.FOLDER}
_HEAD = struct.Struct("<BI")


class Digests:
    """Takes digests, group by group, and tells at the end.  Use as a context manager: leaving it removes its files."""

    def __init__(self, folder: Path, parts: int) -> None:
        """`parts`: how many files, by the digests' first bits; what is checked at once is one in so many."""
        self._stack = contextlib.ExitStack()
        self._files: list[IO[bytes]] = []
        self._folder, self._parts = folder, max(1, min(parts, MOST_PARTS))
        self._bounds = [(part << 64) // self._parts - (1 << 63) for part in range(1, self._parts)]

    def add(self, group: Group, digests: array[int]) -> None:
        """Note some of a group, which are sorted; what was added before counts as before."""
        bounds = [bisect_left(digests, bound) for bound in self._bounds]
        for file, start, end in zip(self._files, [0, *bounds], [*bounds, len(digests)], strict=True):
            if start < end:
                file.write(_HEAD.pack(group, end - start) + digests[start:end].tobytes())

    def agree(self) -> bool:
        """Whether all groups are as Group says."""
        return all(map(_agrees, self._files))

    def __enter__(self) -> Digests:
        for _ in range(self._parts):
            self._files.append(self._stack.enter_context(tempfile.TemporaryFile(dir=self._folder)))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def _agrees(file: IO[bytes]) -> bool:
    known: dict[Group, set[int]] = {group: set() for group in Group}
    for group, values in _read(file):
        if group in _AMONG:
            if not known[_AMONG[group]].issuperset(values):
                return False
        else:
            count = len(known[group])
            known[group].update(values)
            if group in _DISTINCT and len(known[group]) != count + len(values):
                return False
    return known[Group.ENTRY].issuperset(known[Group.NAMED])


def _read(file: IO[bytes]) -> Iterator[tuple[Group, array[int]]]:
    file.seek(0)
    while head := file.read(_HEAD.size):
        group, count = _HEAD.unpack(head)
        values = array("q")
        values.frombytes(file.read(8 * count))
        yield Group(group), values
