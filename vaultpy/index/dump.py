"""The export as SQL: the lines that rebuild one snapshot's rows, whole or as the difference to its parent.

One statement a line, at most 64 KiB, so that the plain `sqlite3` program runs it and `load.py` reads it without a parser
for SQL.  Values are integers, X'hex' and NULL.  Row ids appear as the UUIDs they stand for.  docs/format.md holds the
grammar; `load.py` is the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vaultpy.index.db import Index
from vaultpy.index.ids import COUNTER_BITS, COUNTER_MASK
from vaultpy.index.record import FileRow, Run
from vaultpy.index.snapshots import SnapshotRow
from vaultpy.model import Problem

HEADER_WHOLE = b"-- vaultpy export 1, whole\n"
HEADER_DELTA = b"-- vaultpy export 1, changes\n"

CREATE = (
    b"CREATE TABLE snapshots (id BLOB PRIMARY KEY, source_id BLOB, seq INTEGER, started_at INTEGER);\n",
    b"CREATE TABLE sources (id BLOB PRIMARY KEY, host BLOB, name BLOB);\n",
    b"CREATE TABLE blobs (id BLOB PRIMARY KEY, key_id BLOB, hash BLOB, raw_size INTEGER, stored_size INTEGER);\n",
    b"CREATE TABLE directories (id BLOB PRIMARY KEY, source_id BLOB, parent_id BLOB, name BLOB);\n",
    b"CREATE TABLE files (id BLOB PRIMARY KEY, directory_id BLOB, name BLOB, kind INTEGER, size INTEGER, mtime INTEGER,"
    b" ctime INTEGER, inode INTEGER, device INTEGER, nlink INTEGER, mode INTEGER, uid INTEGER, gid INTEGER, user BLOB,"
    b' "group" BLOB, chunk_hash BLOB, link_target BLOB, rdev INTEGER, flags INTEGER, btime INTEGER, holes BLOB,'
    b" changed INTEGER, first_seq INTEGER, last_seq INTEGER);\n",
    b"CREATE TABLE chunks (hash BLOB PRIMARY KEY, size INTEGER, blob_id BLOB, raw_offset INTEGER);\n",
    b"CREATE TABLE file_chunks (file_id BLOB, idx INTEGER, chunk_hash BLOB, PRIMARY KEY (file_id, idx));\n",
    b"CREATE TABLE xattrs (file_id BLOB, name BLOB, part INTEGER, value BLOB, PRIMARY KEY (file_id, name, part));\n",
    b"CREATE TABLE problems (snapshot_id BLOB, path BLOB, kind BLOB, detail BLOB);\n",
)
"""Word for word: a reader refuses any other."""

PROBLEM_LIMIT = 8 * 1024
"""Bytes of a problem's path or detail that the export keeps: a line stays under 64 KiB."""


def whole_lines(index: Index, run: Run, snapshot: SnapshotRow, problems: Iterable[Problem]) -> Iterator[bytes]:
    """Everything that the source's current rows say, in one moment's view (the caller's transaction)."""
    yield HEADER_WHOLE
    yield from CREATE
    names = _Names(index)
    yield _source_line(index, run.source_id)
    yield from _snapshot_lines(snapshot, problems)
    yield from _blob_lines(names, index, _LIVE_BLOBS, (run.source_id,))
    yield from _directory_lines(names, index, _LIVE_DIRECTORIES, (run.source_id,))
    seen = _Seen()
    yield from _file_lines(
        names,
        index,
        f"{_FILES} WHERE d.source_id = ? AND f.last_seq IS NULL ORDER BY f.id",
        (run.source_id,),
        seen.first_time,
    )


