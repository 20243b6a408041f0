"""What the index holds for a path now: the lookups that tell a changed file from an unchanged one."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import NamedTuple

from vaultpy.index.db import Index

OwnerNames = Callable[[int, int], tuple[bytes | None, bytes | None]]
"""Names of a user and a group, given their numbers; None where the system has none."""


class LiveFile(NamedTuple):
    """The current row of a path, as far as change detection needs it."""

    name: bytes
    id: int
    kind: int
    size: int
    mtime: int
    ctime: int | None
    inode: int
    mode: int
    owner_id: int
    changed: int | None


LiveRow = tuple[bytes, int, int, int, int, int | None, int, int, int, int | None]
"""A LiveFile as the database gives it: a run makes one of each path, and more of it only where something changed."""


def files_in(index: Index, directory_id: int, most: int) -> dict[bytes, LiveRow] | None:
    """The current rows of a directory, by name; None if there are more than so many."""
    rows = index.rows(f"{FILES_IN} LIMIT ?", (directory_id, most + 1))
    return {row[0]: row for row in rows} if len(rows) <= most else None


def parents_in(index: Index, source_id: int) -> set[int]:
    """The ids of the source's current directories that have directories in them."""
    rows = index.each(
        "SELECT DISTINCT parent_id FROM directories WHERE source_id = ? AND last_seq IS NULL AND parent_id IS NOT NULL",
        (source_id,),
    )
    return {row[0] for row in rows}


def directories_in(index: Index, directory_id: int) -> dict[bytes, int]:
    """The ids of the current directories in a directory, by name."""
    return dict(
        index.rows("SELECT name, id FROM directories WHERE parent_id = ? AND last_seq IS NULL", (directory_id,))
    )


def root_directory(index: Index, source_id: int) -> int | None:
    """The id of the source's current `/`, or None before its first run."""
    root = index.value(
        "SELECT id FROM directories WHERE source_id = ? AND parent_id IS NULL AND last_seq IS NULL", (source_id,)
    )
    return None if root is None else int(root)


def has_files(index: Index, directory_id: int) -> bool:
    """Whether the directory held anything when it was last looked at."""
    return (
        index.row("SELECT 1 FROM files WHERE directory_id = ? AND last_seq IS NULL LIMIT 1", (directory_id,))
        is not None
    )


def chunks_of(index: Index, file_id: int) -> array.array[int]:
    """The chunk ids of a file in order."""
    return array.array("q", (row[0] for row in index.rows(_CHUNKS_OF, (file_id,))))


def find_moved(index: Index, source_id: int, inode: int, device: int, size: int, mtime: int, ctime: int) -> int | None:
    """A current row of the source with the same inode and times under another path: the file was moved (or linked), so its
    content need not be read.  Inode and ctime together name one state of one file on one device."""
    row_id = index.value(_MOVED, (inode, size, mtime, ctime, device, source_id))
    return None if row_id is None else int(row_id)


def marks_of(index: Index, file_id: int) -> tuple[int | None, int | None, bytes | None]:
    """The flags, birth time and holes of a row."""
    flags, birth, holes = index.rows("SELECT flags, btime, holes FROM files WHERE id = ?", (file_id,))[0]
    return flags, birth, holes


class Owners:
    """Numbers for pairs of user and group, so that a file's row holds one small integer."""

    def __init__(self, index: Index, names: OwnerNames) -> None:
        self._index = index
        self._names = names
        self._ids: dict[tuple[int, int], int] = {}
        self.numbers: dict[int, tuple[int, int]] = {
            row[0]: (row[1], row[2]) for row in index.rows("SELECT id, uid, gid FROM owners")
        }

    def id_of(self, uid: int, gid: int) -> int:
        """The id for a user and a group as they are called now; made when new."""
        known = self._ids.get((uid, gid))
        if known is None:
            user, group = self._names(uid, gid)
            known = ensure_owner(self._index, uid, gid, user, group)
            self._ids[uid, gid] = known
            self.numbers[known] = (uid, gid)
        return known


def ensure_owner(index: Index, uid: int, gid: int, user: bytes | None, group: bytes | None) -> int:
    """The id of that owner's row; made when there is none."""
    values = (uid, gid, user, group)
    known = index.value('SELECT id FROM owners WHERE uid = ? AND gid = ? AND user IS ? AND "group" IS ?', values)
    if known is None:
        index.let_go()  # unlike `run`, `value` does not do that by itself
        known = index.value('INSERT INTO owners (uid, gid, user, "group") VALUES (?, ?, ?, ?) RETURNING id', values)
    return int(known)


FILES_IN = """
    SELECT name, id, kind, size, mtime, ctime, inode, mode, owner_id, changed FROM files
    WHERE directory_id = ? AND last_seq IS NULL"""

_CHUNKS_OF = "SELECT chunk_id FROM file_content WHERE file_id = ? ORDER BY idx"

_MOVED = """
    SELECT f.id FROM files f JOIN directories d ON d.id = f.directory_id
    WHERE f.inode = ? AND f.last_seq IS NULL AND f.size = ? AND f.mtime = ? AND f.ctime = ? AND f.device = ?
    AND f.changed IS NULL AND d.source_id = ? LIMIT 1"""
