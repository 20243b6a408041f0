"""The export as SQL: the lines that rebuild one snapshot's rows, whole or as the difference to its parent.

One statement a line, at most 64 KiB, so that the plain `sqlite3` program runs it and `load.py` reads it without a parser
for SQL.  Values are integers, X'hex' and NULL.  Row ids appear as the UUIDs they stand for.  docs/format.md holds the
grammar; `load.py` is the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from vaultpy.index.db import Index
from vaultpy.index.ids import COUNTER_BITS, COUNTER_MASK
from vaultpy.index.runs import Run
from vaultpy.index.snapshots import SnapshotRow
from vaultpy.model import Problem

HEADERS_WHOLE = (b"-- vaultpy export 1, whole\n", b"-- vaultpy export 2, whole\n")
HEADERS_DELTA = (b"-- vaultpy export 1, changes\n", b"-- vaultpy export 2, changes\n")
"""Of exports without access times, which every version reads, and of those with them."""

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

CREATE_ACCESS_TIMES = b"CREATE TABLE IF NOT EXISTS access_times (file_id BLOB PRIMARY KEY, atime INTEGER);\n"
"""In every export with access times, also among changes: what they stand on may be without."""

PROBLEM_LIMIT = 8 * 1024
"""Bytes of a problem's path or detail that the export keeps: a line stays under 64 KiB."""


def whole_lines(index: Index, run: Run, snapshot: SnapshotRow, problems: Iterable[Problem]) -> Iterator[bytes]:
    """Everything that the source's current rows say, in one moment's view (the caller's transaction); in pieces of one or
    more lines."""
    with_atime = _has_atime(index, run, None)
    yield HEADERS_WHOLE[with_atime]
    yield from CREATE
    if with_atime:
        yield CREATE_ACCESS_TIMES
    yield from _lines(index, _SOURCE, (run.source_id,))
    yield from _snapshot_lines(snapshot, problems)
    yield from _lines(index, f"{_BLOBS} ORDER BY b.id", (run.source_id,))
    yield from _lines(index, f"{_DIRECTORIES} ORDER BY d.id", (run.source_id,))
    _share(index, run.source_id)
    yield from _file_lines(index, _files(with_atime), (), _Seen().first_time)


def delta_lines(index: Index, run: Run, snapshot: SnapshotRow, problems: Iterable[Problem]) -> Iterator[bytes]:
    """What changed since the source's last complete snapshot: deletions, then additions; in pieces of one or more lines.

    Rows that were live there and are not now closed with its sequence; rows that came since belong to the unpublished
    runs.  Both are found by those marks, without looking at the rest.
    """
    assert run.parent_seq is not None
    new_ids = [(no << COUNTER_BITS, no + 1 << COUNTER_BITS) for no in sorted(run.unpublished)]
    with_atime = _has_atime(index, run, run.parent_seq) or any(_has_atime(index, run, None, *ids) for ids in new_ids)
    yield HEADERS_DELTA[with_atime]
    if with_atime:
        yield CREATE_ACCESS_TIMES
    yield from _snapshot_lines(snapshot, problems)
    closed = (run.parent_seq, run.source_id)
    if with_atime:
        yield from _lines(index, _CLOSED_ATIMES, closed)
    for sql in (_CLOSED_FILES, _CLOSED_CONTENT, _CLOSED_XATTRS, _DEAD_CHUNKS, _CLOSED_BLOBS, _CLOSED_DIRECTORIES):
        yield from _lines(index, sql, closed)
    yield from _lines(index, f"{_BLOBS} AND t.first_seq > ? ORDER BY b.id", (run.source_id, run.parent_seq))
    for ids in new_ids:
        yield from _lines(index, f"{_DIRECTORIES} AND d.id >= ? AND d.id < ? ORDER BY d.id", (run.source_id, *ids))
    seen = _Seen()
    _share(index, run.source_id)

    def is_new(chunk_id: int) -> bool:
        return seen.first_time(chunk_id) and not _in_parent(index, run, chunk_id)

    for ids in new_ids:
        yield from _file_lines(index, f"{_files(with_atime)} AND f.id >= ? AND f.id < ?", ids, is_new)


_NO_END = 1 << 62

