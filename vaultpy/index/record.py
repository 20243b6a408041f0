"""Writing what a run found: rows only for what is durable, in the order that keeps the index true.

Rule 1: a chunk's row is written after the blob that holds it is durable in the store, a file's row after all its chunks'
rows.  `Recorder` keeps what has to wait; the rest gathers and goes to the index in transactions of some thousand rows.
"""

from __future__ import annotations

import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple
from uuid import UUID

from vaultpy.index.db import Index
from vaultpy.index.filter import ChunkFilter
from vaultpy.index.ids import RowId
from vaultpy.index.reuse import Reuse
from vaultpy.index.runs import Run, close_rows, close_tree, note_move
from vaultpy.model import BlobHash, ChunkHash, KeyId, Kind

XATTR_PART = 16 * 1024
"""Bytes of an extended attribute's value in one row: a line of the export stays under 64 KiB."""

_SIGN = 1 << 63

FLUSH_ROWS = 8_192
"""Rows that gather before they are written, so that a tree without content (only links, say) stays flat in memory."""


def storable_time(nanoseconds: int) -> int:
    """A time as 64 bits hold it: one before 1677 or after 2262 becomes the first or last that they can say."""
    return max(-_SIGN, min(nanoseconds, _SIGN - 1))


def storable_number(number: int) -> int:
    """An inode or device number, which may have 64 bits, as the signed number of the same bits."""
    return number if number < _SIGN else number - 2 * _SIGN


class FileRow(NamedTuple):
    """One version of one path: the table's columns but for `id` and `last_seq`."""

    directory_id: int
    name: bytes
    kind: int
    size: int
    mtime: int
    ctime: int | None
    inode: int
    device: int
    nlink: int
    mode: int
    owner_id: int
    chunk_id: int | None = None
    link_target: bytes | None = None
    rdev: int | None = None
    flags: int | None = None
    btime: int | None = None
    holes: bytes | None = None
    changed: int | None = None
    atime: int | None = None


PlainFile = tuple[int | bytes | None, ...]
"""A regular file of one chunk (None: it is empty) and nothing special, which nearly all are: directory_id, name, size,
mtime, ctime, inode, device, nlink, mode, owner_id, then atime if the recorder takes that, and chunk_id, as in FileRow."""


OtherFile = tuple[FileRow, "array.array[int]", Sequence[tuple[bytes, bytes]]]
"""Any other path: its row, its chunks and its extended attributes."""


@dataclass(slots=True)
class Group:
    """Files that are written together, once all their chunks are durable; `replaces` are the rows that they close."""

    plain: list[PlainFile] = field(default_factory=list)
    others: list[OtherFile] = field(default_factory=list)
    replaces: list[int] = field(default_factory=list)
    missing: int = 0
    given: bool = False

    def __len__(self) -> int:
        return len(self.plain) + len(self.others) + len(self.replaces)


