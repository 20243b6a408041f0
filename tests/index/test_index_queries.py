"""The index's one connection: queries that somebody leaves in the middle."""

from __future__ import annotations

import gc
from pathlib import Path

from vaultpy.index.db import create_scratch


def test_a_query_left_in_the_middle_ends_quietly_after_its_index_was_closed(tmp_path: Path) -> None:
    """An operation that fails closes its index before Python forgets what was looked at; pytest makes what is then said on
    standard error a failure."""
    with create_scratch(tmp_path / "index") as index:
        left = index.each("SELECT 1 UNION SELECT 2")
        assert next(left) == (1,)
    del left
    gc.collect()