LINES_AT_ONCE = 1_024
"""Lines that are given out together."""


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


def _lines(index: Index, sql: str, params: tuple[int, ...]) -> Iterator[bytes]:
    """The lines that a query makes: SQLite formats them several times faster than Python could."""
    for (line,) in index.each(sql, params):
        yield line.encode()


def _hex(value: bytes) -> str:
    return f"X'{value.hex().upper()}'"


def _snapshot_lines(snapshot: SnapshotRow, problems: Iterable[Problem]) -> Iterator[bytes]:
    key, source = _hex(snapshot.id.bytes), _hex(snapshot.source.bytes)
    yield f"INSERT INTO snapshots VALUES ({key},{source},{snapshot.seq},{snapshot.started_at});\n".encode()
    for one in problems:
        path, detail = one.path[:PROBLEM_LIMIT], one.detail.encode("utf-8", "replace")[:PROBLEM_LIMIT]
        yield f"INSERT INTO problems VALUES ({key},{_hex(path)},{_hex(one.kind.encode())},{_hex(detail)});\n".encode()


def _share(index: Index, source_id: int) -> None:
    for sql in _SHARED:
        index.run(sql)
    index.run(_SHARED_RUNS, (source_id,))


def _has_atime(index: Index, run: Run, last_seq: int | None, first_id: int = 0, end_id: int = _NO_END) -> bool:
    """Whether any file of the run's source with that last sequence, and an id within the limits, has an access time."""
    return index.row(_WITH_ATIME, (run.source_id, last_seq, first_id, end_id)) is not None


def _files(with_atime: bool) -> str:
    return _FILES.format(more=_ATIME_LINE if with_atime else "")


def _file_lines(index: Index, files: str, params: tuple[int, ...], is_new: Callable[[int], bool]) -> Iterator[bytes]:
    """Lines of files, each after the lines of its chunks that the reader does not know yet: side by side the hash is
    written twice within a few hundred bytes, which zstd folds into one."""
    lines: list[str] = []  # encoded some at a time, which costs less
    for row_id, chunk_id, has_more, chunk_line, file_line in index.each(f"{files} ORDER BY f.id", params):
        if chunk_id is not None and is_new(chunk_id):
            lines.append(chunk_line)
        lines.append(file_line)
        if has_more:
            for one_id, new_chunk, content_line in index.each(_CONTENT, (row_id,)):
                lines += (new_chunk, content_line) if is_new(one_id) else (content_line,)
            lines += (line for (line,) in index.each(_XATTRS, (row_id,)))
        if len(lines) >= LINES_AT_ONCE:
            yield "".join(lines).encode()
            lines.clear()
    if lines:
        yield "".join(lines).encode()


def _in_parent(index: Index, run: Run, chunk_id: int) -> bool:
    """Whether the parent's export holds the chunk: some row that was live there has it."""
    rows = index.each(_ROWS_OF_CHUNK, (chunk_id, run.source_id, run.parent_seq))
    return any(row[0] >> COUNTER_BITS not in run.unpublished for row in rows)


def _uuid(prefix: str, row_id: str) -> str:
    """SQL for the literal of a row's UUID: what its run's prefix and its counter make."""
    return f"printf('X''%s%08X''', hex({prefix}), {row_id} & {COUNTER_MASK})"


_SOURCE = """
    SELECT printf('INSERT INTO sources VALUES (%s,%s,%s);\n', quote(uuid), quote(host), quote(CAST(name AS BLOB)))
    FROM sources WHERE id = ?"""

_BLOBS = """
    SELECT printf('INSERT INTO blobs VALUES (%s,%s,%s,%d,%d);\n', quote(b.uuid), quote(b.key_id), quote(b.hash),
    b.raw_size, b.stored_size)
    FROM snapshot_blobs t JOIN blobs b ON b.id = t.blob_id WHERE t.source_id = ? AND t.last_seq IS NULL"""

