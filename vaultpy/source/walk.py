"""Going through the paths of a source: one Folder per directory (several for a very large one), parents first, entries in
the order of their names.

The first folders are those that lead to the source's paths (`/` and `/home` for the path /home/anna), with only the
entries on the way.  So every path of a snapshot but `/` is an entry of exactly one folder.

What moves meanwhile is noted, never fatal.  The walk holds one directory's entries in memory, and of the directories
above it the subdirectories that are still to come.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vaultpy.errors import ReplacedError, SourceError, VanishedError
from vaultpy.model import Problem, ProblemKind
from vaultpy.source.descent import Descent
from vaultpy.source.failures import explain, to_problem
from vaultpy.source.filters import CACHE_TAG, Decision, Filter, compile_filter, is_cache
from vaultpy.source.ignore import Layer, read_ignore_files, verdict_within
from vaultpy.source.listing import Entry, Leave, Listing, OnDecision, by_name, join, keep_only, list_folder
from vaultpy.source.roots import Found, Roots
from vaultpy.source.sqlite import stat_journals
from vaultpy.source.statx import Statx
from vaultpy.units import format_size

NO_FD = -1
"""The descriptor of a folder that could not be opened.  The system refuses it everywhere."""


class Folder(NamedTuple):
    """One directory."""

    path: bytes
    """Absolute; longer than the kernel takes in a deep tree, so open things through `fd`."""
    fd: int
    """Valid until the next folder is asked for.  NO_FD (and no entries) where the directory could not be opened.  A
    folder above the source's paths that may be passed through but not read has one that only serves for lookups."""
    stat: os.stat_result
    entries: list[Entry]
    """What is in it, subdirectories too, without what is excluded."""
    problems: Sequence[Problem] = ()
    """What is in it and could not be looked at; or that it could not be opened, or listed to its end, itself."""
    left_out: Sequence[bytes] = ()
    """Paths of this program's own things (`WalkOptions.skip`): to be said aloud."""
    skipped: int = 0
    """Sockets and other things that hold nothing."""
    journals: Sequence[bytes] = ()
    """Names that a database's journal has, and that are left out."""
    more: bool = False
    """The same directory comes again, with names that come behind these: it is too large to be held at once."""


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """What to leave out.

    `exclude`: patterns (see `filters`).  `exclude_files`: names of files in the tree that hold such patterns (see
    `ignore`).  `exclude_if_present`: of a directory with something of such a name only that is kept; `exclude_caches`: of
    one with a valid CACHEDIR.TAG, only the tag.  `exclude_larger_than`: regular files of more bytes; `exclude_nodump`:
    what has that flag.  `one_file_system`: a directory where something else is mounted is an entry, and is not entered.
    `skip`: (device, inode) of files and directories that are left out whole.  `on_decision` hears of whatever all but the
    last leave out, and of what a pattern with `!` takes back.
    """

    exclude: tuple[str, ...] = ()
    exclude_caches: bool = False
    one_file_system: bool = False
    skip: frozenset[tuple[int, int]] = frozenset()
    exclude_files: tuple[bytes, ...] = ()
    exclude_if_present: tuple[bytes, ...] = ()
    exclude_larger_than: int | None = None
    exclude_nodump: bool = False
    on_decision: OnDecision | None = None


def walk(roots: Roots, options: WalkOptions) -> Iterator[Folder]:
    """All folders of a source; `roots` comes from `plan_roots`, whose problems are the caller's to note.

    Raises UsageError for a pattern that does not parse; the tree itself raises nothing.  Close the iterator, or exhaust
    it, to close its descriptors.
    """
    trees = [
        _plan_tree(path, roots.place_of(path), found, options)
        for path, found in roots.roots
        if stat.S_ISDIR(found.st_mode) and not _is_own(found, options)
    ]
    for ancestor in roots.ancestors:
        yield from _on_the_way(ancestor, roots, options)
    for tree in trees:
        yield from _walk_tree(tree)


_Layers = tuple[Layer, ...]