@dataclass(slots=True)
class _Gathered:
    directories: list[tuple[int, int, int | None, bytes]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    closed_files: list[int] = field(default_factory=list)
    closed_directories: list[int] = field(default_factory=list)
    rows: int = 0


class Recorder:
    """Takes a run's findings in any order and writes them in a safe one.  Close it with `flush`."""

    def __init__(self, index: Index, run: Run, reuse: Reuse, *, access_times: bool = False) -> None:
        self.index = index
        self.run = run
        self.files_recorded = 0
        self._reuse = reuse
        self._insert_plain = _INSERT_PLAIN_WITH_ATIME if access_times else _INSERT_PLAIN
        self._stored: set[int] = set()
        self._next_chunk = (index.value("SELECT max(id) FROM chunks") or 0) + 1
        self._filter = ChunkFilter(index, self._next_chunk)
        self._pending: dict[ChunkHash, int] = {}
        self._moving: dict[int, bool] = {}
        self._waiters: dict[int, Group] = {}
        self._more_waiters: dict[int, list[Group]] = {}
        self._gathered = _Gathered()

    def place_chunks(self, hashes: Iterable[ChunkHash], group: Group) -> tuple[list[int], bytes]:
        """The ids of chunks, and a flag for each that must be stored: it is neither under way in this run nor in a blob
        that may be reused.  Those wait for `put_blob`, and `group` for them and for what is under way."""
        ids: list[int] = []
        new = bytearray()
        pending, waiters, may_know = self._pending, self._waiters, self._filter.may_know
        for hash in hashes:
            chunk_id = pending.get(hash)
            if chunk_id is None:
                known = self._find(hash) if may_know(hash) else None
                if known is not None and (known[1] in self._reuse.blobs or known[1] in self._stored):
                    ids.append(known[0])
                    new.append(0)
                    continue
                chunk_id = self._id_to_store(known)
                pending[hash] = chunk_id
                waiters[chunk_id] = group
                new.append(1)
            else:
                self._more_waiters.setdefault(chunk_id, []).append(group)
                new.append(0)
            ids.append(chunk_id)
            group.missing += 1
        return ids, bytes(new)

    def _id_to_store(self, known: tuple[int, int] | None) -> int:
        """The id of a chunk that is to be stored: its own, if its blob may not be built on, else a new one."""
        if known is None:
            self._next_chunk += 1
            return self._next_chunk - 1
        self._moving[known[0]] = known[1] in self._reuse.held
        return known[0]

    def _find(self, hash: ChunkHash) -> tuple[int, int] | None:
        """The id and the home of a chunk that the index knows."""
        found: tuple[int, int] | None = self.index.row("SELECT id, blob_id FROM chunks WHERE hash = ?", (hash,))
        return found

    def put_directory(self, parent_id: int | None, name: bytes) -> RowId:
        """A path that is a directory from this run on; returns its id, which rows may name at once."""
        row_id = self.run.new_id()
        self._gathered.directories.append((row_id, self.run.source_id, parent_id, name))
        self._gathered.rows += 1
        return row_id

    def put_group(self, group: Group) -> None:
        """New versions of paths; nothing may be added to the group after.  Written once all its chunks are durable."""
        group.given = True
        if not group.missing:
            self._gather(group)
            self._flush_if_many()

    def put_file(
        self, row: FileRow, chunk_ids: array.array[int], xattrs: Sequence[tuple[bytes, bytes]], replaces: int | None
    ) -> None:
        """A new version of one path, whose chunks are durable (or it has none); `replaces` is the row it closes."""
        self.put_group(Group(others=[(row, chunk_ids, xattrs)], replaces=[] if replaces is None else [replaces]))

    def close_file(self, row_id: int) -> None:
        """The path is gone, or could not be read: its row ends with the last complete snapshot."""
        self._gathered.closed_files.append(row_id)
        self._gathered.rows += 1
        self._flush_if_many()

    def close_directory(self, row_id: int) -> None:
        """The directory and all below it are gone."""
        self._gathered.closed_directories.append(row_id)
        self._gathered.rows += 1
        self._flush_if_many()

    def is_reusable(self, row_id: int) -> bool:
        """Whether all chunks of a current row lie in blobs that may be built on."""
        homes = self.index.rows(_HOMES_OF_FILE, (row_id,))
        return bool(homes) and all(row[0] in self._reuse.blobs or row[0] in self._stored for row in homes)

    def put_blob(self, blob: NewBlob, hashes: Sequence[ChunkHash], offsets: Sequence[int], sizes: Sequence[int]) -> int:
        """A blob is durable in the store: write its row, its chunks' rows, and the files that waited only for these.

        The chunks come in columns: hash, raw offset and size of each.
        """
        with self.index.transaction():
            blob_id = int(
                self.index.value(
                    "INSERT INTO blobs (uuid, key_id, hash, raw_size, stored_size, uploaded_at, upload_seconds, run_no)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                    (
                        blob.uuid.bytes,
                        blob.key_id.bytes,
                        blob.hash,
                        blob.raw_size,
                        blob.stored_size,
                        blob.uploaded_at,
                        blob.upload_time,
                        self.run.no,
                    ),
                )
            )
            new, moved = self._arrive(blob_id, hashes, offsets, sizes)
            self.index.run_many("INSERT INTO chunks (id, hash, size, blob_id, raw_offset) VALUES (?, ?, ?, ?, ?)", new)
            self.index.run_many("UPDATE chunks SET blob_id = ?, raw_offset = ? WHERE id = ?", moved)
            self._write(self._gathered)
        self._stored.add(blob_id)
        self._gathered = _Gathered()
        return blob_id

    def flush(self) -> None:
        """Write all that does not wait for a blob."""
        if self._gathered.rows or self.run.next_counter:
            with self.index.transaction():
                self._write(self._gathered)
            self._gathered = _Gathered()

    @property
    def stored(self) -> frozenset[int]:
        """Ids of the blobs that `put_blob` was called for."""
        return frozenset(self._stored)

    @property
    def waiting(self) -> int:
        """Chunks that are not durable yet."""
        return len(self._pending)

    def _arrive(
        self, blob_id: int, hashes: Sequence[ChunkHash], offsets: Sequence[int], sizes: Sequence[int]
    ) -> tuple[list[tuple[object, ...]], list[tuple[int, int, int]]]:
        ids = list(map(self._pending.pop, hashes))
        for chunk_id in ids:
            self._count_down(self._waiters.pop(chunk_id))
        for chunk_id in self._more_waiters.keys() & ids:
            for group in self._more_waiters.pop(chunk_id):
                self._count_down(group)
        rows = zip(ids, hashes, sizes, repeat(blob_id), offsets)
        if not self._moving:
            return list(rows), []
        moved = [
            (blob_id, row[4], row[0])
            for row in zip(ids, hashes, sizes, repeat(blob_id), offsets)
            if row[0] in self._moving
        ]
        new: list[tuple[object, ...]] = [row for row in rows if row[0] not in self._moving]
        for _, _, chunk_id in moved:
            if self._moving.pop(chunk_id):
                note_move(self.index, self.run.seq)
        return new, moved

    def _count_down(self, group: Group) -> None:
        group.missing -= 1
        if not group.missing and group.given:
            self._gather(group)

    def _gather(self, group: Group) -> None:
        self._gathered.groups.append(group)
        self._gathered.rows += len(group)

    def _flush_if_many(self) -> None:
        if self._gathered.rows >= FLUSH_ROWS:
            self.flush()

    def _write(self, gathered: _Gathered) -> None:
        # Closing comes first: the new version of a path must never stand beside the old one as a second current row.
        self._close(gathered)
        index = self.index
        index.run_many(
            "INSERT INTO directories (id, source_id, parent_id, name) VALUES (?, ?, ?, ?)", gathered.directories
        )
        plain = [row for group in gathered.groups for row in group.plain]
        first = self.run.new_ids(len(plain))
        index.run_many(self._insert_plain, ((row_id, *row) for row_id, row in enumerate(plain, first)))
        others = [one for group in gathered.groups for one in group.others]
        first = self.run.new_ids(len(others))
        index.run_many(_INSERT_FILE, (_values(row_id, *other) for row_id, other in enumerate(others, first)))
        index.run_many("INSERT INTO file_chunks VALUES (?, ?, ?)", _chunk_rows(others, first))
        index.run_many("INSERT INTO xattrs VALUES (?, ?, ?, ?)", _xattr_rows(others, first))
        index.run("UPDATE runs SET next_id = ? WHERE no = ?", (self.run.next_counter, self.run.no))
        self.files_recorded += len(plain) + len(others)

    def _close(self, gathered: _Gathered) -> None:
        for directory_id in gathered.closed_directories:
            close_tree(self.index, self.run, directory_id)
        replaced = [row_id for group in gathered.groups for row_id in group.replaces]
        close_rows(self.index, self.run, "files", gathered.closed_files + replaced)


