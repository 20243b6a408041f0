"""The paths that a source names: normalised, looked at once, and the folders that lead to them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vaultpy.errors import SourceError, UsageError
from vaultpy.model import Problem, ProblemKind
from vaultpy.source.failures import explain, translate

Found = tuple[bytes, os.stat_result]
"""An absolute path and what is there."""

PlaceOf = Callable[[bytes], bytes]
"""Where a path is read: itself, or its place in a copy of the tree, as in a snapshot of the file system."""


def itself(path: bytes) -> bytes:
    """Every path is read where it is."""
    return path


def read_from(places: Sequence[tuple[bytes, bytes]]) -> PlaceOf:
    """What lies below the first path of a pair is read below the second; the longest first path that fits decides."""
    if not places:
        return itself
    longest_first = sorted(places, key=lambda pair: -len(pair[0]))

    def place_of(path: bytes) -> bytes:
        for live, place in longest_first:
            if _is_inside(path, live):
                rest = path[len(live.rstrip(b"/")) :]
                return (place.rstrip(b"/") + rest).rstrip(b"/") or b"/"
        return path

    return place_of


@dataclass(frozen=True, slots=True)
class Roots:
    """What a walk begins with; every path is absolute and normalised, and parents come before what is below them."""

    roots: tuple[Found, ...]
    """The source's paths that are there, links not followed.  None is inside another (but see `plan_roots`)."""
    ancestors: tuple[Found, ...]
    """The folders above the roots, each once, `/` first; links are followed, so each is a directory."""
    covered: tuple[bytes, ...]
    """Paths that were given and lie inside another, so that they need no walk of their own."""
    problems: tuple[Problem, ...]
    """Paths that are not there (MISSING), or cannot be looked at or stored (UNREADABLE)."""
    place_of: PlaceOf = itself
    """Where all these are read."""


def plan_roots(paths: Iterable[bytes], *, one_file_system: bool = False, place_of: PlaceOf = itself) -> Roots:
    """Look at the paths of a source, each at its place.

    A path inside another is covered by it, except where `one_file_system` stops the walk of the outer one before it
    gets there: with `/` and `/home` on two file systems both are walked.  Raises UsageError for a path that is relative
    or has `..` in it.
    """
    roots: list[Found] = []
    above: dict[bytes, os.stat_result] = {}
    covered: list[bytes] = []
    problems: list[Problem] = []
    for path in sorted({normalise(path) for path in paths}, key=_segments):
        try:
            found = os.lstat(place_of(path))
            parents = {parent: os.stat(place_of(parent)) for parent in _parents(path)}
            devices = {one: os.lstat(place_of(one)).st_dev for one in parents} if one_file_system else {}
            reached = _reached_from(roots, path, found, devices)
            link = _link_above(roots, path, place_of)
        except OSError as error:
            problems.append(_missing(path, place_of(path), error))
            continue
        if link is not None:
            problems.append(_behind(path, link))
        elif reached:
            covered.append(path)
        else:
            roots.append((path, found))
            above |= {one: seen for one, seen in parents.items() if not _reached_from(roots, one, seen, devices)}
    ancestors = tuple(sorted(above.items(), key=_depth_first))
    return Roots(tuple(roots), ancestors, tuple(covered), tuple(problems), place_of)


def normalise(path: bytes) -> bytes:
    """The path without doubled or trailing slashes and `.` segments.  Raises UsageError."""
    if not path.startswith(b"/") or b"\0" in path:
        raise UsageError(f"source path '{os.fsdecode(path)}': not absolute", hint="begin it with a slash")
    segments = [segment for segment in _segments(path) if segment != b"."]
    if b".." in segments:
        # Taking `a/..` away would change the meaning where `a` is a link.
        raise UsageError(f"source path '{os.fsdecode(path)}': has '..' in it", hint="write the path without '..'")
    return b"/" + b"/".join(segments)


def _segments(path: bytes) -> list[bytes]:
    return [segment for segment in path.split(b"/") if segment]


def _depth_first(found: Found) -> list[bytes]:
    return _segments(found[0])


def _parents(path: bytes) -> list[bytes]:
    """The folders above a path, `/` first."""
    segments = _segments(path)
    return [b"/" + b"/".join(segments[:depth]) for depth in range(len(segments))]


def _is_inside(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _missing(path: bytes, place: bytes, error: OSError) -> Problem:
    where = "" if place == path else f"{os.fsdecode(place)}: "
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Problem(path, ProblemKind.MISSING, where + explain(error))
    failure = translate(error)
    if not isinstance(failure, SourceError):
        raise failure from error
    return Problem(path, ProblemKind.UNREADABLE, where + failure.message)


def _reached_from(roots: Sequence[Found], path: bytes, found: os.stat_result, devices: Mapping[bytes, int]) -> bool:
    """Whether the walk of one of the roots enters the folder that the path is in, and the path if it is a directory.

    `devices`: those of the folders above, where the walk stays on one; empty where it does not.
    """
    for root, seen in roots:
        if _is_inside(path, root):
            between = [devices[parent] for parent in _parents(path) if _is_inside(parent, root)] if devices else []
            if not devices or all(device == seen.st_dev for device in (*between, found.st_dev)):
                return True
    return False


def _link_above(roots: Sequence[Found], path: bytes, place_of: PlaceOf) -> bytes | None:
    """A link that a walk stores as a link, while the path would need a directory in its place."""
    for root, _ in roots:
        for parent in _parents(path):
            if _is_inside(parent, root) and stat.S_ISLNK(os.lstat(place_of(parent)).st_mode):
                return parent
    return None


def _behind(path: bytes, link: bytes) -> Problem:
    detail = f"lies behind {os.fsdecode(link)}, which is stored as a link; name its real path"
    return Problem(path, ProblemKind.UNREADABLE, detail)
