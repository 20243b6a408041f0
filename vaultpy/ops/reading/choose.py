"""Which paths of a snapshot are meant: absolute paths and globs, against the tree that the rows make."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from vaultpy.errors import UsageError
from vaultpy.index.at import Moment, choose_all, choose_some, directories_at, names_at, names_of

_GLOB = re.compile(rb"[*?\[]")

FEW = 1000
"""Directories in which files are looked up one by one; for more, all files are looked through."""

Place = tuple[int, bytes]
"""Where the row of a path is: in which directory, under which name (`/` itself: in itself, under none)."""


@dataclass(slots=True)
class Tree:
    """The directories of a snapshot: id → parent's id and name.  Held in memory: some 150 bytes each."""

    parents: dict[int, tuple[int | None, bytes]]
    _last: tuple[int, tuple[bytes, ...]] | None = field(default=None)

    def parts(self, directory_id: int) -> tuple[bytes, ...]:
        """The names that lead to a directory from `/`."""
        if self._last is not None and self._last[0] == directory_id:
            return self._last[1]
        names: list[bytes] = []
        at: int | None = directory_id
        while at is not None:
            at, name = self.parents[at]
            names.append(name)
        parts = tuple(reversed(names[:-1]))
        self._last = (directory_id, parts)
        return parts

    def depth(self, directory_id: int) -> int:
        """How many names lead to a directory from `/`."""
        return len(self.parts(directory_id))

    def path(self, directory_id: int, name: bytes) -> bytes:
        """The absolute path of a name in a directory; of `/` itself for its empty name."""
        return b"/" + b"/".join((*self.parts(directory_id), name) if name else self.parts(directory_id))

    def place(self, directory_id: int) -> Place:
        """Where a directory's own row is."""
        parent_id, name = self.parents[directory_id]
        return (directory_id if parent_id is None else parent_id), name

    def places(self, paths: Sequence[bytes]) -> list[Place | None]:
        """Where the rows of absolute paths would be; None for those in directories that are not there."""
        children = {(parent_id, name): id for id, (parent_id, name) in self.parents.items()} if paths else {}
        root = next((id for id, (parent_id, _) in self.parents.items() if parent_id is None), None)
        return [None if root is None else self._walk(children, root, path) for path in paths]

    def _walk(self, children: Mapping[tuple[int | None, bytes], int], root: int, path: bytes) -> Place | None:
        *above, name = path.split(b"/")[1:]
        at: int | None = root
        for part in above:
            at = children.get((at, part)) if at is not None else None
        return None if at is None else (at, name)

    def in_order(self) -> Iterator[int]:
        """The directories, each before those in it, and those by name."""
        below: dict[int | None, list[tuple[bytes, int]]] = {}
        for directory_id, (parent_id, name) in self.parents.items():
            below.setdefault(parent_id, []).append((name, directory_id))
        waiting = [directory_id for _, directory_id in below.get(None, [])]
        while waiting:
            directory_id = waiting.pop()
            yield directory_id
            waiting += [child for _, child in sorted(below.get(directory_id, []), reverse=True)]


def read_tree(moment: Moment) -> Tree:
    """The directories of a snapshot."""
    return Tree({row[0]: (row[1], row[2]) for row in directories_at(moment)})


def choose(moment: Moment, tree: Tree, paths: Sequence[bytes]) -> int:
    """Choose what the paths name (everything without any), the folders that lead there included; returns how many.

    A path is absolute; a folder stands for all below it; `*` and `?` in a glob match slashes, too, as in `find -path`.
    Raises UsageError for a path that names nothing in the snapshot.
    """
    if not paths:
        return choose_all(moment)
    chosen, needed = _match(moment, tree, paths)
    return choose_some(moment, chain(chosen, _leading_to(moment, tree, needed)))


def choose_below(moment: Moment, tree: Tree, paths: Sequence[bytes]) -> int:
    """As `choose`, without the folders that only lead there."""
    return choose_some(moment, _match(moment, tree, paths)[0]) if paths else choose_all(moment)


def is_glob(path: bytes) -> bool:
    """Whether a path means more than itself."""
    return _GLOB.search(path) is not None


class _Glob:
    def __init__(self, path: bytes) -> None:
        regex = fnmatch.translate(_joined(path).decode("latin-1"))
        self._regex = re.compile(regex.encode("latin-1"))
        self.used = False

    def matches(self, path: bytes) -> bool:
        """Whether the path itself is meant (what is below it follows from that)."""
        found = self._regex.match(path) is not None
        self.used = self.used or found
        return found


def _joined(path: bytes) -> bytes:
    if not path.startswith(b"/"):
        raise UsageError(
            f"path '{os.fsdecode(path)}': not absolute",
            hint="give it as it was on the machine it comes from; '/*NAME*' finds a part of a name anywhere",
        )
    return b"/" + b"/".join(part for part in path.split(b"/") if part)


def _match(moment: Moment, tree: Tree, paths: Sequence[bytes]) -> tuple[list[int], set[int]]:
    """Ids of the files that are meant, and of the folders that they lie in."""
    globs = {path: _Glob(path) for path in paths if is_glob(path)}
    found = tree.places([_joined(path) for path in paths if path not in globs])
    plain = dict(zip((path for path in paths if path not in globs), found, strict=True))
    places = {place for place in found if place is not None}
    # Each is asked about each, also inside of what another means, so that all know whether they found anything.
    used: set[Place] = set()
    inside: set[int] = set()
    for directory_id, (parent_id, _) in tree.parents.items():  # parents before children
        place = tree.place(directory_id)
        if place in places:
            used.add(place)
        elif not _any(globs, tree, place) and parent_id not in inside:
            continue
        inside.add(directory_id)
    needed: set[int] = set(inside)
    chosen: list[int] = []
    for file_id, directory_id, name in _names(moment, None if globs else inside.union(at for at, _ in places)):
        place = directory_id, name
        if place in places:
            used.add(place)
        elif not _any(globs, tree, place) and directory_id not in inside:
            continue
        chosen.append(file_id)
        needed.add(directory_id)
    for path in paths:
        if not (globs[path].used if path in globs else plain[path] in used):
            raise UsageError(
                f"path '{os.fsdecode(path)}': the snapshot has nothing of that name",
                hint="`vaultpy snapshot ls SNAPSHOT '/*NAME*'` finds a part of a name anywhere",
            )
    return chosen, needed


def _names(moment: Moment, directories: set[int] | None) -> Iterator[tuple[int, int, bytes]]:
    """The files of the snapshot, of which those in `directories` are needed (None: all)."""
    return names_at(moment) if directories is None or len(directories) > FEW else names_of(moment, directories)


def _any(globs: Mapping[bytes, _Glob], tree: Tree, place: Place) -> bool:
    if not globs:
        return False
    path = tree.path(*place)
    return sum(one.matches(path) for one in globs.values()) > 0


def _leading_to(moment: Moment, tree: Tree, needed: set[int]) -> list[int]:
    """Ids of the rows of all folders on the way to `needed`, by the names that their parents have for them."""
    wanted: set[Place] = set()
    for directory_id in needed:
        at: int | None = directory_id
        while at is not None and (place := tree.place(at)) not in wanted:
            wanted.add(place)
            at = tree.parents[at][0]
    found = _names(moment, {directory_id for directory_id, _ in wanted})
    return [file_id for file_id, directory_id, name in found if (directory_id, name) in wanted]
