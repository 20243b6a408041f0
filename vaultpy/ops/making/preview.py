"""`snapshot create --dry-run`: what a run would find, without taking any of it.  Changes nothing anywhere."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vaultpy.config import Config, SourceConfig
from vaultpy.index.db import create_index, open_index
from vaultpy.index.live import LiveFile, Owners
from vaultpy.model import Problem
from vaultpy.ops.making.compare import Comparer, Found, Place
from vaultpy.ops.making.prepare import own_things
from vaultpy.ops.making.scope import walk_options
from vaultpy.ops.making.vet import vet_roots
from vaultpy.source.filters import Decision
from vaultpy.source.listing import join
from vaultpy.source.roots import plan_roots, read_from
from vaultpy.source.walk import Folder, walk
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

    @property
    def exit_code(self) -> int:
        """3 where the snapshot would lack something that it should have, else 0."""
        return 3 if any(not one.kind.is_note for one in self.problems) else 0


@dataclass(frozen=True, slots=True)
class Decided:
    """Whether a path would be in the snapshot, and why: what is the matter with it, or what says so."""

    path: bytes
    wanted: bool
    reason: str


OnDecided = Callable[[Decided], None]


class _Counter:
    """A sink that takes nothing.  With `on_decided`, it says of every path of a folder what would become of it."""

    def __init__(self, on_decided: OnDecided | None) -> None:
        self.new = self.changed_paths = self.gone = self.bytes = 0
        self._next = -1
        self._on_decided = on_decided
        self._folder: Folder | None = None
        self._reasons: dict[bytes, str] = {}

    def put_directory(self, parent_id: int | None, name: bytes) -> int:
        self._next -= 1
        return self._next

    def changed(self, place: Place, old: LiveFile | None) -> None:
        self._count(place.name, old)

    def changed_files(self, folder: Folder, directory_id: int, files: Sequence[Found]) -> None:
        for name, found, old in files:
            self._count(name, old)
            self.bytes += found.st_size

    def close_file(self, row_id: int) -> None:
        self.gone += 1

    def close_directory(self, row_id: int) -> None:
        """Its own row in its parent was counted."""

    def folder_done(self) -> None:
        if self._on_decided is None or self._folder is None:
            return
        folder = self._folder
        itself = [b""] if folder.path == b"/" else []  # every other one is an entry of the folder above
        for name in (*itself, *(name for name, _ in folder.entries)):
            path = join(folder.path, name)
            self._on_decided(Decided(path, True, self._reasons.get(name, "unchanged")))
        for path in folder.left_out:
            self._on_decided(Decided(path, False, "vaultpy's own"))
        for problem in folder.problems:
            self._on_decided(Decided(problem.path, False, f"{problem.kind}: {problem.detail}"))
        self._reasons.clear()

    def follow(self, folders: Iterator[Folder]) -> Iterator[Folder]:
        """The folders, remembering which one is at hand."""
        for self._folder in folders:
            yield self._folder

    def hear(self, path: bytes, decision: Decision) -> None:
        """What the walk decides about a path of the folder that is listed next."""
        if decision.out and self._on_decided is not None:
            self._on_decided(Decided(path, False, decision.reason))
        elif not decision.out:
            self._reasons[path.rpartition(b"/")[2]] = f"taken back by {decision.reason}"

    def _count(self, name: bytes, old: LiveFile | None) -> None:
        self.new += old is None
        self.changed_paths += old is not None
        if self._on_decided is not None:
            told = self._reasons.get(name)
            self._reasons[name] = ("new" if old is None else "changed") + (f", {told}" if told else "")


def preview(config: Config, source: SourceConfig, on_decided: OnDecided | None = None) -> Preview:
    """Compare a source with its index as it is; without an index everything is new.

    `on_decided` hears of every path below the source's, and of those that lead to them, in the walk's order.
    """
    paths = state_paths(config.state, config.path)
    host = load_host(paths, config.store_id)
    with tempfile.TemporaryDirectory(prefix="vaultpy-") as scratch:
        known = paths.index.exists() and host is not None
        index = open_index(paths.index, read_only=True) if known else create_index(Path(scratch) / "empty.sqlite")
        with index:
            row = index.row(
                "SELECT id FROM sources WHERE host = ? AND name = ?", (host.id.bytes if host else b"", source.name)
            )
            source_id = row[0] if row else -1
            sink = _Counter(on_decided)
            place_of = read_from(source.read_from)
            roots = plan_roots(source.paths, one_file_system=source.one_file_system, place_of=place_of)
            skip = own_things(paths, open_store(config.store), place_of)
            options = walk_options(source, skip, sink.hear if on_decided is not None else None)
            owners = Owners(index, lambda uid, gid: (None, None))
            comparer = Comparer(index, source_id, owners, source.compare, ())
            tally = comparer.compare_all(sink.follow(walk(roots, options)), sink)
            return Preview(
                source.name,
                tally.unchanged + sink.new + sink.changed_paths,
                sink.new,
                sink.changed_paths,
                sink.gone,
                sink.bytes,
                (*roots.problems, *vet_roots(index, source_id, roots), *tally.problems),
            )
