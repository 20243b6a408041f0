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

    def up_to(self, name: bytes, held: int) -> Iterator[dict[bytes, LiveRow]]:
        """The rows that were not given yet, up to that name and with it, so many at a time."""
        found: dict[bytes, LiveRow] = {}
        while self._next is not None and self._next[0] <= name:
            found[self._next[0]] = self._next
            self._next = next(self._rows, None)
            if len(found) >= held:
                yield found
                found = {}
        yield found

    def rest(self) -> Iterator[LiveRow]:
        """The rows that were not given yet, one by one."""
        while self._next is not None:
            yield self._next
            self._next = next(self._rows, None)
