"""Writing what a run found: rows only for what is durable, in the order that keeps the index true.

Rule 1: a chunk's row is written after the blob that holds it is durable in the store, a file's row after all its chunks'
rows.  `Recorder` keeps what has to wait; the rest gathers and goes to the index in transactions of some thousand rows.
"""

from __future__ import annotations

import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from vaultpy.index.db import Index
from vaultpy.index.filter import ChunkFilter
from vaultpy.index.ids import RowId
from vaultpy.index.reuse import Reuse
from vaultpy.index.runs import Run, close_rows, close_tree, note_move
from vaultpy.model import BlobHash, ChunkHash, KeyId

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
    """One version of one path, in the order of the table's columns between `id` and `last_seq`."""

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


@dataclass(slots=True)
class _Waiting:
    row: FileRow
    chunk_ids: array.array[int]
    xattrs: Sequence[tuple[bytes, bytes]]
    replaces: int | None
    missing: int = 0


@dataclass(slots=True)
class _Gathered:
    directories: list[tuple[int, int, int | None, bytes]] = field(default_factory=list)
    files: list[tuple[int, FileRow, array.array[int], Sequence[tuple[bytes, bytes]]]] = field(default_factory=list)
    closed_files: list[int] = field(default_factory=list)
    closed_directories: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.directories) + len(self.files) + len(self.closed_files) + len(self.closed_directories)


