"""Whether the paths of a source are what they were: an unmounted disk is unreadable, not "all deleted"."""

from __future__ import annotations

import os

from vaultpy.index.db import Index
from vaultpy.index.live import has_files, root_directory
from vaultpy.index.snapshots import complete_snapshot_at, get_problems, last_complete_seq
from vaultpy.model import Problem, ProblemKind
from vaultpy.source.roots import Roots

EMPTY_ROOT = (
    "empty, and was not at the last snapshot: is its disk mounted? (if this is right, take it out of the source)"
)


def vet_roots(index: Index, source_id: int, roots: Roots) -> list[Problem]:
    """Problems with roots that held files at the last snapshot and are empty now, and still are after it said so."""
    parent_seq = last_complete_seq(index, source_id)
    if parent_seq is None:
        return []
    parent = complete_snapshot_at(index, source_id, parent_seq)
    blamed = {one.path for one in get_problems(index, parent.id) if one.detail == EMPTY_ROOT}
    found = []
    for path, _ in roots.roots:
        if _is_empty_folder(roots.place_of(path)) and (path in blamed or _had_files(index, source_id, path)):
            found.append(Problem(path, ProblemKind.UNREADABLE, EMPTY_ROOT))
    return found


def _is_empty_folder(path: bytes) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is None
    except OSError:
        return False


def _had_files(index: Index, source_id: int, path: bytes) -> bool:
    directory_id = root_directory(index, source_id)
    for name in filter(None, path.split(b"/")):
        if directory_id is None:
            return False
        directory_id = index.value(
            "SELECT id FROM directories WHERE parent_id = ? AND name = ? AND last_seq IS NULL", (directory_id, name)
        )
    return directory_id is not None and has_files(index, directory_id)
