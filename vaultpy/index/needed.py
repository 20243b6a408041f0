"""What a restore needs of a snapshot, in the order in which it is used.

Nearly everything in a snapshot is a plain file of one chunk; such rows go straight from the index to who writes them, a
blob's worth at a time and in the order in which the blob holds them, so nothing of their number is ever held or sorted.
All else (folders, links, large files) is noted beforehand in temporary tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from vaultpy.errors import IndexChanged
from vaultpy.index.at import FILE_COLUMNS, FileAt, Moment
from vaultpy.index.ids import COUNTER_BITS
from vaultpy.model import BlobHash, ChunkPlace, Kind

PAGE = 1000
"""Chunks of a file that are read from the index at once."""


class PieceRow(NamedTuple):
    """A chunk that a file needs.

    `odd`: there is more to the file than what stands here.  `file_offset` is None for the only chunk of a file, else where
    the chunk begins in the file's data (which leaves holes out).  Rows come as bare tuples of this shape.
    """

    raw_offset: int
    size: int
    hash: bytes
    file_id: int
    directory_id: int
    name: bytes
    mode: int
    mtime: int
    owner_id: int
    odd: int
    file_offset: int | None


class NeededBlob(NamedTuple):
    """A blob of which chunks are needed."""

    id: int
    hash: BlobHash
    stored_size: int


def want_all(moment: Moment) -> None:
    """Want every file of the snapshot; then `settle`."""
    _want(moment, f"files f WHERE {_live(moment)}", plain=False)


def want_chosen(moment: Moment) -> None:
    """Want the files that were chosen (`at.choose_some`); then `settle`."""
    # CROSS: in that order, for what is chosen may be one file of a million.
    _want(moment, "temp.chosen k CROSS JOIN files f ON f.id = k.id WHERE 1", plain=True)


def leave_out(moment: Moment, file_ids: Iterable[int], *, right: bool = True) -> None:
    """These are not wanted any more, because they are `right` or to be left as they are; then `settle` anew."""
    moment.index.run_many("INSERT OR IGNORE INTO temp.done VALUES (?, ?)", ((id, right) for id in file_ids))


def settle(moment: Moment) -> None:
    """Note what is wanted and more than a plain file, for the functions below."""
    index = moment.index
    for table in ("others", "pieces"):
        index.run(f"DROP TABLE IF EXISTS temp.{table}")
    index.run("CREATE TEMP TABLE others (id INTEGER PRIMARY KEY, kind INTEGER)")
    index.run(_NOTE_OTHERS, {"file": Kind.FILE})
    index.run(_MAKE_PIECES)
    index.run(_NOTE_LARGE)
    if index.value("SELECT plain FROM temp.wanting"):
        index.run(_NOTE_SMALL)


class Present(NamedTuple):
    """What there is to know of a wanted path to compare it with what is there: see FileAt.  `chunk_id`: the one
    chunk that is all of it."""

    id: int
    directory_id: int
    name: bytes
    kind: int
    size: int
    mtime: int
    mode: int
    owner_id: int
    link_target: bytes | None
    rdev: int | None
    flags: int
    has_xattrs: int
    chunk_id: int | None
    atime: int | None
    leader: int


def wanted_paths(moment: Moment) -> Iterator[Present]:
    """Everything that is wanted but folders."""
    return map(Present._make, moment.index.each_in_peace(_PRESENT.format("wanted"), {"directory": Kind.DIRECTORY}))


def right_paths(moment: Moment) -> Iterator[Present]:
    """Everything but folders that should be as the snapshot has it, in the end."""
    return map(Present._make, moment.index.each_in_peace(_PRESENT.format("as_snapshot"), {"directory": Kind.DIRECTORY}))


class ChunkOf(NamedTuple):
    """A chunk of a file, in order: where in the file's data, where in which blob."""

    file_offset: int
    size: int
    hash: bytes
    blob_id: int
    raw_offset: int


def chunks_of(moment: Moment, file_id: int) -> Iterator[ChunkOf]:
    """The chunks of one file."""
    offset = 0
    for size, hash, blob_id, raw_offset, _ in _by_pages(moment, _CHUNKS_OF, file_id):
        yield ChunkOf(offset, size, hash, blob_id, raw_offset)
        offset += size


class StoredChunk(NamedTuple):
    """A chunk of a file, and the object that holds it."""

    place: ChunkPlace
    blob: BlobHash
    stored_size: int


def content_of(moment: Moment, file_id: int) -> Iterator[StoredChunk]:
    """What a file's data is made of, in order."""
    for hash, raw_offset, size, blob, stored_size, _ in _by_pages(moment, _CONTENT_OF, file_id):
        yield StoredChunk(ChunkPlace(hash, raw_offset, size), blob, stored_size)