@dataclass(slots=True)
class _Tree:
    path: bytes
    place: bytes
    """Where it is read; the path is what it is called."""
    found: os.stat_result
    options: WalkOptions
    chosen: Filter | None
    leave: Leave
    """What every folder of it leaves out; what else a folder does lies in the patterns that are not for names alone."""
    statx: Statx = field(default_factory=Statx)
    device: int | None = None
    """What the root turned out to be on: it may be mounted only as we enter."""


def _plan_tree(path: bytes, place: bytes, found: os.stat_result, options: WalkOptions) -> _Tree:
    chosen = compile_filter(options.exclude, path)
    skip: dict[int, set[int]] = {}
    for device, inode in options.skip:
        skip.setdefault(inode, set()).add(device)
    leave = Leave(skip, on_decision=options.on_decision)
    if chosen is not None and chosen.is_plain:  # then it says the same in every folder
        leave = replace(leave, verdict=chosen.within(b""), plain=chosen.plain)
    return _Tree(path, place, found, options, chosen, leave)


def _on_the_way(ancestor: Found, roots: Roots, options: WalkOptions) -> Iterator[Folder]:
    """A folder above the source's paths, with the entries that lead to them."""
    path, found = ancestor
    below = [one for one in (*roots.ancestors, *roots.roots) if one[0] != b"/" and os.path.dirname(one[0]) == path]
    entries = [(os.path.basename(one), seen) for one, seen in below if not _is_own(seen, options)]
    left_out = [one for one, seen in below if _is_own(seen, options)]
    try:
        fd = _open_for_lookup(roots.place_of(path))
    except OSError as error:
        # Its own entry cannot be read anew; the way goes on, because what lies below is opened by its whole path.
        folders = sorted((one for one in entries if stat.S_ISDIR(one[1].st_mode)), key=by_name)
        yield Folder(path, NO_FD, found, folders, [Problem(path, ProblemKind.UNREADABLE, explain(error))])
        return
    try:
        files = [name for name, seen in entries if stat.S_ISREG(seen.st_mode)]
        journals = [name + suffix for name in files for suffix in stat_journals(fd, name)]
        yield Folder(path, fd, found, sorted(entries, key=by_name), left_out=left_out, journals=journals)
    finally:
        os.close(fd)


def _open_for_lookup(path: bytes) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # one that may be passed through and not be listed, as /home often is
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _walk_tree(tree: _Tree) -> Iterator[Folder]:
    # The path is one buffer that grows and shrinks: ten thousand levels would hold as many copies of it otherwise.
    here = bytearray()
    levels: list[tuple[int, list[Entry], _Layers]] = [(0, [(tree.path, tree.found)], ())]
    with Descent() as descent:
        while levels:
            length, directories, layers = levels[-1]
            del here[length:]
            if not directories:
                levels.pop()
                if levels:
                    descent.leave()
                continue
            entry = directories.pop()
            here += b"/" + entry[0] if len(levels) > 1 else entry[0].rstrip(b"/")
            below: list[Entry] = []
            inner = layers
            for folder, found, inside in _visit(tree, descent, bytes(here) or b"/", entry, layers):
                yield folder
                below += found
                inner = inside
            if folder.fd != NO_FD:
                below.reverse()
                levels.append((len(here), below, inner))


def _visit(
    tree: _Tree, descent: Descent, path: bytes, entry: Entry, layers: _Layers
) -> Iterator[tuple[Folder, list[Entry], _Layers]]:
    """The folder of that entry below where we are (in portions, if it is large), the directories in it that are to be
    entered, and the ignore files that hold for them; `layers` are those above it."""
    name, expected = entry
    try:
        fd, found = descent.enter(tree.place if path == tree.path else name)
    except SourceError as error:
        yield Folder(path, NO_FD, expected, [], [_not_entered(tree, path, error)]), [], ()
        return
    options = tree.options
    if tree.device is None:
        tree.device = found.st_dev
    elif options.one_file_system and found.st_dev != tree.device:
        yield Folder(path, fd, found, []), [], ()
        return
    problems: list[Problem] = []
    if options.exclude_files:
        own, problems = read_ignore_files(fd, options.exclude_files, path, _below(path, tree.path))
        layers += own
    if _replaced(expected, found):
        problems.append(Problem(path, ProblemKind.CHANGED, "another folder has the name since it was listed"))
    for one in _list(tree, fd, path, layers):
        problems = one.problems + problems
        folder = Folder(path, fd, found, one.entries, problems, one.left_out, one.skipped, one.journals, one.more)
        yield folder, _on_this_file_system(tree, path, one.directories), layers
        problems = []


