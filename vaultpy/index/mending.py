"""An older snapshot's rows, as they are now: every path that it showed, and its chunks where they lie today.

A chunk has one home.  When its blob was lost and the source still had it, the chunk was stored anew, and every snapshot that
showed it could be restored again, if only its own export and manifest said where from.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Set
from pathlib import Path

from vaultpy.index.db import Index, create_scratch
from vaultpy.index.ids import COUNTER_BITS
from vaultpy.index.snapshots import last_complete_seq


@contextlib.contextmanager
def copied_moment(index: Index, source_id: int, seq: int, path: Path) -> Iterator[Index]:
    """A scratch index at `path` whose current rows are those that the snapshot of that sequence showed; gone afterwards."""
    try:
        with create_scratch(path) as scratch:
            index.run("ATTACH ? AS moment", (str(path),))
            try:
                with index.transaction():
                    for sql in _COPY:
                        index.run(sql, {"source": source_id, "seq": seq})
            finally:
                index.run("DETACH moment")
            yield scratch
    finally:
        path.unlink(missing_ok=True)


def blobs_needed(scratch: Index) -> set[int]:
    """The ids of the blobs that a copied moment needs."""
    return {row[0] for row in scratch.rows("SELECT blob_id FROM snapshot_blobs")}


def blobs_at(index: Index, source_id: int, seq: int) -> set[int]:
    """The ids of the blobs that the snapshot of that sequence names."""
    rows = index.rows(
        "SELECT blob_id FROM snapshot_blobs WHERE source_id = ?1 AND first_seq <= ?2"
        " AND (last_seq IS NULL OR last_seq >= ?2)",
        (source_id, seq),
    )
    return {row[0] for row in rows}


def replace_homes(index: Index, source_id: int, seq: int, wanted: Set[int]) -> None:
    """Let the snapshot of one sequence need these blobs and no others; in the caller's transaction.

    What holds for the sequences before and after it stays; after the source's newest snapshot there is only what its next
    run begins with, and that is what this one needs now.
    """
    is_newest = last_complete_seq(index, source_id) == seq
    named = blobs_at(index, source_id, seq)
    for blob_id in named - wanted:
        _leave_out(index, source_id, blob_id, seq, is_newest)
    index.run_many(
        "INSERT INTO snapshot_blobs (source_id, blob_id, first_seq, last_seq) VALUES (?, ?, ?, ?)",
        [(source_id, blob_id, seq, None if is_newest else seq) for blob_id in wanted - named],
    )


def _leave_out(index: Index, source_id: int, blob_id: int, seq: int, is_newest: bool) -> None:
    first, last = index.row(
        "SELECT first_seq, last_seq FROM snapshot_blobs WHERE source_id = ?1 AND blob_id = ?2 AND first_seq <= ?3"
        " AND (last_seq IS NULL OR last_seq >= ?3)",
        (source_id, blob_id, seq),
    )
    key = (source_id, blob_id, first)
    if first < seq:
        sql = "UPDATE snapshot_blobs SET last_seq = ? WHERE source_id = ? AND blob_id = ? AND first_seq = ?"
        index.run(sql, (seq - 1, *key))
    else:
        index.run("DELETE FROM snapshot_blobs WHERE source_id = ? AND blob_id = ? AND first_seq = ?", key)
    if not is_newest and (last is None or last > seq):
        index.run("INSERT INTO snapshot_blobs VALUES (?, ?, ?, ?)", (source_id, blob_id, seq + 1, last))


def is_news(index: Index, damaged: Set[bytes]) -> bool:
    """Whether `note_pass` was never called with these damaged objects, or some chunk has got another home since."""
    mark = index.value("SELECT value FROM meta WHERE key = 'mending'")
    if mark is None or mark[:32] != _digest(damaged):
        return True
    last_chunk, last_blob = int.from_bytes(mark[32:40], "big"), int.from_bytes(mark[40:], "big")
    return index.row("SELECT 1 FROM chunks WHERE blob_id > ? AND id <= ?", (last_blob, last_chunk)) is not None


def note_pass(index: Index, damaged: Set[bytes]) -> None:
    """Every snapshot was looked at that these damaged objects hurt: to look again is worth it only for news."""
    last_chunk = index.value("SELECT ifnull(max(id), 0) FROM chunks")
    last_blob = index.value("SELECT ifnull(max(id), 0) FROM blobs")
    mark = _digest(damaged) + last_chunk.to_bytes(8, "big") + last_blob.to_bytes(8, "big")
    with index.transaction():
        index.run("INSERT OR REPLACE INTO meta VALUES ('mending', ?)", (mark,))


def _digest(damaged: Set[bytes]) -> bytes:
    return hashlib.sha256(b"".join(len(one).to_bytes(1, "big") + one for one in sorted(damaged))).digest()


_LIVE = f"""JOIN runs r ON r.no = {{0}}.id >> {COUNTER_BITS}
    WHERE d.source_id = :source AND r.seq <= :seq AND ({{0}}.last_seq IS NULL OR {{0}}.last_seq >= :seq)"""

_FILE = (
    "id, directory_id, name, kind, size, mtime, ctime, inode, device, nlink, mode, owner_id, chunk_id, link_target, rdev,"
    " flags, btime, holes, changed, atime"
)

_COPY = (
    "INSERT INTO moment.sources SELECT * FROM main.sources WHERE id = :source",
    "INSERT INTO moment.runs SELECT * FROM main.runs WHERE source_id = :source",
    "INSERT INTO moment.owners SELECT * FROM main.owners",
    f"""INSERT INTO moment.directories (id, source_id, parent_id, name)
    SELECT d.id, d.source_id, d.parent_id, d.name FROM main.directories d {_LIVE.format("d")} ORDER BY d.id""",
    f"""INSERT INTO moment.files ({_FILE}) SELECT {", ".join(f"f.{one}" for one in _FILE.split(", "))}
    FROM main.files f JOIN main.directories d ON d.id = f.directory_id {_LIVE.format("f")} ORDER BY f.id""",
    "INSERT INTO moment.file_chunks SELECT t.* FROM moment.files f JOIN main.file_chunks t ON t.file_id = f.id",
    "INSERT INTO moment.xattrs SELECT x.* FROM moment.files f JOIN main.xattrs x ON x.file_id = f.id",
    """INSERT INTO moment.chunks SELECT * FROM main.chunks WHERE id IN (
    SELECT chunk_id FROM moment.files WHERE chunk_id IS NOT NULL UNION SELECT chunk_id FROM moment.file_chunks)""",
    "INSERT INTO moment.blobs SELECT * FROM main.blobs WHERE id IN (SELECT blob_id FROM moment.chunks)",
    "INSERT INTO moment.snapshot_blobs SELECT :source, id, :seq, NULL FROM moment.blobs",
)
