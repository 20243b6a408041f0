"""Dropping rows that no snapshot shows any more, so that the index does not grow for ever when another machine purges."""

from __future__ import annotations

from vaultpy.index.db import Index
from vaultpy.index.ids import COUNTER_BITS
from vaultpy.index.snapshots import last_complete_seq


def drop_unheld(index: Index) -> int:
    """Delete closed rows whose interval holds no snapshot, then what only they needed; returns the files' number.

    Call it after snapshots were forgotten, which only a listing that succeeded whole allows.
    """
    with index.transaction():
        _end_with_newest(index)
        index.run("CREATE TEMP TABLE unheld (id INTEGER PRIMARY KEY)")
        index.run(f"INSERT INTO unheld {_UNHELD_FILES}")
        index.run("CREATE TEMP TABLE loose (id INTEGER PRIMARY KEY)")
        index.run(
            "INSERT OR IGNORE INTO loose SELECT chunk_id FROM file_content WHERE file_id IN (SELECT id FROM unheld)"
        )
        dropped = index.run("DELETE FROM files WHERE id IN (SELECT id FROM unheld)")
        index.run(_DROP_CHUNKS)
        index.run(f"DELETE FROM directories WHERE last_seq IS NOT NULL AND {_NO_SNAPSHOT.format('directories')}")
        index.run(_DROP_SNAPSHOT_BLOBS)
        index.run(_DROP_BLOBS)
        index.run("DROP TABLE unheld")
        index.run("DROP TABLE loose")
    return dropped


def _end_with_newest(index: Index) -> None:
    """Let rows that closed with a snapshot which is forgotten end with the newest complete one that is left: what a dead
    run had closed is missing from the next snapshot, and so has to be in its export's difference to that one."""
    for (source_id,) in index.rows("SELECT id FROM sources"):
        newest = last_complete_seq(index, source_id)
        if newest is not None:
            for sql in _END_WITH_NEWEST:
                index.run(sql, (newest, source_id))


_BEGAN = f"EXISTS (SELECT 1 FROM runs r WHERE r.no = {{0}}.id >> {COUNTER_BITS} AND r.seq <= ?1)"

_END_WITH_NEWEST = (
    f"UPDATE files SET last_seq = ?1 WHERE last_seq > ?1 AND {_BEGAN.format('files')}"
    " AND directory_id IN (SELECT id FROM directories WHERE source_id = ?2)",
    f"UPDATE directories SET last_seq = ?1 WHERE last_seq > ?1 AND source_id = ?2 AND {_BEGAN.format('directories')}",
    "UPDATE snapshot_blobs SET last_seq = ?1 WHERE source_id = ?2 AND last_seq > ?1 AND first_seq <= ?1",
)

_NO_SNAPSHOT = f"""NOT EXISTS (
    SELECT 1 FROM runs r JOIN snapshots s ON s.source_id = r.source_id
    WHERE r.no = {{0}}.id >> {COUNTER_BITS} AND s.seq BETWEEN r.seq AND {{0}}.last_seq)"""

_UNHELD_FILES = f"SELECT id FROM files WHERE last_seq IS NOT NULL AND {_NO_SNAPSHOT.format('files')}"

_DROP_CHUNKS = """
    DELETE FROM chunks WHERE id IN (SELECT id FROM loose)
    AND NOT EXISTS (SELECT 1 FROM files f WHERE f.chunk_id = chunks.id)
    AND NOT EXISTS (SELECT 1 FROM file_chunks t WHERE t.chunk_id = chunks.id)"""

_DROP_SNAPSHOT_BLOBS = """
    DELETE FROM snapshot_blobs WHERE last_seq IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM snapshots s WHERE s.source_id = snapshot_blobs.source_id
    AND s.seq BETWEEN snapshot_blobs.first_seq AND snapshot_blobs.last_seq)"""

_DROP_BLOBS = """
    DELETE FROM blobs WHERE NOT EXISTS (SELECT 1 FROM chunks c WHERE c.blob_id = blobs.id)
    AND NOT EXISTS (SELECT 1 FROM snapshot_blobs t WHERE t.blob_id = blobs.id)"""