def delta_lines(index: Index, run: Run, snapshot: SnapshotRow, problems: Iterable[Problem]) -> Iterator[bytes]:
    """What changed since the source's last complete snapshot: deletions, then additions.

    Rows that were live there and are not now closed with its sequence; rows that came since belong to the unpublished
    runs.  Both are found by those marks, without looking at the rest.
    """
    assert run.parent_seq is not None
    names = _Names(index)
    yield HEADER_DELTA
    yield from _snapshot_lines(snapshot, problems)
    closed = (run.parent_seq, run.source_id)
    for row_id, has_chunks, has_xattrs in index.each(_CLOSED_FILES, closed):
        key = names.of(row_id)
        yield f"DELETE FROM files WHERE id = X'{key}';\n".encode()
        if has_chunks:
            yield f"DELETE FROM file_chunks WHERE file_id = X'{key}';\n".encode()
        if has_xattrs:
            yield f"DELETE FROM xattrs WHERE file_id = X'{key}';\n".encode()
    for (hash,) in index.each(_DEAD_CHUNKS, closed):
        yield f"DELETE FROM chunks WHERE hash = X'{hash.hex()}';\n".encode()
    for (uuid,) in index.each(_CLOSED_BLOBS, closed):
        yield f"DELETE FROM blobs WHERE id = X'{uuid.hex()}';\n".encode()
    for (row_id,) in index.each(_CLOSED_DIRECTORIES, closed):
        yield f"DELETE FROM directories WHERE id = X'{names.of(row_id)}';\n".encode()
    yield from _blob_lines(names, index, f"{_LIVE_BLOBS} AND t.first_seq > ?", (run.source_id, run.parent_seq))
    new = ", ".join(str(no) for no in sorted(run.unpublished))
    yield from _directory_lines(
        names, index, f"{_LIVE_DIRECTORIES} AND id >> {COUNTER_BITS} IN ({new})", (run.source_id,)
    )
    seen = _Seen()

    def is_new(chunk_id: int) -> bool:
        return seen.first_time(chunk_id) and not _in_parent(index, run, chunk_id)

    for no in sorted(run.unpublished):
        limits = (no << COUNTER_BITS, no + 1 << COUNTER_BITS)
        where = "WHERE f.id >= ? AND f.id < ? AND f.last_seq IS NULL ORDER BY f.id"
        yield from _file_lines(names, index, f"{_FILES} {where}", limits, is_new)


class _Names:
    """Row ids and owners as the text that stands for them in a line."""

    def __init__(self, index: Index) -> None:
        self._prefixes = {no: prefix.hex() for no, prefix in index.each("SELECT no, prefix FROM runs")}
        self.blobs: dict[int, str] = {}
        self.owners = {
            row[0]: f"{row[1]},{row[2]},{_hex(row[3])},{_hex(row[4])}"
            for row in index.each('SELECT id, uid, gid, user, "group" FROM owners')
        }
        self.seqs = dict(index.rows("SELECT no, seq FROM runs"))

    def of(self, row_id: int) -> str:
        return f"{self._prefixes[row_id >> COUNTER_BITS]}{row_id & COUNTER_MASK:08x}"


