"""What lies in a target and should not: temporary files of a restore that was killed, and, where it is asked for, whatever
the snapshot does not have.

`--delete` removes only inside what was backed up and is restored whole: never beside the way that leads there, never on
another file system, and never what vaultpy itself needs to restore again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vaultpy.errors import DamageError, TargetError
from vaultpy.index.at import FileAt, Moment
from vaultpy.index.needed import list_names, names_in
from vaultpy.ops.reading.choose import Tree
from vaultpy.source.target import TEMPORARY, TargetTree, check_name, remove_tree

_LEFT_OVER = re.compile(re.escape(TEMPORARY) + rb"[0-9a-f]{16}(-[0-9a-f]+|\.part)?")


def sweep(dir_fd: int) -> None:
    """Take away what killed restores left in a directory.  Only what is ours; nobody else may restore here meanwhile."""
    for name in _list(dir_fd):
        if _LEFT_OVER.fullmatch(name):
            _sweep_one(dir_fd, name)


def _sweep_one(dir_fd: int, name: bytes) -> None:
    try:
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if found.st_uid == os.geteuid() and not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=dir_fd)
    except OSError:
        return  # it stays for the next restore


@dataclass(frozen=True, slots=True)
class Zone:
    """Where may be deleted: below `roots` (what was backed up, and of it what is restored), but nothing that is, or holds,
    one of `kept` (real paths)."""

    roots: tuple[bytes, ...]
    kept: tuple[bytes, ...]

    def covers(self, path: bytes) -> bool:
        """Whether what lies in the folder at this path of the snapshot is the snapshot's to tell."""
        return any(root == b"/" or path == root or path.startswith(root + b"/") for root in self.roots)

    def spares(self, real: bytes) -> bool:
        """Whether this path of the target, every link in it resolved, has to stay."""
        return any(kept == real or kept.startswith(real.rstrip(b"/") + b"/") for kept in self.kept)


class Extras:
    """Finds what the snapshot does not have in folders that it has."""

    def __init__(self, moment: Moment, directories: Tree, target: TargetTree, zone: Zone) -> None:
        self._moment, self._directories, self._target, self._zone = moment, directories, target, zone
        self._root = os.path.realpath(target.root)
        self._ids = {where: id for id, where in directories.parents.items()}
        list_names(moment)

    def find(self, row: FileAt) -> Iterator[tuple[int, bytes, bytes]]:
        """What is too much in a folder: the folder's descriptor, the name, and the path in the snapshot's terms."""
        directory = self._directories.path(row.directory_id, row.name)
        if not self._zone.covers(directory):
            return
        parts = self._directories.parts(row.directory_id)
        try:
            fd = self._target.open_dir((*parts, row.name) if row.name else parts, create=False)
        except (TargetError, DamageError):
            return
        known = names_in(self._moment, self._ids.get((row.directory_id, row.name), row.directory_id))
        for name in _list(fd):
            path = os.path.join(directory, name)
            if name not in known and self._may_go(path):
                yield fd, name, path

    def clear_way(self) -> list[bytes]:
        """Remove what is no folder where folders have to be; returns what went."""
        gone = []
        for parent_id, name in self._directories.parents.values():
            if parent_id is not None and self._zone.covers(self._directories.path(parent_id, b"")):
                try:
                    check_name(name)
                    fd = self._target.open_dir(self._directories.parts(parent_id), create=False)
                    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except (OSError, TargetError, DamageError):
                    continue
                path = self._directories.path(parent_id, name)
                if not stat.S_ISDIR(found.st_mode) and self._may_go(path) and remove_tree(fd, name):
                    gone.append(path)
        return gone

    def make_room(self, dir_fd: int, directory_id: int, name: bytes) -> bytes | None:
        """Remove the folder that has the name of something else; its path, if it went."""
        path = self._directories.path(directory_id, name)
        if not self._zone.covers(self._directories.path(directory_id, b"")) or not self._may_go(path):
            return None
        return path if remove_tree(dir_fd, name) else None

    def _may_go(self, path: bytes) -> bool:
        return not self._zone.spares(os.path.join(self._root, path[1:]))

    def remove(self, row: FileAt) -> Sequence[bytes]:
        """Remove what is too much in a folder; what could not be removed stays.  Returns the paths that went."""
        return [path for fd, name, path in list(self.find(row)) if remove_tree(fd, name)]


def _list(dir_fd: int) -> list[bytes]:
    try:
        return [os.fsencode(name) for name in os.listdir(dir_fd)]
    except OSError:
        return []
