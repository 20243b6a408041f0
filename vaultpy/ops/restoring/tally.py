"""What a restore has done so far, and what it could not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vaultpy.errors import TargetFull, VaultpyError
from vaultpy.index.at import FileAt, Moment
from vaultpy.index.needed import file_of
from vaultpy.ops.reading.choose import Tree


@dataclass(slots=True)
class Tally:
    """Sums of one restore; `failed` names each path that did not come back and why, `lost` are their ids."""

    moment: Moment
    directories: Tree
    files: int = 0
    size: int = 0
    failed: list[tuple[bytes, str]] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    missed: Counter[str] = field(default_factory=Counter)

    def fail(self, row: FileAt, error: VaultpyError | str) -> None:
        """A path did not come back.  A full disk ends the restore: raises it."""
        if isinstance(error, TargetFull):
            raise error
        self.lost.add(row.id)
        why = error if isinstance(error, str) else error.message
        self.failed.append((self.directories.path(row.directory_id, row.name), why))

    def fail_id(self, file_id: int, why: str) -> None:
        """The same of a file that is known by its id; only the first reason is told."""
        if file_id not in self.lost:
            self.fail(file_of(self.moment, file_id), why)