class Recorder:
    """Takes a run's findings in any order and writes them in a safe one.  Close it with `flush`."""

    def __init__(self, index: Index, run: Run, reuse: Reuse) -> None:
        self.index = index
        self.run = run
        self.files_recorded = 0
        self._reuse = reuse
        self._stored: set[int] = set()
        self._next_chunk = (index.value("SELECT max(id) FROM chunks") or 0) + 1
        self._filter = ChunkFilter(index, self._next_chunk)
        self._pending: dict[ChunkHash, int] = {}
        self._moving: dict[int, bool] = {}
        self._waiters: dict[int, list[_Waiting]] = {}
        self._gathered = _Gathered()

    def place_chunk(self, hash: ChunkHash) -> tuple[int, bool]:
        """The id of a chunk, and whether it must be stored: it is neither under way in this run nor in a blob that may be
        reused.  One that must be stored waits for `put_blob`."""
        chunk_id = self._pending.get(hash)
        if chunk_id is not None:
            return chunk_id, False
        row = self._find(hash) if self._filter.may_know(hash) else None
        if row is None:
            chunk_id, self._next_chunk = self._next_chunk, self._next_chunk + 1
            self._filter.add(hash)
        elif row[1] in self._reuse.blobs or row[1] in self._stored:
            return row[0], False
        else:
            chunk_id = row[0]
            self._moving[chunk_id] = row[1] in self._reuse.held
        self._pending[hash] = chunk_id
        self._waiters[chunk_id] = []
        return chunk_id, True

    def _find(self, hash: ChunkHash) -> tuple[int, int] | None:
        """The id and the home of a chunk that the index knows."""
        found: tuple[int, int] | None = self.index.row("SELECT id, blob_id FROM chunks WHERE hash = ?", (hash,))
        return found

    def put_directory(self, parent_id: int | None, name: bytes) -> RowId:
        """A path that is a directory from this run on; returns its id, which rows may name at once."""
        row_id = self.run.new_id()
        self._gathered.directories.append((row_id, self.run.source_id, parent_id, name))
        return row_id

    def put_file(
        self,
        row: FileRow,
        chunk_ids: array.array[int],
        xattrs: Sequence[tuple[bytes, bytes]] = (),
        replaces: int | None = None,
    ) -> None:
        """A new version of a path; `replaces` is the row it closes.  Written once all its chunks are durable."""
        waiting = _Waiting(row, chunk_ids, xattrs, replaces)
        if self._waiters:
            for chunk_id in set(chunk_ids) if len(chunk_ids) > 1 else chunk_ids:
                waiters = self._waiters.get(chunk_id)
                if waiters is not None:
                    waiters.append(waiting)
                    waiting.missing += 1
        if not waiting.missing:
            self._ready(waiting)

    def close_file(self, row_id: int) -> None:
        """The path is gone, or could not be read: its row ends with the last complete snapshot."""
        self._gathered.closed_files.append(row_id)
        self._flush_if_many()

    def close_directory(self, row_id: int) -> None:
        """The directory and all below it are gone."""
        self._gathered.closed_directories.append(row_id)
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
            new, moved = self._arrive(blob_id, zip(hashes, offsets, sizes, strict=True))
            self.index.run_many("INSERT INTO chunks (id, hash, size, blob_id, raw_offset) VALUES (?, ?, ?, ?, ?)", new)
            self.index.run_many("UPDATE chunks SET blob_id = ?, raw_offset = ? WHERE id = ?", moved)
            self._write(self._gathered)
        self._stored.add(blob_id)
        self._gathered = _Gathered()
        return blob_id

    def flush(self) -> None:
        """Write all that does not wait for a blob."""
        if self._gathered or self.run.next_counter:
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
        self, blob_id: int, places: Iterable[tuple[ChunkHash, int, int]]
    ) -> tuple[list[tuple[object, ...]], list[tuple[int, ...]]]:
        new: list[tuple[object, ...]] = []
        moved: list[tuple[int, ...]] = []
        for hash, raw_offset, size in places:
            chunk_id = self._pending.pop(hash)
            held = self._moving.pop(chunk_id, None)
            if held is not None:
                moved.append((blob_id, raw_offset, chunk_id))
                if held:
                    note_move(self.index, self.run.seq)
            else:
                new.append((chunk_id, hash, size, blob_id, raw_offset))
            for waiting in self._waiters.pop(chunk_id):
                waiting.missing -= 1
                if not waiting.missing:
                    self._gather(waiting)
        return new, moved

    def _ready(self, waiting: _Waiting) -> None:
        self._gather(waiting)
        self._flush_if_many()

    def _gather(self, waiting: _Waiting) -> None:
        if waiting.replaces is not None:
            self._gathered.closed_files.append(waiting.replaces)
        self._gathered.files.append((self.run.new_id(), waiting.row, waiting.chunk_ids, waiting.xattrs))

    def _flush_if_many(self) -> None:
        if len(self._gathered) >= FLUSH_ROWS:
            self.flush()

    def _write(self, gathered: _Gathered) -> None:
        # Closing comes first: the new version of a path must never stand beside the old one as a second current row.
        self._close(gathered)
        index = self.index
        index.run_many(
            "INSERT INTO directories (id, source_id, parent_id, name) VALUES (?, ?, ?, ?)", gathered.directories
        )
        index.run_many(_INSERT_FILE, (_file_values(*file) for file in gathered.files))
        index.run_many("INSERT INTO file_chunks VALUES (?, ?, ?)", _chunk_rows(gathered.files))
        index.run_many("INSERT INTO xattrs VALUES (?, ?, ?, ?)", _xattr_rows(gathered.files))
        index.run("UPDATE runs SET next_id = ? WHERE no = ?", (self.run.next_counter, self.run.no))
        self.files_recorded += len(gathered.files)

    def _close(self, gathered: _Gathered) -> None:
        for directory_id in gathered.closed_directories:
            close_tree(self.index, self.run, directory_id)
        close_rows(self.index, self.run, "files", gathered.closed_files)


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


def _file_values(row_id: int, row: FileRow, chunk_ids: array.array[int], _xattrs: object) -> tuple[object, ...]:
    if len(chunk_ids) == 1:
        return (row_id, *row[:11], chunk_ids[0], *row[12:])
    return (row_id, *row)


def _chunk_rows(files: Iterable[tuple[int, FileRow, array.array[int], object]]) -> Iterable[tuple[int, int, int]]:
    return (
        (row_id, position, chunk_id)
        for row_id, _row, chunk_ids, _xattrs in files
        if len(chunk_ids) > 1
        for position, chunk_id in enumerate(chunk_ids)
    )


def _xattr_rows(
    files: Iterable[tuple[int, FileRow, object, Sequence[tuple[bytes, bytes]]]],
) -> Iterable[tuple[int, bytes, int, bytes]]:
    return (
        (row_id, name, part, value[start : start + XATTR_PART])
        for row_id, _row, _chunks, xattrs in files
        for name, value in xattrs
        for part, start in enumerate(range(0, max(len(value), 1), XATTR_PART))
    )
