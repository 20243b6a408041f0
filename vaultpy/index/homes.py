"""Which blobs a source's newest snapshot needs: snapshot_blobs, kept by intervals like the files.

A blob belongs to a snapshot if it is the home of at least one chunk of a row live at its sequence.  When little changed,
only the blobs that the changes touch are looked at; when a chunk's home moved, all of the source is.
"""

from __future__ import annotations

from collections.abc import Iterable

import blake3

from vaultpy.index.db import Index
from vaultpy.index.ids import COUNTER_BITS
from vaultpy.index.runs import Run


def refresh_homes(index: Index, run: Run, *, whole: bool) -> None:
    """Bring the open rows of snapshot_blobs to what the source's current files need; in the caller's transaction."""
    open_now = {row[0] for row in _open_rows(index, run)}
    if whole:
        needed = {row[0] for row in index.rows(_ALL_HOMES, (run.source_id,))}
    else:
        touched = set[int]().union(*(_homes_of_run(index, no) for no in run.unpublished))
        leaving = {row[0] for row in index.rows(_HOMES_OF_CLOSED, (run.parent_seq, run.source_id))}
        unpublished_leaving = {
            row[0] for row in _open_rows(index, run) if run.parent_seq is None or row[1] > run.parent_seq
        }
        doubtful = (leaving | unpublished_leaving) & open_now
        needed = open_now | touched
        needed -= {blob_id for blob_id in doubtful - touched if not _still_needed(index, run, blob_id)}
    _open(index, run, needed - open_now)
    _close(index, run, open_now - needed)


def homes_at(index: Index, source_id: int, seq: int) -> list[tuple[bytes, int]]:
    """Hash and stored size of every blob that the snapshot of that sequence needs, in order of the hashes."""
    return index.rows(_HOMES_AT, (source_id, seq, seq))


def homes_digest(index: Index, source_id: int, seq: int) -> bytes:
    """The digest of what `homes_at` gives, of which 10 TB have 40 MB."""
    return digest_of(index.each(_HOMES_AT, (source_id, seq, seq)))


def digest_of(blobs: Iterable[tuple[bytes, int]]) -> bytes:
    """BLAKE3 over hashes and sizes, in their order."""
    digest = blake3.blake3()
    for hash, size in blobs:
        digest.update(hash + size.to_bytes(8, "big", signed=True))
    return digest.digest()


_HOMES_AT = """
    SELECT b.hash, b.stored_size FROM snapshot_blobs t JOIN blobs b ON b.id = t.blob_id
    WHERE t.source_id = ? AND t.first_seq <= ? AND (t.last_seq IS NULL OR t.last_seq >= ?) ORDER BY b.hash"""


def has_moved(index: Index, source_id: int, seq: int) -> bool:
    """Whether a chunk that the snapshot of that sequence needs has its home in a blob that the snapshot does not name: it
    was stored anew later, perhaps under another store key, and an old snapshot must not depend on that."""
    values = {"source": source_id, "seq": seq}
    if index.row(_UNNAMED, values) is None:
        return False  # there is no blob that a chunk could have moved to
    return any(index.row(sql, values) is not None for sql in (_MOVED_SMALL, _MOVED_LARGE))


def open_homes(index: Index, source_id: int) -> set[int]:
    """The ids of the blobs that the source's current files need, as last refreshed."""
    return {
        row[0]
        for row in index.rows(
            "SELECT blob_id FROM snapshot_blobs WHERE source_id = ? AND last_seq IS NULL", (source_id,)
        )
    }


def homeless(index: Index, run: Run, *, whole: bool) -> int:
    """How many chunks of current rows lie in no blob that snapshot_blobs lists (over the changes, or over everything).

    Anything but 0 means that the manifest about to be written would promise what it does not name.
    """
    if whole:
        return int(index.value(_HOMELESS, (run.source_id,)))
    # By ranges of ids, not through all directories of the source: a run looks at what it changed alone.
    ranges = [(no << COUNTER_BITS, no + 1 << COUNTER_BITS) for no in run.unpublished]
    return sum(int(index.value(_HOMELESS_OF_RUN, (run.source_id, *ids))) for ids in ranges)


def _open_rows(index: Index, run: Run) -> list[tuple[int, int]]:
    return index.rows(
        "SELECT blob_id, first_seq FROM snapshot_blobs WHERE source_id = ? AND last_seq IS NULL", (run.source_id,)
    )


def _homes_of_run(index: Index, no: int) -> set[int]:
    return {row[0] for row in index.rows(_HOMES_OF_RUN, (no << COUNTER_BITS, no + 1 << COUNTER_BITS) * 2)}


def _still_needed(index: Index, run: Run, blob_id: int) -> bool:
    # Nearly always the first chunk looked at is still in use, so this costs a lookup or two a blob.
    return any(index.row(sql, (blob_id, run.source_id)) is not None for sql in (_NEEDED_BY_SMALL, _NEEDED_BY_LARGE))


def _open(index: Index, run: Run, blob_ids: Iterable[int]) -> None:
    for blob_id in blob_ids:
        # A row that an unpublished run closed goes on: for the next snapshot the blob never left.
        reopened = index.run(
            "UPDATE snapshot_blobs SET last_seq = NULL WHERE source_id = ? AND blob_id = ? AND last_seq = ?",
            (run.source_id, blob_id, run.parent_seq),
        )
        if not reopened:
            index.run(
                "INSERT INTO snapshot_blobs (source_id, blob_id, first_seq) VALUES (?, ?, ?)",
                (run.source_id, blob_id, run.seq),
            )


