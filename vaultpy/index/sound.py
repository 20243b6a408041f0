"""Whether rows that came from an export can be true: checked once after a chain was read, before anything is built on them."""

from __future__ import annotations

from vaultpy.errors import DamageError
from vaultpy.index.db import Index
from vaultpy.model import Kind, decode_holes


def check_sound(index: Index, source_id: int) -> None:
    """Raise DamageError unless the source's current rows are one tree, its chunks lie inside blobs and sizes add up."""
    index.run(_LEFT_OUT)
    _check_holes(index, source_id)
    for what, sql in _FAULTS:
        if index.row(sql, {"source": source_id, "file": Kind.FILE, "directory": Kind.DIRECTORY}) is not None:
            raise DamageError(f"export is not sound: {what}")


def leave_entries(index: Index, source_id: int) -> None:
    """From now on `check_sound` misses no directory's entry that is missing now: it was proven to be there, and left out."""
    index.run(_LEFT_OUT)
    index.run(f"INSERT INTO temp.left_entries {_WITHOUT_ENTRY}", {"source": source_id, "directory": Kind.DIRECTORY})


def _check_holes(index: Index, source_id: int) -> None:
    """Of a file with holes the chunks are what lies between them."""
    for size, holes, data in index.each(_WITH_HOLES, {"source": source_id, "file": Kind.FILE}):
        if sum(length for _, length in decode_holes(holes, size)) + data != size:
            raise DamageError("export is not sound: a file's holes and chunks do not add up to its size")


_LEFT_OUT = "CREATE TEMP TABLE IF NOT EXISTS left_entries (directory_id INTEGER NOT NULL, name BLOB NOT NULL)"

# Not by looking each up: they would be looked for among all that lies beside them.
_WITHOUT_ENTRY = """
    SELECT ifnull(parent_id, id), name FROM directories WHERE source_id = :source AND last_seq IS NULL
    EXCEPT SELECT directory_id, name FROM files WHERE kind = :directory AND last_seq IS NULL"""

_FILES = "directories d JOIN files f ON f.directory_id = d.id WHERE d.source_id = :source AND f.last_seq IS NULL"

_CHUNKS_SIZE = """
    CASE WHEN f.chunk_id IS NOT NULL THEN (SELECT c.size FROM chunks c WHERE c.id = f.chunk_id)
    ELSE (SELECT sum(c.size) FROM file_chunks t JOIN chunks c ON c.id = t.chunk_id WHERE t.file_id = f.id) END"""

_WITH_HOLES = f"""
    SELECT f.size, f.holes, ifnull({_CHUNKS_SIZE}, 0) FROM {_FILES} AND f.kind = :file AND f.holes IS NOT NULL"""

_FAULTS = (
    (
        "its directories are not one tree",
        """
        WITH RECURSIVE tree(id) AS (
            SELECT id FROM directories WHERE source_id = :source AND parent_id IS NULL AND last_seq IS NULL
            UNION SELECT d.id FROM directories d JOIN tree t ON d.parent_id = t.id
            WHERE d.last_seq IS NULL AND d.source_id = :source)
        SELECT 1 WHERE (SELECT count(*) FROM tree) <>
            (SELECT count(*) FROM directories WHERE source_id = :source AND last_seq IS NULL)
        UNION ALL
        SELECT 1 WHERE 1 < (SELECT count(*) FROM directories WHERE source_id = :source AND parent_id IS NULL
            AND last_seq IS NULL)""",
    ),
    ("a file lies in a directory that is gone", f"SELECT 1 FROM {_FILES} AND d.last_seq IS NOT NULL LIMIT 1"),
    (
        "a file lies in no directory",
        "SELECT 1 FROM files f WHERE f.last_seq IS NULL AND NOT EXISTS (SELECT 1 FROM directories d WHERE d.id ="
        " f.directory_id) LIMIT 1",
    ),
    (
        "a file has two current versions",
        f"SELECT 1 FROM {_FILES} GROUP BY f.directory_id, f.name HAVING count(*) > 1 LIMIT 1",
    ),
    (
        "a directory has no entry, or two, in its parent",
        f"{_WITHOUT_ENTRY} EXCEPT SELECT directory_id, name FROM temp.left_entries LIMIT 1",  # two were found above
    ),
    (
        "something but a directory stands for `/`",
        f"SELECT 1 FROM {_FILES} AND f.name = X'' AND (d.parent_id IS NOT NULL OR f.kind <> :directory) LIMIT 1",
    ),
    (
        "a chunk reaches beyond its blob",
        "SELECT 1 FROM chunks c JOIN blobs b ON b.id = c.blob_id WHERE c.raw_offset + c.size > b.raw_size LIMIT 1",
    ),
    (
        "a file's chunks do not add up to its size",
        f"""SELECT 1 FROM {_FILES} AND f.kind = :file AND f.holes IS NULL AND f.size <> ifnull(
            CASE WHEN f.size = 0 AND f.chunk_id IS NULL THEN 0 ELSE {_CHUNKS_SIZE} END, -1)
        LIMIT 1""",
    ),
    (
        "a file's chunks are not in a row",
        f"""SELECT 1 FROM {_FILES} AND f.kind = :file AND f.chunk_id IS NULL AND f.size > 0 AND
            (SELECT max(t.idx) + 1 FROM file_chunks t WHERE t.file_id = f.id) <>
            (SELECT count(*) FROM file_chunks t WHERE t.file_id = f.id) LIMIT 1""",
    ),
    (
        "something but a file has content",
        f"SELECT 1 FROM {_FILES} AND f.kind <> :file"
        " AND (f.size <> 0 OR f.chunk_id IS NOT NULL OR f.holes IS NOT NULL) LIMIT 1",
    ),
    (
        "a current chunk lies in a blob that the snapshot does not name",
        f"""SELECT 1 FROM (SELECT f.id AS file_id, f.chunk_id AS one FROM {_FILES} AND f.kind = :file) x
            JOIN file_content t ON t.file_id = x.file_id LEFT JOIN chunks c ON c.id = t.chunk_id
            LEFT JOIN snapshot_blobs b ON b.blob_id = c.blob_id AND b.source_id = :source AND b.last_seq IS NULL
            WHERE b.blob_id IS NULL LIMIT 1""",
    ),
)