def _by_pages(moment: Moment, sql: str, file_id: int) -> Iterator[Any]:
    """The chunks of one file by their `idx`, the last column: between two pages no lock is held, however long they are read."""
    rows, begin = list[Any](), 0
    while begin == 0 or len(rows) == PAGE:
        rows = moment.index.rows(sql, (file_id, begin, PAGE))
        yield from rows
        begin = rows[-1][-1] + 1 if rows else 1


def leader_of(moment: Moment, file_id: int) -> int:
    """The first of the hard-link group that a file is in; itself, where it is in none."""
    leader = moment.index.value("SELECT leader FROM temp.links WHERE id = ?", (file_id,))
    return file_id if leader is None else int(leader)


def chunk_hash(moment: Moment, chunk_id: int) -> bytes:
    """The hash of a chunk."""
    return bytes(_still(moment, moment.index.row("SELECT hash FROM chunks WHERE id = ?", (chunk_id,)))[0])


def drop_piece(moment: Moment, file_id: int, chunk: ChunkOf) -> None:
    """This piece of a large file is there already."""
    moment.index.run(
        "DELETE FROM temp.pieces WHERE blob_id = ? AND raw_offset = ? AND file_id = ? AND file_offset = ?",
        (chunk.blob_id, chunk.raw_offset, file_id, chunk.file_offset),
    )


def large_files(moment: Moment) -> Iterator[int]:
    """The wanted files of several chunks."""
    return (row[0] for row in moment.index.each_in_peace("SELECT DISTINCT file_id FROM temp.pieces WHERE NOT whole"))


def totals(moment: Moment) -> tuple[int, int]:
    """Number of the paths wanted, and bytes of those that are no second names.  (Two holes of 8 EiB are more than `sum`
    can say.)"""
    index = moment.index
    count, size = index.row("SELECT count(*), CAST(total(size) AS INTEGER) FROM temp.wanted")
    again = index.value(
        "SELECT CAST(total(f.size) AS INTEGER) FROM temp.links l JOIN files f ON f.id = l.id WHERE l.id <> l.leader"
    )
    return int(count), int(size - again)


def owners(moment: Moment) -> dict[int, tuple[int, int, bytes | None, bytes | None]]:
    """Every owner by its id: numbers and names of user and group.  A tree has few."""
    found = moment.index.rows('SELECT id, uid, gid, user, "group" FROM owners')
    return {row[0]: row[1:] for row in found}


def needed_blobs(moment: Moment) -> Iterator[NeededBlob]:
    """The blobs that hold what is wanted."""
    index = moment.index
    if index.value("SELECT plain FROM temp.wanting"):
        where = "b.id IN (SELECT blob_id FROM temp.pieces)"
    else:
        where = (
            f"b.id IN (SELECT blob_id FROM snapshot_blobs WHERE {_named(moment)} UNION SELECT blob_id FROM temp.pieces)"
        )
    for row in index.rows(f"SELECT b.id, b.hash, b.stored_size FROM blobs b WHERE {where} ORDER BY b.id"):
        yield NeededBlob(row[0], BlobHash(row[1]), row[2])


def pieces_in(moment: Moment, blob: NeededBlob) -> Iterator[tuple[Any, ...]]:
    """PieceRow tuples of the chunks that are needed of a blob, by their place in it."""
    sql = _PIECES if moment.index.value("SELECT plain FROM temp.wanting") else f"{_PLAIN} UNION ALL {_PIECES}"
    return moment.index.each_in_peace(f"{sql} ORDER BY 1", {"blob": blob.id})


def piece_count(moment: Moment, file_id: int) -> int:
    """How many pieces a large file has."""
    return int(moment.index.value("SELECT count(*) FROM file_chunks WHERE file_id = ?", (file_id,)))


def file_of(moment: Moment, file_id: int) -> FileAt:
    """One wanted file."""
    return FileAt._make(_still(moment, moment.index.row(f"{_WHOLE_ROW} WHERE f.id = ?", (file_id,))))


def folders_deepest_first(moment: Moment, depth: Callable[[int], int]) -> Iterator[FileAt]:
    """The folders that are wanted, each after those below it; `depth` tells how deep a directory lies."""
    index = moment.index
    index.run("DROP TABLE IF EXISTS temp.depths")
    index.run("CREATE TEMP TABLE depths (depth INTEGER, id INTEGER)")
    found = index.each(
        "SELECT f.directory_id, length(f.name), f.id FROM temp.others t JOIN files f ON f.id = t.id WHERE t.kind = ?",
        (Kind.DIRECTORY,),
    )
    index.run_many(
        "INSERT INTO temp.depths VALUES (?, ?)", ((depth(parent) + (length > 0), id) for parent, length, id in found)
    )
    sql = f"{_WHOLE_ROW} JOIN temp.depths d ON d.id = f.id ORDER BY d.depth DESC, f.directory_id"
    return map(FileAt._make, index.each_in_peace(sql))


