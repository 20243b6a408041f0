"""Which paths of a snapshot are meant: absolute paths and globs, against the tree that the rows make."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from vaultpy.errors import UsageError
from vaultpy.index.at import Moment, choose_all, choose_some, directories_at, names_at

_GLOB = re.compile(rb"[*?\[]")


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


class _Pattern:
    def __init__(self, path: bytes) -> None:
        self.text = os.fsdecode(path)
        if not path.startswith(b"/"):
            raise UsageError(
                f"path {self.text!r}: not absolute",
                hint="give it as it was on the machine it comes from; '/*NAME*' finds a part of a name anywhere",
            )
        plain = b"/" + b"/".join(part for part in path.split(b"/") if part)
        regex = fnmatch.translate(plain.decode("latin-1")) if _GLOB.search(plain) else None
        self._regex = re.compile(regex.encode("latin-1")) if regex else None
        self._plain = plain
        self.used = False

    def matches(self, path: bytes) -> bool:
        """Whether the path itself is meant (what is below it follows from that)."""
        found = self._regex.match(path) is not None if self._regex else path == self._plain
        self.used = self.used or found
        return found


def _match(moment: Moment, tree: Tree, paths: Sequence[bytes]) -> tuple[list[int], set[int]]:
    """Ids of the files that are meant, and of the folders that they lie in."""
    patterns = [_Pattern(path) for path in paths]
    inside: set[int] = set()
    for directory_id in tree.parents:  # parents before children
        parent_id, name = tree.parents[directory_id]
        path = b"/" if parent_id is None else tree.path(parent_id, name)
        if parent_id in inside or _any(patterns, path):
            inside.add(directory_id)
    needed: set[int] = set(inside)
    chosen: list[int] = []
    for file_id, directory_id, name in names_at(moment):
        if directory_id in inside or _any(patterns, tree.path(directory_id, name)):
            chosen.append(file_id)
            needed.add(directory_id)
    unused = [one.text for one in patterns if not one.used]
    if unused:
        raise UsageError(
            f"path {unused[0]!r}: the snapshot has nothing of that name",
            hint="`vaultpy snapshot ls SNAPSHOT '/*NAME*'` finds a part of a name anywhere",
        )
    return chosen, needed


def _any(patterns: Sequence[_Pattern], path: bytes) -> bool:
    # Every pattern is asked, so that each knows whether it found anything.
    return sum(one.matches(path) for one in patterns) > 0


def _leading_to(moment: Moment, tree: Tree, needed: set[int]) -> Iterator[int]:
    """Ids of the rows of all folders on the way to `needed`, by the names that their parents have for them."""
    wanted: set[tuple[int, bytes]] = set()
    for directory_id in needed:
        at: int | None = directory_id
        while at is not None:
            parent_id, name = tree.parents[at]
            key = (at if parent_id is None else parent_id, name)
            if key in wanted:
                break
            wanted.add(key)
            at = parent_id
    for file_id, directory_id, name in names_at(moment):
        if (directory_id, name) in wanted:
            yield file_id
