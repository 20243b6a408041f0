"""Reading an export back, line by line: the counterpart of `dump.py`.

The dump is never executed.  A line must be one of the format's own comment and CREATE lines, word for word, an INSERT into
a known table of plain values, or a DELETE by key; anything else is damage.  The values are bound, and at the end the rows
must be sound: one tree, chunks inside blobs, sizes that add up.

The same reader fills a scratch index for a restore (`close_seq` None: what a delta deletes is gone) and rebuilds the
host's own index from snapshot after snapshot (what a delta deletes ended with the snapshot before).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from vaultpy.errors import DamageError, IndexDatabaseError, StoreFormatError
from vaultpy.index import dump
from vaultpy.index.db import Index
from vaultpy.index.grammar import parse_line
from vaultpy.index.ids import COUNTER_BITS, PREFIX_SIZE, prefix_seq
from vaultpy.index.live import ensure_owner
from vaultpy.index.record import XATTR_PART
from vaultpy.model import CHUNK_LIMIT, HostId, Kind, SnapshotId, SourceId

BATCH = 4_096


@dataclass(frozen=True, slots=True)
class Expected:
    """What the signed manifest says about the snapshot whose export is read."""

    snapshot: SnapshotId
    source: SourceId
    host: HostId
    seq: int


_TOGETHER = ("chunks", "files", "file_chunks", "xattrs", "access_times")
"""Tables whose lines alternate: each file's follow its chunks'.  Their rows are written in this order, many at a time, for a
row needs none of a later table."""


@dataclass(slots=True)
class _Reader:
    """State of reading one chain into an index."""

    index: Index
    expected: Expected
    source_id: int
    close_seq: int | None
    with_atime: bool
    runs: dict[bytes, int] = field(default_factory=dict)
    owners: dict[tuple[object, ...], int] = field(default_factory=dict)
    blobs: dict[bytes, int] = field(default_factory=dict)
    batches: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)
    waiting: int = 0

    def take(self, table: str, values: tuple[object, ...]) -> None:
        """Write a row, or keep it until there are enough for one statement."""
        if self.waiting >= BATCH or (table not in self.batches and not (table in _TOGETHER and self.is_mixing())):
            self.flush()
        self.batches.setdefault(table, []).append(values)
        self.waiting += 1

    def is_mixing(self) -> bool:
        return all(table in _TOGETHER for table in self.batches)

    def flush(self) -> None:
        for table in sorted(self.batches, key=lambda one: _TOGETHER.index(one) if one in _TOGETHER else 0):
            _WRITERS[table](self, self.batches[table])
        self.batches = {}
        self.waiting = 0

    def row_id(self, uuid: bytes) -> int:
        """The id for a row's UUID; its run is made when it is new here."""
        prefix = uuid[:PREFIX_SIZE]
        no = self.runs.get(prefix)
        if no is None:
            no = self._run_no(prefix)
            self.runs[prefix] = no
        return no << COUNTER_BITS | int.from_bytes(uuid[PREFIX_SIZE:], "big")

    def _run_no(self, prefix: bytes) -> int:
        row = self.index.row("SELECT no, source_id FROM runs WHERE prefix = ?", (prefix,))
        if row is None:
            # next_id is full: a run that was read back never hands out ids again.
            row = self.index.row(
                "INSERT INTO runs (source_id, seq, prefix, next_id) VALUES (?, ?, ?, ?) RETURNING no, source_id",
                (self.source_id, prefix_seq(prefix), prefix, 1 << COUNTER_BITS),
            )
        if row[1] != self.source_id:
            raise DamageError("export names rows of another source")
        return int(row[0])

    def check_time(self, uuid: bytes) -> None:
        """Raise DamageError for a row of a run after the snapshot, which would not show it."""
        if prefix_seq(uuid) > self.expected.seq:
            raise DamageError("export has a row that is later than its snapshot")

    def owner_id(self, owner: tuple[object, ...]) -> int:
        known = self.owners.get(owner)
        if known is None:
            known = ensure_owner(self.index, *owner)  # type: ignore[arg-type]
            self.owners[owner] = known
        return known

    def blob_id(self, uuid: bytes) -> int:
        known = self.blobs.get(uuid)
        if known is None:
            known = self.index.value("SELECT id FROM blobs WHERE uuid = ?", (uuid,))
            if known is None:
                raise DamageError("export has a chunk in a blob that it does not name")
            self.blobs[uuid] = known
        return known