_DIRECTORIES = f"""
    SELECT printf('INSERT INTO directories VALUES (%s,%s,%s,%s);\n', {_uuid("r.prefix", "d.id")}, quote(s.uuid),
    CASE WHEN d.parent_id IS NULL THEN 'NULL' ELSE {_uuid("p.prefix", "d.parent_id")} END, quote(d.name))
    FROM directories d JOIN sources s ON s.id = d.source_id JOIN runs r ON r.no = d.id >> {COUNTER_BITS}
    LEFT JOIN runs p ON p.no = d.parent_id >> {COUNTER_BITS} WHERE d.source_id = ? AND d.last_seq IS NULL"""

# What many rows share is made into text once: literals of runs' UUIDs without their counters, and owners.
_SHARED = (
    "DROP TABLE IF EXISTS temp.dump_runs",
    "DROP TABLE IF EXISTS temp.dump_owners",
    "CREATE TEMP TABLE dump_runs (no INTEGER PRIMARY KEY, text TEXT, seq INTEGER)",
    "CREATE TEMP TABLE dump_owners (id INTEGER PRIMARY KEY, text TEXT)",
    """INSERT INTO temp.dump_owners SELECT id, printf('%d,%d,%s,%s', uid, gid, quote(user), quote("group")) FROM owners""",
)
_SHARED_RUNS = "INSERT INTO temp.dump_runs SELECT no, printf('X''%s', hex(prefix)), seq FROM runs WHERE source_id = ?"

# In the order of ids, whatever the planner thinks of the small tables: CROSS JOIN keeps it from turning the loops round.
_FILES = f"""
    SELECT f.id, f.chunk_id,
    (f.chunk_id IS NULL AND f.size > 0) OR EXISTS (SELECT 1 FROM xattrs x WHERE x.file_id = f.id),
    printf('INSERT INTO chunks VALUES (%s,%d,%s,%d);\n', quote(c.hash), c.size, quote(b.uuid), c.raw_offset),
    printf('INSERT INTO files VALUES (%s%08X'',%s%08X'',%s,%d,%d,%d,%s,%d,%d,%d,%d,%s,%s,%s,%d,NULL);\n',
    r.text, f.id & {COUNTER_MASK}, p.text, f.directory_id & {COUNTER_MASK}, quote(f.name), f.kind, f.size, f.mtime,
    quote(f.ctime), f.inode, f.device, f.nlink, f.mode, o.text, quote(c.hash),
    CASE WHEN coalesce(f.link_target, f.rdev, f.flags, f.btime, f.holes, f.changed) IS NULL
    THEN 'NULL,NULL,NULL,NULL,NULL,NULL' ELSE printf('%s,%s,%s,%s,%s,%s', quote(f.link_target), quote(f.rdev),
    quote(f.flags), quote(f.btime), quote(f.holes), quote(f.changed)) END, r.seq){{more}}
    FROM files f CROSS JOIN temp.dump_runs r ON r.no = f.id >> {COUNTER_BITS}
    CROSS JOIN temp.dump_runs p ON p.no = f.directory_id >> {COUNTER_BITS}
    CROSS JOIN temp.dump_owners o ON o.id = f.owner_id
    LEFT JOIN chunks c ON c.id = f.chunk_id LEFT JOIN blobs b ON b.id = c.blob_id WHERE f.last_seq IS NULL"""

_ATIME_LINE = f""" || CASE WHEN f.atime IS NULL THEN '' ELSE
    printf('INSERT INTO access_times VALUES (%s%08X'',%d);\n', r.text, f.id & {COUNTER_MASK}, f.atime) END"""

_WITH_ATIME = """
    SELECT 1 FROM files f INDEXED BY files_with_atime CROSS JOIN directories d ON d.id = f.directory_id
    WHERE f.atime IS NOT NULL AND d.source_id = ?1 AND f.last_seq IS ?2 AND f.id >= ?3 AND f.id < ?4 LIMIT 1"""

_CONTENT = f"""
    SELECT c.id,
    printf('INSERT INTO chunks VALUES (%s,%d,%s,%d);\n', quote(c.hash), c.size, quote(b.uuid), c.raw_offset),
    printf('INSERT INTO file_chunks VALUES (%s,%d,%s);\n', {_uuid("r.prefix", "t.file_id")}, t.idx, quote(c.hash))
    FROM file_chunks t JOIN chunks c ON c.id = t.chunk_id JOIN blobs b ON b.id = c.blob_id
    JOIN runs r ON r.no = t.file_id >> {COUNTER_BITS} WHERE t.file_id = ? ORDER BY t.idx"""