@dataclass(frozen=True, slots=True)
class NewBlob:
    """A blob that is durable in the store; times in nanoseconds."""

    uuid: UUID
    key_id: KeyId
    hash: BlobHash
    raw_size: int
    stored_size: int
    uploaded_at: int
    upload_time: int


_HOMES_OF_FILE = """
    SELECT DISTINCT c.blob_id FROM file_content t JOIN chunks c ON c.id = t.chunk_id WHERE t.file_id = ?"""

_INSERT_FILE = (
    f"INSERT INTO files (id, {', '.join(FileRow._fields)}) VALUES ({', '.join('?' * (len(FileRow._fields) + 1))})"
)

_INSERT_PLAIN = f"""
    INSERT INTO files (id, directory_id, name, kind, size, mtime, ctime, inode, device, nlink, mode, owner_id, chunk_id)
    VALUES (?, ?, ?, {int(Kind.FILE)}, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_INSERT_PLAIN_WITH_ATIME = _INSERT_PLAIN.replace("owner_id, ", "owner_id, atime, ").replace("?, ?)", "?, ?, ?)")


def _values(row_id: int, row: FileRow, chunk_ids: array.array[int], _xattrs: object) -> tuple[object, ...]:
    return (row_id, *row._replace(chunk_id=chunk_ids[0] if len(chunk_ids) == 1 else None))


def _chunk_rows(files: Iterable[OtherFile], first: int) -> Iterable[tuple[int, int, int]]:
    return (
        (row_id, position, chunk_id)
        for row_id, (_row, chunk_ids, _xattrs) in enumerate(files, first)
        if len(chunk_ids) > 1
        for position, chunk_id in enumerate(chunk_ids)
    )


def _xattr_rows(files: Iterable[OtherFile], first: int) -> Iterable[tuple[int, bytes, int, bytes]]:
    return (
        (row_id, name, part, value[start : start + XATTR_PART])
        for row_id, (_row, _chunks, xattrs) in enumerate(files, first)
        for name, value in xattrs
        for part, start in enumerate(range(0, max(len(value), 1), XATTR_PART))
    )