def start_chain(index: Index, source_id: int, close_seq: int | None) -> None:
    """Before a chain's base is read: whatever is current for the source ends at `close_seq` (or goes, with None)."""
    for table, where in (
        ("files", "directory_id IN (SELECT id FROM directories WHERE source_id = ?1)"),
        ("directories", "source_id = ?1"),
        ("snapshot_blobs", "source_id = ?1"),
    ):
        if close_seq is None:
            index.run(f"DELETE FROM {table} WHERE last_seq IS NULL AND {where}", (source_id,))
        else:
            index.run(f"UPDATE {table} SET last_seq = ?2 WHERE last_seq IS NULL AND {where}", (source_id, close_seq))


def apply_export(
    index: Index, lines: Iterable[bytes], expected: Expected, *, source_id: int, whole: bool, close_seq: int | None
) -> None:
    """Read one export (a chain's base when `whole`) into the index, in the caller's transaction.

    Raises DamageError for anything but the grammar of docs/format.md, StoreFormatError for a newer format.
    """
    source = iter(lines)
    reader = _Reader(index, expected, source_id, close_seq, with_atime=_read_header(source, whole))
    try:
        for line in source:
            reader.take(*parse_line(line))
        reader.flush()
    except IndexDatabaseError as error:
        if "constraint" in str(error):
            raise DamageError("export says one thing twice, or about something that is not there") from error
        raise


def _read_header(source: Iterator[bytes], whole: bool) -> bool:
    """Read the lines that every export begins with; whether it is one with access times."""
    first = next(source, b"")
    known = dump.HEADERS_WHOLE if whole else dump.HEADERS_DELTA
    if first not in known:
        if re.fullmatch(rb"-- vaultpy export (?:[3-9]|[1-9][0-9]{1,5}), [a-z]+\n", first):
            raise StoreFormatError("export is of a newer format", hint="use a newer vaultpy")
        raise DamageError("export does not begin as one")
    with_atime = first == known[1]
    for line in (*(dump.CREATE if whole else ()), *([dump.CREATE_ACCESS_TIMES] if with_atime else [])):
        if next(source, b"") != line:
            raise DamageError("export has other tables than its format")
    return with_atime