def nodes(moment: Moment) -> Iterator[FileAt]:
    """What is wanted and has no content, but for folders and second names."""
    values = {"directory": Kind.DIRECTORY, "file": Kind.FILE}
    return map(FileAt._make, moment.index.each_in_peace(f"{_OTHER_ROW} {_WITHOUT_CONTENT} ORDER BY f.id", values))


def second_names(moment: Moment) -> Iterator[FileAt]:
    """The names in hard-link groups that are not the first."""
    return map(FileAt._make, moment.index.each_in_peace(f"{_OTHER_ROW} WHERE l.leader <> f.id ORDER BY f.id"))


def list_names(moment: Moment) -> None:
    """Note every name in every folder, for `names_in`."""
    index = moment.index
    index.run("DROP TABLE IF EXISTS temp.names")
    index.run(
        "CREATE TEMP TABLE names (directory_id INTEGER, name BLOB, PRIMARY KEY (directory_id, name)) WITHOUT ROWID"
    )
    index.run("INSERT OR IGNORE INTO temp.names SELECT directory_id, name FROM temp.meant ORDER BY 1, 2")


def names_in(moment: Moment, directory_id: int) -> set[bytes]:
    """The names that a folder should have; after `list_names`."""
    return {row[0] for row in moment.index.rows("SELECT name FROM temp.names WHERE directory_id = ?", (directory_id,))}


def flagged(moment: Moment) -> Iterator[FileAt]:
    """What has file flags, there already or not."""
    sql = f"{_WHOLE_ROW} WHERE f.flags AND f.id IN (SELECT id FROM temp.as_snapshot) ORDER BY f.id"
    return map(FileAt._make, moment.index.each_in_peace(sql))


def _still(moment: Moment, row: Any) -> Any:
    """A row that was there before.  Raises IndexChanged where it is no more."""
    if row is None:
        raise IndexChanged(f"index {moment.index.path} changed while it was read", hint="run it again")
    return row


def _want(moment: Moment, rows: str, *, plain: bool) -> None:
    """`plain`: note the files of one chunk, too; else they are found blob by blob."""
    index = moment.index
    for table in ("done", "links", "wanting"):
        index.run(f"DROP TABLE IF EXISTS temp.{table}")
    index.run("CREATE TEMP TABLE done (id INTEGER PRIMARY KEY, right INTEGER)")
    index.run("CREATE TEMP TABLE wanting AS SELECT ? AS plain", (int(plain),))
    views = {
        "meant": "",
        "wanted": "AND f.id NOT IN (SELECT id FROM temp.done)",
        "as_snapshot": "AND f.id NOT IN (SELECT id FROM temp.done WHERE NOT right)",
    }
    for name, where in views.items():
        index.run(f"DROP VIEW IF EXISTS temp.{name}")
        index.run(f"CREATE TEMP VIEW {name} AS SELECT f.* FROM {rows} {where}")
    # Once, of all: who leads a group must not hang on what is there already.
    index.run("CREATE TEMP TABLE links (id INTEGER PRIMARY KEY, leader INTEGER)")
    index.run(_NOTE_LINKS, {"directory": Kind.DIRECTORY})


def _live(moment: Moment) -> str:
    """Rows of `files` that are in the snapshot.  A run has one source, and its number is in the row's id."""
    seq = int(moment.seq)
    runs = f"SELECT no FROM runs WHERE source_id = {int(moment.source_id)} AND seq <= {seq}"
    return f"f.id >> {COUNTER_BITS} IN ({runs}) AND (f.last_seq IS NULL OR f.last_seq >= {seq})"


def _named(moment: Moment) -> str:
    seq = int(moment.seq)
    return f"source_id = {int(moment.source_id)} AND first_seq <= {seq} AND (last_seq IS NULL OR last_seq >= {seq})"


_NOTE_OTHERS = """
    INSERT INTO temp.others SELECT id, kind FROM temp.wanted WHERE kind <> :file OR chunk_id IS NULL OR nlink > 1"""

# A ctime that is not known (NULL) goes with the one that the rest of the group has: while a long run walks from one name
# of a young file to the next, the file grows old enough to be trusted.
_NOTE_LINKS = """
    INSERT INTO temp.links SELECT id, min(id) OVER (PARTITION BY device, inode, size, mtime, kind, chunk_id,
    link_target, chunks, ifnull(ctime, known)) AS leader FROM (
    SELECT *, max(ctime) OVER (PARTITION BY device, inode, size, mtime, kind, chunk_id, link_target, chunks) AS known FROM (
    SELECT f.*, (SELECT group_concat(t.chunk_id) FROM (SELECT chunk_id FROM file_chunks WHERE file_id = f.id
    ORDER BY idx) t) AS chunks
    FROM temp.wanted f WHERE f.nlink > 1 AND f.kind <> :directory))"""