def _close(index: Index, run: Run, blob_ids: Iterable[int]) -> None:
    parent = -1 if run.parent_seq is None else run.parent_seq
    index.run_many(
        "UPDATE snapshot_blobs SET last_seq = ? WHERE source_id = ? AND blob_id = ? AND last_seq IS NULL"
        " AND first_seq <= ?",
        [(parent, run.source_id, blob_id, parent) for blob_id in blob_ids],
    )
    # What is left was opened by a run that no snapshot shows.
    index.run_many(
        "DELETE FROM snapshot_blobs WHERE source_id = ? AND blob_id = ? AND last_seq IS NULL",
        [(run.source_id, blob_id) for blob_id in blob_ids],
    )


_ALL_HOMES = """
    SELECT c.blob_id FROM directories d JOIN files f ON f.directory_id = d.id JOIN chunks c ON c.id = f.chunk_id
    WHERE d.source_id = ?1 AND d.last_seq IS NULL AND f.last_seq IS NULL
    UNION
    SELECT c.blob_id FROM directories d JOIN files f ON f.directory_id = d.id JOIN file_chunks t ON t.file_id = f.id
    JOIN chunks c ON c.id = t.chunk_id WHERE d.source_id = ?1 AND d.last_seq IS NULL AND f.last_seq IS NULL"""

_HOMES_OF_RUN = """
    SELECT c.blob_id FROM files f JOIN chunks c ON c.id = f.chunk_id WHERE f.id >= ? AND f.id < ? AND f.last_seq IS NULL
    UNION
    SELECT c.blob_id FROM file_chunks t JOIN chunks c ON c.id = t.chunk_id JOIN files f ON f.id = t.file_id
    WHERE t.file_id >= ? AND t.file_id < ? AND f.last_seq IS NULL"""

_HOMES_OF_CLOSED = """
    SELECT c.blob_id FROM files f JOIN chunks c ON c.id = f.chunk_id JOIN directories d ON d.id = f.directory_id
    WHERE f.last_seq = ?1 AND d.source_id = ?2
    UNION
    SELECT c.blob_id FROM files f JOIN file_chunks t ON t.file_id = f.id JOIN chunks c ON c.id = t.chunk_id
    JOIN directories d ON d.id = f.directory_id WHERE f.last_seq = ?1 AND d.source_id = ?2"""

_NEEDED_BY_SMALL = """
    SELECT 1 FROM chunks c CROSS JOIN files f ON f.chunk_id = c.id JOIN directories d ON d.id = f.directory_id
    WHERE c.blob_id = ? AND f.last_seq IS NULL AND d.source_id = ? LIMIT 1"""

_NEEDED_BY_LARGE = """
    SELECT 1 FROM chunks c CROSS JOIN file_chunks t ON t.chunk_id = c.id JOIN files f ON f.id = t.file_id
    JOIN directories d ON d.id = f.directory_id WHERE c.blob_id = ? AND f.last_seq IS NULL AND d.source_id = ? LIMIT 1"""

_LISTED = """
    LEFT JOIN snapshot_blobs b ON b.blob_id = c.blob_id AND b.source_id = ?1 AND b.last_seq IS NULL
    WHERE d.source_id = ?1 AND f.last_seq IS NULL AND b.blob_id IS NULL"""

_HOMELESS = f"""
    SELECT count(*) FROM directories d JOIN files f ON f.directory_id = d.id JOIN file_content t ON t.file_id = f.id
    LEFT JOIN chunks c ON c.id = t.chunk_id {_LISTED}"""

# In halves: joined to anything, the view of both would be made whole first.
_HOMELESS_OF_RUN = f"""
    SELECT (SELECT count(*) FROM files f CROSS JOIN directories d ON d.id = f.directory_id
    LEFT JOIN chunks c ON c.id = f.chunk_id {_LISTED} AND f.chunk_id IS NOT NULL AND f.id >= ?2 AND f.id < ?3)
    + (SELECT count(*) FROM file_chunks t CROSS JOIN files f ON f.id = t.file_id
    CROSS JOIN directories d ON d.id = f.directory_id
    LEFT JOIN chunks c ON c.id = t.chunk_id {_LISTED} AND t.file_id >= ?2 AND t.file_id < ?3)"""

_NAMED = """
    (SELECT blob_id FROM snapshot_blobs WHERE source_id = :source AND first_seq <= :seq
    AND (last_seq IS NULL OR last_seq >= :seq))"""

_UNNAMED = f"SELECT 1 FROM blobs WHERE id NOT IN {_NAMED} LIMIT 1"

_MOVED = f"""
    SELECT 1 FROM directories d JOIN files f ON f.directory_id = d.id JOIN runs r ON r.no = f.id >> {{0}} {{1}}
    WHERE d.source_id = :source AND r.seq <= :seq AND (f.last_seq IS NULL OR f.last_seq >= :seq)
    AND c.blob_id NOT IN {_NAMED} LIMIT 1"""

_MOVED_SMALL = _MOVED.format(COUNTER_BITS, "JOIN chunks c ON c.id = f.chunk_id")

_MOVED_LARGE = _MOVED.format(COUNTER_BITS, "JOIN file_chunks t ON t.file_id = f.id JOIN chunks c ON c.id = t.chunk_id")
