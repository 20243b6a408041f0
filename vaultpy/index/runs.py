"""Runs: attempts at a snapshot of one source, and how rows end with the last complete one before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

from vaultpy.index.db import Index
from vaultpy.index.ids import COUNTER_BITS, COUNTER_MASK, RowId, make_prefix
from vaultpy.index.snapshots import State, last_complete_seq
from vaultpy.model import SnapshotId


@dataclass(slots=True)
class Run:
    """One attempt at a snapshot of one source.

    `parent_seq` is the last complete sequence of the source (None: there is none); a row that closes gets it as its
    last.  `unpublished` holds the numbers of this and earlier runs after that: no snapshot shows their rows, so such a row
    is deleted instead of closed.
    """

    no: int
    source_id: int
    seq: int
    parent_seq: int | None
    unpublished: frozenset[int]
    next_counter: int = 0

    def new_id(self) -> RowId:
        return self.new_ids(1)

    def new_ids(self, count: int) -> RowId:
        """The first of so many ids in a row."""
        first = self.next_counter
        if first + count > COUNTER_MASK + 1:
            raise OverflowError("a run cannot have more than 2^32 rows")
        self.next_counter = first + count
        return RowId(self.no << COUNTER_BITS | first)


def begin_run(index: Index, source_id: int, now_ms: int, random: Callable[[int], bytes]) -> Run:
    """Start an attempt at a snapshot.  Its sequence is above every earlier one of this host, whatever the clock says."""
    with index.transaction():
        last = index.value("SELECT max(seq) FROM (SELECT seq FROM runs UNION ALL SELECT seq FROM snapshots)")
        seq = max((last or 0) + 1, now_ms)
        no = index.value(
            "INSERT INTO runs (source_id, seq, prefix) VALUES (?, ?, ?) RETURNING no",
            (source_id, seq, make_prefix(seq, random)),
        )
    return resume_run(index, no)


def resume_run(index: Index, no: int) -> Run:
    """The run as the index has it now: after its snapshot was looked at again, or became the last complete one."""
    source_id, seq, next_id = index.row("SELECT source_id, seq, next_id FROM runs WHERE no = ?", (no,))
    parent_seq = last_complete_seq(index, source_id, before=seq)
    rows = index.rows(
        "SELECT no FROM runs WHERE source_id = ? AND seq > ?", (source_id, -1 if parent_seq is None else parent_seq)
    )
    return Run(no, source_id, seq, parent_seq, frozenset(row[0] for row in rows), next_id)


def find_unmended(index: Index, source_id: int) -> tuple[Run, SnapshotId] | None:
    """The last run of a source, if its snapshot was published and found wanting, and none mends it yet: it is to be gone
    on with, for what a snapshot lacks is stored anew under its own sequence."""
    row = index.row(
        _UNMENDED, {"source": source_id, "unclean": State.UNCLEAN, "partial": State.PARTIAL, "full": COUNTER_MASK}
    )
    return None if row is None else (resume_run(index, row[0]), SnapshotId(UUID(bytes=row[1])))


_UNMENDED = """
    SELECT r.no, s.id FROM runs r JOIN snapshots s ON s.source_id = r.source_id AND s.seq = r.seq
    WHERE r.source_id = :source AND r.seq = (SELECT max(seq) FROM runs WHERE source_id = :source) AND r.next_id <= :full
    AND s.state = :unclean AND s.id = (
        SELECT max(id) FROM snapshots WHERE source_id = :source AND seq = r.seq AND state <> :partial)"""


def close_rows(index: Index, run: Run, table: str, ids: Iterable[int]) -> None:
    """End rows with the last complete snapshot; those that no snapshot ever showed are deleted."""
    closed: list[tuple[int, int]] = []
    deleted: list[tuple[int]] = []
    for row_id in ids:
        if row_id >> COUNTER_BITS in run.unpublished:
            deleted.append((row_id,))
        else:
            assert run.parent_seq is not None
            closed.append((run.parent_seq, row_id))
    index.run_many(f"UPDATE {table} SET last_seq = ? WHERE id = ? AND last_seq IS NULL", closed)
    index.run_many(f"DELETE FROM {table} WHERE id = ?", deleted)


def close_tree(index: Index, run: Run, directory_id: int) -> None:
    """End a directory and every current row below it (not its own row in `files`, which its parent's listing closes)."""
    below = [
        row[0]
        for row in index.rows(
            "WITH RECURSIVE tree(id) AS (VALUES (?) UNION ALL SELECT d.id FROM directories d JOIN tree t"
            " ON d.parent_id = t.id WHERE d.last_seq IS NULL) SELECT id FROM tree",
            (directory_id,),
        )
    ]
    unpublished = sorted(run.unpublished)
    delete = f"DELETE FROM files {_CURRENT_IN} AND id >> {COUNTER_BITS} IN ({','.join('?' * len(unpublished))})"
    for one in below:  # by one statement each: it can be a million files
        index.run(delete, (one, *unpublished))
        # What is left some snapshot has shown; before the first there is nothing left.
        index.run(f"UPDATE files SET last_seq = ?2 {_CURRENT_IN}", (one, run.parent_seq))
    close_rows(index, run, "directories", below)


_CURRENT_IN = "WHERE directory_id = ?1 AND last_seq IS NULL"


def note_move(index: Index, seq: int) -> None:
    """A chunk that a newest snapshot shows got another home at that sequence: no later export may build on an earlier one,
    because exports say nothing about chunks that merely moved.  In the caller's transaction."""
    index.run("INSERT OR REPLACE INTO meta VALUES ('moved', ?)", (seq.to_bytes(8, "big"),))


def last_move(index: Index) -> int:
    """The sequence at which `note_move` was last called; -1 if never."""
    value = index.value("SELECT value FROM meta WHERE key = 'moved'")
    return -1 if value is None else int.from_bytes(value, "big")
