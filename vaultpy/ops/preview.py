"""`snapshot create --dry-run`: what a run would find, without taking any of it.  Changes nothing anywhere."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vaultpy.config import Config, SourceConfig
from vaultpy.index.db import create_index, open_index
from vaultpy.index.live import LiveFile, Owners
from vaultpy.model import Problem
from vaultpy.ops.compare import Comparer, Found, Place
from vaultpy.ops.prepare import own_things
from vaultpy.source.roots import plan_roots
from vaultpy.source.walk import Folder, WalkOptions, walk
from vaultpy.state import load_host, state_paths
from vaultpy.store.open import open_store


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run over a source would find: numbers of paths, and the bytes that it would read."""

    source: str
    files: int
    new: int
    changed: int
    gone: int
    bytes_to_read: int
    problems: tuple[Problem, ...]


class _Counter:
    """A sink that takes nothing."""

    def __init__(self) -> None:
        self.new = self.changed_paths = self.gone = self.bytes = 0
        self._next = -1

    def put_directory(self, parent_id: int | None, name: bytes) -> int:
        self._next -= 1
        return self._next

    def changed(self, place: Place, old: LiveFile | None) -> None:
        if old is None:
            self.new += 1
        else:
            self.changed_paths += 1

    def changed_files(self, folder: Folder, directory_id: int, files: Sequence[Found]) -> None:
        for _name, found, old in files:
            self.new += old is None
            self.changed_paths += old is not None
            self.bytes += found.st_size

    def close_file(self, row_id: int) -> None:
        self.gone += 1

    def close_directory(self, row_id: int) -> None:
        """Its own row in its parent was counted."""

    def folder_done(self) -> None:
        """Nothing to harvest."""


def preview(config: Config, source: SourceConfig) -> Preview:
    """Compare a source with its index as it is; without an index everything is new."""
    paths = state_paths(config.state, config.path)
    host = load_host(paths, config.store_id)
    with tempfile.TemporaryDirectory(prefix="vaultpy-") as scratch:
        known = paths.index.exists() and host is not None
        index = open_index(paths.index, read_only=True) if known else create_index(Path(scratch) / "empty.sqlite")
        with index:
            row = index.row(
                "SELECT id FROM sources WHERE host = ? AND name = ?", (host.id.bytes if host else b"", source.name)
            )
            sink = _Counter()
            roots = plan_roots(source.paths, one_file_system=source.one_file_system)
            skip = own_things(paths, open_store(config.store))
            options = WalkOptions(source.exclude, source.exclude_caches, source.one_file_system, skip)
            owners = Owners(index, lambda uid, gid: (None, None))
            comparer = Comparer(index, row[0] if row else -1, owners, source.compare, ())
            tally = comparer.compare_all(walk(roots, options), sink)
            return Preview(
                source.name,
                tally.unchanged + sink.new + sink.changed_paths,
                sink.new,
                sink.changed_paths,
                sink.gone,
                sink.bytes,
                (*roots.problems, *tally.problems),
            )