class _Seen:
    """A bit per chunk id: which chunks a dump has named already."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def first_time(self, chunk_id: int) -> bool:
        byte, bit = chunk_id >> 3, 1 << (chunk_id & 7)
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 4096 - len(self._bits)))
        if self._bits[byte] & bit:
            return False
        self._bits[byte] |= bit
        return True


def _hex(value: bytes | None) -> str:
    return "NULL" if value is None else f"X'{value.hex()}'"


def _number(value: int | None) -> str:
    return "NULL" if value is None else str(value)


def _source_line(index: Index, source_id: int) -> bytes:
    uuid, host, name = index.row("SELECT uuid, host, name FROM sources WHERE id = ?", (source_id,))
    return f"INSERT INTO sources VALUES ({_hex(uuid)},{_hex(host)},{_hex(name.encode())});\n".encode()


def _snapshot_lines(snapshot: SnapshotRow, problems: Iterable[Problem]) -> Iterator[bytes]:
    key = f"X'{snapshot.id.hex}'"
    yield (
        f"INSERT INTO snapshots VALUES ({key},X'{snapshot.source.hex}',{snapshot.seq},{snapshot.started_at});\n".encode()
    )
    for one in problems:
        path, detail = one.path[:PROBLEM_LIMIT], one.detail.encode("utf-8", "replace")[:PROBLEM_LIMIT]
        yield f"INSERT INTO problems VALUES ({key},{_hex(path)},{_hex(one.kind.encode())},{_hex(detail)});\n".encode()


def _blob_lines(names: _Names, index: Index, sql: str, params: tuple[int, ...]) -> Iterator[bytes]:
    for uuid, key_id, hash, raw_size, stored_size in index.each(f"{sql} ORDER BY b.id", params):
        yield (
            f"INSERT INTO blobs VALUES ({_hex(uuid)},{_hex(key_id)},{_hex(hash)},{raw_size},{stored_size});\n".encode()
        )


def _directory_lines(names: _Names, index: Index, sql: str, params: tuple[int, ...]) -> Iterator[bytes]:
    source = index.value("SELECT uuid FROM sources WHERE id = ?", (params[0],)).hex()
    for row_id, parent_id, name in index.each(f"{sql} ORDER BY id", params):
        parent = "NULL" if parent_id is None else f"X'{names.of(parent_id)}'"
        yield f"INSERT INTO directories VALUES (X'{names.of(row_id)}',X'{source}',{parent},X'{name.hex()}');\n".encode()


def _file_lines(names: _Names, index: Index, sql: str, params: tuple[int, ...], wanted: object) -> Iterator[bytes]:
    """Lines of files, each after the lines of its chunks that the reader does not know yet: side by side the hash is
    written twice within a few hundred bytes, which zstd folds into one."""
    assert callable(wanted)
    for row in index.each(sql, params):
        row_id, chunk_id, blob_uuid = row[0], row[12], row[-1]
        key = names.of(row_id)
        hash = "NULL"
        if chunk_id is not None:
            hash = f"X'{row[-4].hex()}'"
            if wanted(chunk_id):
                yield f"INSERT INTO chunks VALUES ({hash},{row[-3]},X'{blob_uuid.hex()}',{row[-2]});\n".encode()
        yield _file_line(names, key, hash, row)
        if chunk_id is None and row[4]:
            yield from _content_lines(index, row_id, key, wanted)
        if row[-5]:
            yield from _xattr_lines(index, row_id, key)


def _file_line(names: _Names, key: str, hash: str, row: tuple[object, ...]) -> bytes:
    file = FileRow._make(row[1:19])
    seq = names.seqs[row[0] >> COUNTER_BITS]  # type: ignore[operator]
    rare = "NULL,NULL,NULL,NULL,NULL,NULL"
    if any(value is not None for value in file[12:]):
        rare = (
            f"{_hex(file.link_target)},{_number(file.rdev)},{_number(file.flags)},{_number(file.btime)},"
            f"{_hex(file.holes)},{_number(file.changed)}"
        )
    return (
        f"INSERT INTO files VALUES (X'{key}',X'{names.of(file.directory_id)}',X'{file.name.hex()}',{file.kind},"
        f"{file.size},{file.mtime},{_number(file.ctime)},{file.inode},{file.device},{file.nlink},{file.mode},"
        f"{names.owners[file.owner_id]},{hash},{rare},{seq},NULL);\n"
    ).encode()


def _content_lines(index: Index, row_id: int, key: str, wanted: object) -> Iterator[bytes]:
    assert callable(wanted)
    for idx, chunk_id, hash, size, raw_offset, blob_uuid in index.each(_CONTENT, (row_id,)):
        if wanted(chunk_id):
            yield f"INSERT INTO chunks VALUES (X'{hash.hex()}',{size},X'{blob_uuid.hex()}',{raw_offset});\n".encode()
        yield f"INSERT INTO file_chunks VALUES (X'{key}',{idx},X'{hash.hex()}');\n".encode()


def _xattr_lines(index: Index, row_id: int, key: str) -> Iterator[bytes]:
    for name, part, value in index.each(
        "SELECT name, part, value FROM xattrs WHERE file_id = ? ORDER BY name, part", (row_id,)
    ):
        yield f"INSERT INTO xattrs VALUES (X'{key}',X'{name.hex()}',{part},X'{value.hex()}');\n".encode()


def _in_parent(index: Index, run: Run, chunk_id: int) -> bool:
    """Whether the parent's export holds the chunk: some row that was live there has it."""
    rows = index.each(_ROWS_OF_CHUNK, (chunk_id, run.source_id, run.parent_seq))
    return any(row[0] >> COUNTER_BITS not in run.unpublished for row in rows)