_FIRST_NAME = "(f.nlink = 1 OR f.id NOT IN (SELECT id FROM temp.links WHERE leader <> id))"

_MAKE_PIECES = """
    CREATE TEMP TABLE pieces (blob_id INTEGER, raw_offset INTEGER, file_id INTEGER, file_offset INTEGER, chunk_id INTEGER,
    whole INTEGER, PRIMARY KEY (blob_id, raw_offset, file_id, file_offset)) WITHOUT ROWID"""

_NOTE_LARGE = f"""
    INSERT INTO temp.pieces SELECT blob_id, raw_offset, file_id, file_offset, chunk_id, 0 FROM (
    SELECT c.blob_id, c.raw_offset, t.file_id, t.chunk_id,
    sum(c.size) OVER (PARTITION BY t.file_id ORDER BY t.idx) - c.size AS file_offset
    FROM file_chunks t JOIN chunks c ON c.id = t.chunk_id
    WHERE t.file_id IN (SELECT f.id FROM temp.wanted f WHERE f.chunk_id IS NULL AND f.size > 0 AND {_FIRST_NAME}))
    ORDER BY blob_id, raw_offset"""

_NOTE_SMALL = f"""
    INSERT INTO temp.pieces SELECT c.blob_id, c.raw_offset, f.id, 0, c.id, 1
    FROM temp.wanted f JOIN chunks c ON c.id = f.chunk_id WHERE {_FIRST_NAME} ORDER BY c.blob_id, c.raw_offset"""

_ROW = """
    c.raw_offset, c.size, c.hash, f.id, f.directory_id, f.name, f.mode, f.mtime, f.owner_id,
    f.nlink > 1 OR f.holes IS NOT NULL OR f.atime IS NOT NULL
    OR EXISTS (SELECT 1 FROM xattrs x WHERE x.file_id = f.id)"""

_PLAIN = f"""
    SELECT {_ROW}, NULL FROM chunks c CROSS JOIN temp.wanted f ON f.chunk_id = c.id WHERE c.blob_id = :blob AND {_FIRST_NAME}"""

_PIECES = f"""
    SELECT {_ROW}, CASE WHEN p.whole THEN NULL ELSE p.file_offset END
    FROM temp.pieces p JOIN chunks c ON c.id = p.chunk_id JOIN files f ON f.id = p.file_id WHERE p.blob_id = :blob"""

_WHOLE_ROW = f"""
    SELECT {FILE_COLUMNS}, ifnull(l.leader, f.id) FROM files f JOIN owners o ON o.id = f.owner_id
    LEFT JOIN temp.links l ON l.id = f.id"""

_OTHER_ROW = f"""
    SELECT {FILE_COLUMNS}, ifnull(l.leader, f.id) FROM temp.others t CROSS JOIN files f ON f.id = t.id
    CROSS JOIN owners o ON o.id = f.owner_id LEFT JOIN temp.links l ON l.id = f.id"""

_WITHOUT_CONTENT = """
    WHERE ifnull(l.leader, f.id) = f.id AND (t.kind NOT IN (:file, :directory)
    OR t.kind = :file AND f.chunk_id IS NULL AND NOT EXISTS (SELECT 1 FROM file_chunks c WHERE c.file_id = f.id))"""

_PRESENT = """
    SELECT f.id, f.directory_id, f.name, f.kind, f.size, f.mtime, f.mode, f.owner_id, f.link_target, f.rdev,
    ifnull(f.flags, 0), EXISTS (SELECT 1 FROM xattrs x WHERE x.file_id = f.id),
    CASE WHEN f.holes IS NULL THEN f.chunk_id END, f.atime, ifnull(l.leader, f.id)
    FROM temp.{0} f LEFT JOIN temp.links l ON l.id = f.id WHERE f.kind <> :directory ORDER BY f.id"""

_CHUNKS_OF = """
    SELECT c.size, c.hash, c.blob_id, c.raw_offset, t.idx FROM file_chunks t JOIN chunks c ON c.id = t.chunk_id
    WHERE t.file_id = ? AND t.idx >= ? ORDER BY t.idx LIMIT ?"""

_CONTENT_OF = """
    SELECT c.hash, c.raw_offset, c.size, b.hash, b.stored_size, t.idx FROM file_content t JOIN chunks c ON c.id = t.chunk_id
    JOIN blobs b ON b.id = c.blob_id WHERE t.file_id = ? AND t.idx >= ? ORDER BY t.idx LIMIT ?"""
