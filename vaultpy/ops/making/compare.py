"""Walking a source beside its index: which paths are as they were, which are new or changed, and which are gone.

One query per directory brings its current rows; an unchanged path costs one comparison and nothing else.  What to do with
the rest is the sink's: `take.py` reads and records it, a dry run counts it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from vaultpy.config import Compare
from vaultpy.index.db import Index
from vaultpy.index.live import LiveFile, LiveRow, Owners, directories_in, files_in, parents_in, root_directory
from vaultpy.index.ordered import FilesInOrder
from vaultpy.index.record import storable_number, storable_time
from vaultpy.model import Kind, Problem
from vaultpy.source.listing import Entry, join
from vaultpy.source.sqlite import SUFFIXES
from vaultpy.source.walk import Folder

KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFCHR: Kind.CHARACTER_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
}


@dataclass(frozen=True, slots=True)
class Place:
    """A path in an open folder, as it was listed."""

    folder: Folder
    directory_id: int
    name: bytes
    stat: os.stat_result
    kind: Kind

    @property
    def path(self) -> bytes:
        return join(self.folder.path, self.name) if self.name else self.folder.path


Found = tuple[bytes, os.stat_result, LiveFile | None]
"""A regular file that is new or changed: its name, what was listed, and its row until now."""

_ID: Final = 1
_SIZE: Final = 3
"""Where a LiveRow has its row's id, and its size."""

FILES_AT_ONCE = 512
"""Files of one folder that a sink is given at once: a folder can hold a million."""


class Stats(Protocol):
    """What is compared and recorded of a path, as os.stat names it."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_dev(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...


IsUnchanged = Callable[[LiveRow, Kind, Stats], bool]


class First(Protocol):
    """Who has a look at a folder before everybody else."""

    def take(
        self, folder: Folder, directory_id: int, live: dict[bytes, LiveRow], is_unchanged: IsUnchanged
    ) -> Sequence[Entry]:
        """Take what is theirs, and its rows out of `live`; returns the entries that are not."""


class Sink(Protocol):
    """What happens to what changed."""

    def put_directory(self, parent_id: int | None, name: bytes) -> int:
        """A directory that was not there before; returns its id."""

    def changed(self, place: Place, old: LiveFile | None) -> None:
        """A path that is new (`old` None) or not as it was, and no regular file; the folder is still open."""

    def changed_files(self, folder: Folder, directory_id: int, files: Sequence[Found]) -> None:
        """Regular files of one folder that are new or not as they were; the folder is still open."""

    def close_file(self, row_id: int) -> None:
        """A path that is gone."""

    def close_directory(self, row_id: int) -> None:
        """A directory that is gone, with all below it."""

    def folder_done(self) -> None:
        """A folder is finished: time to harvest, to say how far it is, to stop."""


@dataclass(slots=True)
class Tally:
    """What a walk met: all paths and the bytes of regular files, unchanged ones among them; problems and notes."""

    files: int = 0
    unchanged: int = 0
    skipped: int = 0
    problems: list[Problem] = field(default_factory=list)
    left_out: list[bytes] = field(default_factory=list)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Directory:
    """The directory that is compared."""

    id: int
    children: dict[bytes, int]
    rows: dict[bytes, LiveRow] | FilesInOrder


ROWS_HELD = 50_000
"""Rows of one directory that are held; of one that has more, or comes in portions, those of each portion's entries."""


def _last_name(folder: Folder) -> bytes | None:
    """The name up to which a portion of a directory goes; None for the last one."""
    if not folder.more:
        return None
    return folder.entries[-1][0] if folder.entries else b""