_FILES = f"""
    SELECT f.id, {", ".join(f"f.{name}" for name in FileRow._fields)},
    EXISTS (SELECT 1 FROM xattrs x WHERE x.file_id = f.id), c.hash, c.size, c.raw_offset, b.uuid
    FROM files f JOIN directories d ON d.id = f.directory_id
    LEFT JOIN chunks c ON c.id = f.chunk_id LEFT JOIN blobs b ON b.id = c.blob_id"""

_LIVE_BLOBS = """
    SELECT b.uuid, b.key_id, b.hash, b.raw_size, b.stored_size FROM snapshot_blobs t JOIN blobs b ON b.id = t.blob_id
    WHERE t.source_id = ? AND t.last_seq IS NULL"""

_LIVE_DIRECTORIES = "SELECT id, parent_id, name FROM directories WHERE source_id = ? AND last_seq IS NULL"

_CLOSED_FILES = """
    SELECT f.id, EXISTS (SELECT 1 FROM file_chunks t WHERE t.file_id = f.id),
    EXISTS (SELECT 1 FROM xattrs x WHERE x.file_id = f.id)
    FROM files f JOIN directories d ON d.id = f.directory_id WHERE f.last_seq = ? AND d.source_id = ? ORDER BY f.id"""

_CLOSED_DIRECTORIES = "SELECT id FROM directories WHERE last_seq = ? AND source_id = ? ORDER BY id"

_CLOSED_BLOBS = """
    SELECT b.uuid FROM snapshot_blobs t JOIN blobs b ON b.id = t.blob_id
    WHERE t.last_seq = ? AND t.source_id = ? ORDER BY b.id"""

_DEAD_CHUNKS = """
    SELECT DISTINCT c.hash FROM files f JOIN directories d ON d.id = f.directory_id
    JOIN file_content t ON t.file_id = f.id JOIN chunks c ON c.id = t.chunk_id
    WHERE f.last_seq = ?1 AND d.source_id = ?2
    AND NOT EXISTS (SELECT 1 FROM files o JOIN directories e ON e.id = o.directory_id
    WHERE o.chunk_id = c.id AND o.last_seq IS NULL AND e.source_id = ?2)
    AND NOT EXISTS (SELECT 1 FROM file_chunks u JOIN files o ON o.id = u.file_id JOIN directories e ON e.id = o.directory_id
    WHERE u.chunk_id = c.id AND o.last_seq IS NULL AND e.source_id = ?2)"""

_CONTENT = """
    SELECT t.idx, c.id, c.hash, c.size, c.raw_offset, b.uuid FROM file_chunks t JOIN chunks c ON c.id = t.chunk_id
    JOIN blobs b ON b.id = c.blob_id WHERE t.file_id = ? ORDER BY t.idx"""

_ROWS_OF_CHUNK = """
    SELECT f.id FROM files f JOIN directories d ON d.id = f.directory_id
    WHERE f.chunk_id = ?1 AND d.source_id = ?2 AND (f.last_seq IS NULL OR f.last_seq = ?3)
    UNION ALL
    SELECT f.id FROM file_chunks t JOIN files f ON f.id = t.file_id JOIN directories d ON d.id = f.directory_id
    WHERE t.chunk_id = ?1 AND d.source_id = ?2 AND (f.last_seq IS NULL OR f.last_seq = ?3)"""
