"""The current rows of a directory that is too large to be held at once."""

from __future__ import annotations

from collections.abc import Iterator

from vaultpy.index.db import Index
from vaultpy.index.live import FILES_IN, LiveRow


class FilesInOrder:
    """The rows in the order of their names, some at a time.  Sorting them may use the disk, not memory; what is written
    to the index meanwhile does not show."""

    def __init__(self, index: Index, directory_id: int) -> None:
        self._rows = index.each(f"{FILES_IN} ORDER BY name", (directory_id,))
        self._next = next(self._rows, None)

    def up_to(self, name: bytes | None) -> Iterator[LiveRow]:
        """The rows that were not given yet, up to that name and with it; None: all that are left."""
        while self._next is not None and (name is None or self._next[0] <= name):
            yield self._next
            self._next = next(self._rows, None)
