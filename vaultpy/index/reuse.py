"""Which blobs may be reused, and which current rows stand on ones that may not (rule 3).

Reusable are the blobs of the newest complete snapshot of each source of this host and those that unpublished runs stored
since, of the store key in use, each seen by this run's own listing and named in no purge record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vaultpy.index.db import Index
from vaultpy.index.ids import COUNTER_BITS
from vaultpy.index.runs import Run
from vaultpy.index.snapshots import State
from vaultpy.model import BlobHash, KeyId


@dataclass(frozen=True, slots=True)
class Reuse:
    """Blob ids: `blobs` may be built on; `held` belong to the newest snapshot of some source of this host."""

    blobs: frozenset[int]
    held: frozenset[int]


def find_blobs(index: Index, listed: Iterable[tuple[BlobHash, int]]) -> set[int]:
    """The ids of those listed objects (hash, size) that the index knows as they are; others are nobody's business here."""
    found: set[int] = set()
    for hash, size in listed:
        row = index.row("SELECT id, stored_size FROM blobs WHERE hash = ?", (hash,))
        if row is not None and row[1] == size:
            found.add(row[0])
    return found


def find_ids(index: Index, hashes: Iterable[BlobHash]) -> set[int]:
    """The ids of those blobs that the index knows."""
    rows = (index.row("SELECT id FROM blobs WHERE hash = ?", (hash,)) for hash in hashes)
    return {row[0] for row in rows if row is not None}


def find_reuse(index: Index, key_id: KeyId, present: Collection[int]) -> Reuse:
    """What a run may build on; `present`: the blobs that were listed whole and that no purge record names."""
    held = {row[0] for row in index.rows(_HELD, (State.COMPLETE,))}
    ours = {row[0] for row in index.rows("SELECT id FROM blobs WHERE key_id = ?", (key_id.bytes,))}
    since = {row[0] for row in index.rows(_STORED_SINCE, (State.COMPLETE,))}
    return Reuse(frozenset((held | since) & ours & set(present)), frozenset(held))


def suspect_files(index: Index, run: Run, reusable: Collection[int]) -> set[int]:
    """Current rows of the run's source with a chunk whose home may not be reused: they are read again.

    Rows that the parent shows stand on blobs open in snapshot_blobs, or on ones that some run stored since, where a chunk
    has moved (a blob of a snapshot that is gone does not say when it was stored, so it may be one): so those blobs are
    looked at, not the rows.  Rows of unpublished runs, which may stand on any blob, are looked at one by one.  All of it
    costs what changed, not what is there.
    """
    suspects: set[int] = set()
    parent_seq = -1 if run.parent_seq is None else run.parent_seq
    for (blob_id,) in index.rows(_POSSIBLE_HOMES, (run.source_id, parent_seq)):
        if blob_id not in reusable:
            suspects.update(row[0] for row in index.rows(_FILES_ON_BLOB, (blob_id, run.source_id)))
    for no in run.unpublished:
        rows = index.each(_HOMES_OF_RUN, (no << COUNTER_BITS, no + 1 << COUNTER_BITS) * 2)
        suspects.update(row[0] for row in rows if row[1] not in reusable)
    return suspects


_POSSIBLE_HOMES = """
    SELECT blob_id FROM snapshot_blobs WHERE source_id = ? AND last_seq IS NULL
    UNION SELECT b.id FROM blobs b JOIN runs r ON r.no = b.run_no WHERE r.seq > ?
    UNION SELECT id FROM blobs WHERE run_no IS NULL"""

_HELD = """
    SELECT t.blob_id FROM snapshot_blobs t
    JOIN (SELECT source_id, max(seq) AS seq FROM snapshots WHERE state = ? GROUP BY source_id) n USING (source_id)
    WHERE t.first_seq <= n.seq AND (t.last_seq IS NULL OR t.last_seq >= n.seq)"""

_STORED_SINCE = """
    SELECT b.id FROM blobs b JOIN runs r ON r.no = b.run_no WHERE r.seq > ifnull(
    (SELECT max(seq) FROM snapshots s WHERE s.source_id = r.source_id AND s.state = ?), -1)"""

_FILES_ON_BLOB = """
    SELECT f.id FROM chunks c JOIN files f ON f.chunk_id = c.id JOIN directories d ON d.id = f.directory_id
    WHERE c.blob_id = ?1 AND f.last_seq IS NULL AND d.source_id = ?2
    UNION ALL
    SELECT f.id FROM chunks c JOIN file_chunks t ON t.chunk_id = c.id JOIN files f ON f.id = t.file_id
    JOIN directories d ON d.id = f.directory_id WHERE c.blob_id = ?1 AND f.last_seq IS NULL AND d.source_id = ?2"""

_HOMES_OF_RUN = """
    SELECT f.id, c.blob_id FROM files f JOIN chunks c ON c.id = f.chunk_id
    WHERE f.id >= ? AND f.id < ? AND f.last_seq IS NULL
    UNION ALL
    SELECT t.file_id, c.blob_id FROM file_chunks t JOIN chunks c ON c.id = t.chunk_id JOIN files f ON f.id = t.file_id
    WHERE t.file_id >= ? AND t.file_id < ? AND f.last_seq IS NULL"""