def _put_files(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    rows = []
    for values in batch:
        uuid, directory, name, kind, size, mode = *values[:5], values[10]
        assert isinstance(uuid, bytes) and isinstance(directory, bytes)
        if values[22] != prefix_seq(uuid):
            raise DamageError("export has a file whose first sequence is not its id's")
        reader.check_time(uuid)
        _check_file(name, kind, size, mode)
        owner_id = reader.owner_id(values[11:15])
        rows.append((reader.row_id(uuid), reader.row_id(directory), *values[2:11], owner_id, *values[15:22]))
    reader.index.run_many(_PUT_FILE if reader.close_seq is None else _PUT_FILE_AGAIN, rows)


def _check_file(name: object, kind: object, size: object, mode: object) -> None:
    assert isinstance(name, bytes) and isinstance(size, int) and isinstance(mode, int)
    if name in (b".", b"..") or b"/" in name or b"\0" in name or len(name) > 255:
        raise DamageError("export has a name that no file can have")
    if kind not in _KINDS or size < 0 or not 0 <= mode <= 0o7777:
        raise DamageError("export has a file of an unknown kind, size or mode")


_KINDS = frozenset(int(kind) for kind in Kind)


def _put_chunks(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    rows = []
    for hash, size, blob, raw_offset in batch:
        assert isinstance(size, int) and isinstance(raw_offset, int) and isinstance(blob, bytes)
        if not 0 < size <= CHUNK_LIMIT or raw_offset < 0:
            raise DamageError("export has a chunk of an impossible size")
        rows.append((hash, size, reader.blob_id(blob), raw_offset))
    reader.index.run_many(_PUT_CHUNK if reader.close_seq is None else _PUT_CHUNK_AGAIN, rows)


def _put_file_chunks(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    rows = [(reader.row_id(uuid), idx, hash) for uuid, idx, hash in batch]  # type: ignore[arg-type]
    reader.index.run_many(_PUT_FILE_CHUNK if reader.close_seq is None else _again(_PUT_FILE_CHUNK), rows)


def _put_xattrs(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    rows = []
    for uuid, name, part, value in batch:
        assert (
            isinstance(uuid, bytes) and isinstance(name, bytes) and isinstance(part, int) and isinstance(value, bytes)
        )
        if not name or b"\0" in name or len(name) > 255 or len(value) > XATTR_PART or not 0 <= part < 64:
            raise DamageError("export has an extended attribute that cannot be")
        rows.append((reader.row_id(uuid), name, part, value))
    sql = "INSERT INTO xattrs VALUES (?, ?, ?, ?)"
    reader.index.run_many(sql if reader.close_seq is None else _again(sql), rows)


def _put_access_times(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    rows = [(atime, reader.row_id(uuid)) for uuid, atime in batch]  # type: ignore[arg-type]
    if not reader.with_atime or reader.index.run_many(_PUT_ACCESS_TIME, rows) != len(rows):
        raise DamageError("export has access times that cannot be")


def _put_directories(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    rows = []
    for uuid, source, parent, name in batch:
        assert isinstance(uuid, bytes) and isinstance(name, bytes)
        if source != reader.expected.source.bytes:
            raise DamageError("export has a directory of another source")
        if (
            b"/" in name
            or b"\0" in name
            or name in (b".", b"..")
            or len(name) > 255
            or bool(name) != (parent is not None)
        ):
            raise DamageError("export has a name that no directory can have")
        reader.check_time(uuid)
        parent_id = None if parent is None else reader.row_id(parent)  # type: ignore[arg-type]
        rows.append((reader.row_id(uuid), reader.source_id, parent_id, name))
    sql = "INSERT INTO directories (id, source_id, parent_id, name) VALUES (?, ?, ?, ?)"
    again = f"{sql} ON CONFLICT (id) DO UPDATE SET last_seq = NULL WHERE last_seq IS NOT NULL"
    reader.index.run_many(sql if reader.close_seq is None else again, rows)


def _put_blobs(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    for values in batch:
        reader.index.run(_PUT_BLOB, values)
        blob_id = reader.index.value("SELECT id FROM blobs WHERE uuid = ? AND hash = ?", (values[0], values[2]))
        if blob_id is None:
            raise DamageError("export has two blobs of one name")
        reopened = reader.close_seq is not None and reader.index.run(
            "UPDATE snapshot_blobs SET last_seq = NULL WHERE source_id = ? AND blob_id = ? AND last_seq = ?",
            (reader.source_id, blob_id, reader.close_seq),
        )
        if not reopened:
            reader.index.run(
                "INSERT INTO snapshot_blobs (source_id, blob_id, first_seq) VALUES (?, ?, ?)",
                (reader.source_id, blob_id, reader.expected.seq),
            )


def _put_problems(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    reader.index.run_many(
        "INSERT INTO problems SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM snapshots WHERE id = ?)",
        [(values[0], values[1], _text(values[2]), _text(values[3]), values[0]) for values in batch],
    )


def _check_snapshots(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    # A chain also names the snapshots between, which may be gone: only their source can be checked.
    for _uuid, source, _seq, _started in batch:
        if source != reader.expected.source.bytes:
            raise DamageError("export is of another source than its manifest")


def _check_sources(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    for uuid, host, _name in batch:
        if uuid != reader.expected.source.bytes or host != reader.expected.host.bytes:
            raise DamageError("export is of another source than its manifest")


def _end_files(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    _end(reader, "files", batch)


def _end_directories(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    _end(reader, "directories", batch)


def _end(reader: _Reader, table: str, batch: list[tuple[object, ...]]) -> None:
    close_seq = reader.close_seq
    for (uuid,) in batch:
        assert isinstance(uuid, bytes)
        row_id = reader.row_id(uuid)
        if close_seq is None or prefix_seq(uuid) > close_seq:
            touched = reader.index.run(f"DELETE FROM {table} WHERE id = ? AND last_seq IS NULL", (row_id,))
        else:
            touched = reader.index.run(
                f"UPDATE {table} SET last_seq = ? WHERE id = ? AND last_seq IS NULL", (close_seq, row_id)
            )
        if touched != 1:
            raise DamageError("export removes something that is not there")


def _end_chunks(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    if reader.close_seq is None:
        reader.index.run_many("DELETE FROM chunks WHERE hash = ?", batch)


def _end_blobs(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    for (uuid,) in batch:
        assert isinstance(uuid, bytes)
        key = (reader.source_id, reader.blob_id(uuid))
        if reader.close_seq is not None:
            reader.index.run(
                "UPDATE snapshot_blobs SET last_seq = ? WHERE source_id = ? AND blob_id = ? AND last_seq IS NULL"
                " AND first_seq <= ?",
                (reader.close_seq, *key, reader.close_seq),
            )
        reader.index.run("DELETE FROM snapshot_blobs WHERE source_id = ? AND blob_id = ? AND last_seq IS NULL", key)


def _end_with_its_file(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    """The rows go, or stay, with their file's row; the line is there for readers that know SQL only."""


def _end_access_times(reader: _Reader, batch: list[tuple[object, ...]]) -> None:
    """As above, in exports that have such rows."""
    if not reader.with_atime:
        raise DamageError("export has access times that cannot be")


def _text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode("utf-8", "replace")


def _again(sql: str) -> str:
    return sql.replace("INSERT", "INSERT OR IGNORE", 1)


_PUT_FILE = """
    INSERT INTO files (id, directory_id, name, kind, size, mtime, ctime, inode, device, nlink, mode, owner_id, chunk_id,
    link_target, rdev, flags, btime, holes, changed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
    CASE WHEN ?13 IS NULL THEN NULL ELSE ifnull((SELECT id FROM chunks WHERE hash = ?13), -1) END,
    ?14, ?15, ?16, ?17, ?18, ?19)"""

_PUT_FILE_AGAIN = f"{_PUT_FILE} ON CONFLICT (id) DO UPDATE SET last_seq = NULL WHERE last_seq IS NOT NULL"

_PUT_CHUNK = "INSERT INTO chunks (hash, size, blob_id, raw_offset) VALUES (?, ?, ?, ?)"

_PUT_CHUNK_AGAIN = f"""{_PUT_CHUNK} ON CONFLICT (hash) DO UPDATE SET blob_id = excluded.blob_id,
    raw_offset = excluded.raw_offset"""

_PUT_FILE_CHUNK = """
    INSERT INTO file_chunks VALUES (?1, ?2, ifnull((SELECT id FROM chunks WHERE hash = ?3), -1))"""

_PUT_ACCESS_TIME = "UPDATE files SET atime = ?1 WHERE id = ?2 AND last_seq IS NULL AND ifnull(atime, ?1) = ?1"

_PUT_BLOB = "INSERT OR IGNORE INTO blobs (uuid, key_id, hash, raw_size, stored_size) VALUES (?, ?, ?, ?, ?)"

_WRITERS: dict[str, Callable[[_Reader, list[tuple[object, ...]]], None]] = {
    "files": _put_files,
    "chunks": _put_chunks,
    "file_chunks": _put_file_chunks,
    "xattrs": _put_xattrs,
    "access_times": _put_access_times,
    "directories": _put_directories,
    "blobs": _put_blobs,
    "problems": _put_problems,
    "snapshots": _check_snapshots,
    "sources": _check_sources,
    "-files": _end_files,
    "-directories": _end_directories,
    "-chunks": _end_chunks,
    "-blobs": _end_blobs,
    "-file_chunks": _end_with_its_file,
    "-xattrs": _end_with_its_file,
    "-access_times": _end_access_times,
}