class Comparer:
    """Compares folder after folder, in the walk's order, with the current rows of one source."""

    def __init__(
        self, index: Index, source_id: int, owners: Owners, compare: Compare, suspects: Collection[int]
    ) -> None:
        self.tally = Tally()
        self._index, self._source_id = index, source_id
        self._numbers = owners.numbers
        self._suspects = suspects
        self._by_inode = compare not in ("no-inode", "size-mtime")
        self._by_ctime = compare not in ("no-ctime", "size-mtime")
        # Directories that a folder announced and that are still to come: their ids, and whether they have rows.
        self._coming: dict[bytes, tuple[int, bool]] = {}
        self._parents: set[int] = set()
        self._at: _Directory | None = None
        self._sink: Sink
        self._first: First | None = None

    def compare_all(self, folders: Iterable[Folder], sink: Sink, first: First | None = None) -> Tally:
        """Go through all folders of a walk; each call of the sink, and of `first`, happens while its folder is open."""
        self._sink, self._first = sink, first
        root = root_directory(self._index, self._source_id)
        # Most directories have none in them: asking for each costs more than knowing it of all.
        self._parents = parents_in(self._index, self._source_id)
        self._coming[b"/"] = (self._sink.put_directory(None, b""), False) if root is None else (root, True)
        for folder in folders:
            self._compare(folder)
            self._sink.folder_done()
        for directory_id, has_rows in self._coming.values():
            # Announced and never entered (another file system, a cache): the directory stays, what was in it does not.
            if has_rows:
                self._close_rest(FilesInOrder(self._index, directory_id).up_to(None))
                self._close_directories(directories_in(self._index, directory_id))
        return self.tally

    def _compare(self, folder: Folder) -> None:
        if self._at is None:
            self._at = self._begin(folder)
        directory_id, children, rows = self._at.id, self._at.children, self._at.rows
        live = rows if isinstance(rows, dict) else self._rows_of(folder, rows)
        tally = self.tally
        tally.problems += folder.problems
        tally.left_out += folder.left_out
        tally.skipped += folder.skipped
        if folder.path == b"/":
            self._compare_entries(folder, self._at, [(b"", folder.stat)], live)
        entries: Sequence[Entry] = folder.entries
        if self._first is not None:
            entries = self._first.take(folder, directory_id, live, self._is_unchanged)
        self._compare_entries(folder, self._at, entries, live)
        self._close_rest(live.values())
        if not folder.more:
            self._at = None
            self._close_directories(children)

    def _compare_entries(
        self, folder: Folder, at: _Directory, entries: Sequence[Entry], live: dict[bytes, LiveRow]
    ) -> None:
        """Tell the sink what changed; what is compared goes out of `live`."""
        files: list[Found] = []
        unchanged = size = 0
        for name, found in entries:
            old = live.pop(name, None)
            kind = KINDS[found.st_mode & 0o170000]
            if kind is Kind.DIRECTORY and name:
                self._announce(folder, at, name)
            if old is not None and self._is_unchanged(old, kind, found):
                unchanged += 1
                size += old[_SIZE]
                continue
            self._index.let_go()  # to read it may take long
            before = None if old is None else LiveFile._make(old)
            if kind is not Kind.FILE:
                self._sink.changed(Place(folder, at.id, name, found, kind), before)
                continue
            files.append((name, found, before))
            if len(files) >= FILES_AT_ONCE:
                self._sink.changed_files(folder, at.id, files)
                files = []
        if files:
            self._sink.changed_files(folder, at.id, files)
        self.tally.files += unchanged
        self.tally.unchanged += unchanged
        self.tally.bytes += size

    def _begin(self, folder: Folder) -> _Directory:
        """What the index has of a directory."""
        directory_id, has_rows = self._coming.pop(folder.path)
        if has_rows:
            self._index.hold()
        children = directories_in(self._index, directory_id) if directory_id in self._parents else {}
        rows = None if folder.more else files_in(self._index, directory_id, ROWS_HELD) if has_rows else {}
        return _Directory(directory_id, children, FilesInOrder(self._index, directory_id) if rows is None else rows)

    def _announce(self, folder: Folder, parent: _Directory, name: bytes) -> None:
        known = parent.children.pop(name, None)
        path = join(folder.path, name)
        if known is None:
            self._coming[path] = (self._sink.put_directory(parent.id, name), False)
        else:
            self._coming[path] = (known, True)

    def _is_unchanged(self, old: LiveRow, kind: Kind, found: Stats) -> bool:
        _, row_id, old_kind, size, mtime, ctime, inode, mode, owner_id, changed = old
        return (
            (mtime == found.st_mtime_ns or mtime == storable_time(found.st_mtime_ns))
            and (ctime == found.st_ctime_ns or (not self._by_ctime and ctime is not None))
            and (inode == found.st_ino or inode == storable_number(found.st_ino) or not self._by_inode)
            and old_kind == kind
            and (size == found.st_size or kind is not Kind.FILE)
            and mode == found.st_mode & 0o7777
            and self._numbers[owner_id] == (found.st_uid, found.st_gid)
            and changed is None
            and row_id not in self._suspects
        )

    def _rows_of(self, folder: Folder, rows: FilesInOrder) -> dict[bytes, LiveRow]:
        """The rows of what a portion of a directory has; the others, which can be a million, are closed as they are met.

        Those of a database's journals are held, too: that there are any says how the database was stored.
        """
        names = {b"", *(name for name, _ in folder.entries)}  # the root's own row has none
        live: dict[bytes, LiveRow] = {}
        for row in rows.up_to(_last_name(folder)):
            if row[0] in names or row[0].endswith(SUFFIXES):
                live[row[0]] = row
            else:
                self._sink.close_file(row[_ID])
        return live

    def _close_rest(self, rows: Iterable[LiveRow]) -> None:
        for old in rows:
            self._sink.close_file(old[_ID])

    def _close_directories(self, children: dict[bytes, int]) -> None:
        for child_id in children.values():
            self._sink.close_directory(child_id)
