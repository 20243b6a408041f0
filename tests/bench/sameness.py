"""Whether a restored tree is the tree that was backed up: every path, by content and by metadata."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

PIECE = 1 << 20
SHOWN = 5


@dataclass
class Differences:
    """How many paths were compared, how many differ in what, and the first of them."""

    compared: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)

    def note(self, kind: str, path: str) -> None:
        self.kinds[kind] += 1
        if len(self.shown) < SHOWN:
            self.shown.append(f"{kind}: {path}")


def compare_trees(original: Path, restored: Path) -> Differences:
    """Compare two folders and all below them: names, kinds, modes, owners, times, link targets, bytes.

    Times are compared to the nanosecond, those of folders and links as well.
    """
    found = Differences()
    _compare(str(original), str(restored), found)
    return found


def _compare(ours: str, theirs: str, found: Differences) -> None:
    found.compared += 1
    status = os.lstat(ours)
    try:
        other = os.lstat(theirs)
    except FileNotFoundError:
        found.note("missing", theirs)
        return
    for kind in _different_metadata(status, other):
        found.note(kind, theirs)
    if stat.S_IFMT(status.st_mode) != stat.S_IFMT(other.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        _compare_folders(ours, theirs, found)
    elif stat.S_ISLNK(status.st_mode) and os.readlink(ours) != os.readlink(theirs):
        found.note("target", theirs)
    elif stat.S_ISREG(status.st_mode) and not _same_bytes(ours, theirs):
        found.note("content", theirs)


def _compare_folders(ours: str, theirs: str, found: Differences) -> None:
    expected, there = set(os.listdir(ours)), set(os.listdir(theirs))
    for name in sorted(there - expected):
        found.note("unexpected", f"{theirs}/{name}")
    for name in sorted(expected):
        _compare(f"{ours}/{name}", f"{theirs}/{name}", found)


def _different_metadata(ours: os.stat_result, theirs: os.stat_result) -> list[str]:
    pairs = (
        ("kind", stat.S_IFMT(ours.st_mode), stat.S_IFMT(theirs.st_mode)),
        ("mode", stat.S_IMODE(ours.st_mode), stat.S_IMODE(theirs.st_mode)),
        ("owner", (ours.st_uid, ours.st_gid), (theirs.st_uid, theirs.st_gid)),
        ("time", ours.st_mtime_ns, theirs.st_mtime_ns),
    )
    return [kind for kind, one, other in pairs if one != other]


def _same_bytes(ours: str, theirs: str) -> bool:
    with open(ours, "rb", buffering=0) as one, open(theirs, "rb", buffering=0) as other:
        while True:
            piece = one.read(PIECE)
            if piece != other.read(PIECE):
                return False
            if not piece:
                return True
