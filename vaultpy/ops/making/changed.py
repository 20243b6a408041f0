"""`--if-changed`: whether a source differs from its last complete snapshot."""

from __future__ import annotations

from vaultpy.index.db import Index
from vaultpy.index.homes import open_homes
from vaultpy.index.ids import COUNTER_BITS
from vaultpy.index.reuse import Reuse
from vaultpy.index.runs import Run


def has_changed(index: Index, run: Run, reuse: Reuse) -> bool:
    """True if a row came after, or ended with, the last complete snapshot, or that one names a blob that may not be built
    on (it is missing, marked, or of another key): then a new snapshot is what makes the source safe again."""
    if run.parent_seq is None or open_homes(index, run.source_id) - reuse.blobs:
        return True
    for no in run.unpublished:
        if index.row(_CAME, {"from": no << COUNTER_BITS, "to": no + 1 << COUNTER_BITS}) is not None:
            return True
    return index.row(_ENDED, {"seq": run.parent_seq, "source": run.source_id}) is not None


_CAME = """
    SELECT 1 FROM files WHERE id >= :from AND id < :to AND last_seq IS NULL
    UNION ALL SELECT 1 FROM directories WHERE id >= :from AND id < :to AND last_seq IS NULL LIMIT 1"""

_ENDED = """
    SELECT 1 FROM files f JOIN directories d ON d.id = f.directory_id WHERE f.last_seq = :seq AND d.source_id = :source
    UNION ALL SELECT 1 FROM directories WHERE last_seq = :seq AND source_id = :source LIMIT 1"""