def _list(tree: _Tree, fd: int, path: bytes, layers: _Layers) -> Iterator[Listing]:
    """What is wanted of an open directory."""
    options, leave = tree.options, tree.leave
    if layers or (tree.chosen is not None and leave.verdict is None):
        folder = _below(path, tree.path)
        verdict = verdict_within(tree.chosen.within(folder) if tree.chosen is not None else None, layers, folder)
        leave = replace(leave, verdict=verdict, plain=None)
    if options.exclude_larger_than is not None or options.exclude_nodump:
        leave = replace(leave, unwanted=_unwanted(tree, fd))
    listings = list_folder(fd, path, leave)
    marker = _marker(fd, options) if options.exclude_caches or options.exclude_if_present else None
    return listings if marker is None else _keep_only(listings, path, marker, options.on_decision)


def _keep_only(
    listings: Iterator[Listing], path: bytes, marker: tuple[bytes, str], on_decision: OnDecision | None
) -> Iterator[Listing]:
    for listing in listings:
        keep_only(listing, path, *marker, on_decision)
        yield listing


def _marker(fd: int, options: WalkOptions) -> tuple[bytes, str] | None:
    """The name in an open directory that says that the rest of it is not wanted, and how that is told."""
    if options.exclude_caches and is_cache(fd):
        return CACHE_TAG, "CACHEDIR.TAG is there"
    for name in options.exclude_if_present:
        try:
            os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            continue
        return name, f"{os.fsdecode(name)} is there"
    return None


def _unwanted(tree: _Tree, fd: int) -> Callable[[bytes, os.stat_result], str | None]:
    """What is left out for what it is, not for its name."""
    limit, nodump = tree.options.exclude_larger_than, tree.options.exclude_nodump

    def unwanted(name: bytes, found: os.stat_result) -> str | None:
        if limit is not None and found.st_size > limit and stat.S_ISREG(found.st_mode):
            return f"larger than {format_size(limit)}"
        if nodump and tree.statx.is_nodump(fd, name):
            return "nodump"
        return None

    return unwanted


def _on_this_file_system(tree: _Tree, path: bytes, directories: list[Entry]) -> list[Entry]:
    if not tree.options.one_file_system:
        return directories
    if tree.options.on_decision is not None:
        for name, found in directories:
            if found.st_dev != tree.device:
                # What is in it is out; it is an entry itself.
                tree.options.on_decision(join(path, name) + b"/", Decision(True, "another file system"))
    return [entry for entry in directories if entry[1].st_dev == tree.device]


def _not_entered(tree: _Tree, path: bytes, error: SourceError) -> Problem:
    if path == tree.path and isinstance(error, (VanishedError, ReplacedError)):
        return Problem(path, ProblemKind.MISSING, error.message)  # no note: all that the source names is gone
    return to_problem(path, error)


def _replaced(expected: os.stat_result, found: os.stat_result) -> bool:
    # Another device is no replacement: an automounter mounts what it has as soon as somebody enters.
    return expected.st_dev == found.st_dev and expected.st_ino != found.st_ino


def _below(path: bytes, root: bytes) -> bytes:
    return path[len(root.rstrip(b"/")) + 1 :]


def _is_own(found: os.stat_result, options: WalkOptions) -> bool:
    return (found.st_dev, found.st_ino) in options.skip
