"""What of a source's paths is walked: its settings as the walk takes them."""

from __future__ import annotations

import os

from vaultpy.config import SourceConfig
from vaultpy.source.listing import OnDecision
from vaultpy.source.walk import WalkOptions


def walk_options(
    source: SourceConfig, skip: frozenset[tuple[int, int]], on_decision: OnDecision | None = None
) -> WalkOptions:
    """`skip`: (device, inode) of the host's own things; `on_decision` hears what is left out, and why."""
    return WalkOptions(
        exclude=source.exclude,
        exclude_caches=source.exclude_caches,
        one_file_system=source.one_file_system,
        skip=skip,
        exclude_files=tuple(map(os.fsencode, source.exclude_files)),
        exclude_if_present=tuple(map(os.fsencode, source.exclude_if_present)),
        exclude_larger_than=source.exclude_larger_than,
        exclude_nodump=source.exclude_nodump,
        on_decision=on_decision,
    )