_XATTRS = f"""
    SELECT printf('INSERT INTO xattrs VALUES (%s,%s,%d,%s);\n', {_uuid("r.prefix", "x.file_id")}, quote(x.name), x.part,
    quote(x.value))
    FROM xattrs x JOIN runs r ON r.no = x.file_id >> {COUNTER_BITS} WHERE x.file_id = ? ORDER BY x.name, x.part"""

_CLOSED = f"""
    FROM files f JOIN directories d ON d.id = f.directory_id JOIN runs r ON r.no = f.id >> {COUNTER_BITS}
    WHERE f.last_seq = ?1 AND d.source_id = ?2"""

_CLOSED_FILES = f"""
    SELECT printf('DELETE FROM files WHERE id = %s;\n', {_uuid("r.prefix", "f.id")}) {_CLOSED} ORDER BY f.id"""

_CLOSED_CONTENT = f"""
    SELECT printf('DELETE FROM file_chunks WHERE file_id = %s;\n', {_uuid("r.prefix", "f.id")}) {_CLOSED}
    AND EXISTS (SELECT 1 FROM file_chunks t WHERE t.file_id = f.id) ORDER BY f.id"""

_CLOSED_XATTRS = f"""
    SELECT printf('DELETE FROM xattrs WHERE file_id = %s;\n', {_uuid("r.prefix", "f.id")}) {_CLOSED}
    AND EXISTS (SELECT 1 FROM xattrs x WHERE x.file_id = f.id) ORDER BY f.id"""

_CLOSED_ATIMES = f"""
    SELECT printf('DELETE FROM access_times WHERE file_id = %s;\n', {_uuid("r.prefix", "f.id")}) {_CLOSED}
    AND f.atime IS NOT NULL ORDER BY f.id"""

_CLOSED_DIRECTORIES = f"""
    SELECT printf('DELETE FROM directories WHERE id = %s;\n', {_uuid("r.prefix", "d.id")})
    FROM directories d JOIN runs r ON r.no = d.id >> {COUNTER_BITS}
    WHERE d.last_seq = ?1 AND d.source_id = ?2 ORDER BY d.id"""

_CLOSED_BLOBS = """
    SELECT printf('DELETE FROM blobs WHERE id = %s;\n', quote(b.uuid))
    FROM snapshot_blobs t JOIN blobs b ON b.id = t.blob_id WHERE t.last_seq = ?1 AND t.source_id = ?2 ORDER BY b.id"""

# In halves: joined to anything, the view of both would be made whole first.
_DEAD_CHUNKS = """
    SELECT printf('DELETE FROM chunks WHERE hash = %s;\n', quote(c.hash)) FROM chunks c WHERE c.id IN (
    SELECT f.chunk_id FROM files f JOIN directories d ON d.id = f.directory_id WHERE f.last_seq = ?1 AND d.source_id = ?2
    UNION SELECT t.chunk_id FROM files f JOIN directories d ON d.id = f.directory_id
    JOIN file_chunks t ON t.file_id = f.id WHERE f.last_seq = ?1 AND d.source_id = ?2)
    AND NOT EXISTS (SELECT 1 FROM files o JOIN directories e ON e.id = o.directory_id
    WHERE o.chunk_id = c.id AND o.last_seq IS NULL AND e.source_id = ?2)
    AND NOT EXISTS (SELECT 1 FROM file_chunks u JOIN files o ON o.id = u.file_id JOIN directories e ON e.id = o.directory_id
    WHERE u.chunk_id = c.id AND o.last_seq IS NULL AND e.source_id = ?2)"""

_ROWS_OF_CHUNK = """
    SELECT f.id FROM files f JOIN directories d ON d.id = f.directory_id
    WHERE f.chunk_id = ?1 AND d.source_id = ?2 AND (f.last_seq IS NULL OR f.last_seq = ?3)
    UNION ALL
    SELECT f.id FROM file_chunks t JOIN files f ON f.id = t.file_id JOIN directories d ON d.id = f.directory_id
    WHERE t.chunk_id = ?1 AND d.source_id = ?2 AND (f.last_seq IS NULL OR f.last_seq = ?3)"""
