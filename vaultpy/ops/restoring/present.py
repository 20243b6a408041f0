"""What is there already: a target compared with what is wanted in it, before anything is fetched.

So a restore that was interrupted goes on where it was, and one in place fetches and writes only what differs.  A file
counts as what it should be by size and time, or, where that is not to be believed, by the hashes of its chunks.
"""

from __future__ import annotations

import enum
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from vaultpy.chunker import hash_chunk
from vaultpy.errors import DamageError, TargetError
from vaultpy.index.at import Moment, xattrs_at
from vaultpy.index.needed import Present, chunk_hash, file_of, leave_out, right_paths, wanted_paths
from vaultpy.model import Kind
from vaultpy.ops.reading.choose import Tree
from vaultpy.ops.restoring.basis import contents
from vaultpy.ops.restoring.extra import Extras
from vaultpy.source.apply import ApplyOptions, FileMetadata, wants_xattr
from vaultpy.source.attrs import read_xattrs
from vaultpy.source.place import Owner, Placer
from vaultpy.source.target import Identity, TargetTree, check_name, identity, open_existing

NOTED = 4096
"""Paths after which what was found is noted in the index's temporary tables."""

_FORMATS = {
    Kind.FILE: stat.S_IFREG,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
}
_PRIVILEGE = stat.S_ISUID | stat.S_ISGID


class Overwrite(enum.StrEnum):
    """What becomes of a path that is there: replaced unless its content is right, read whole to find out; the same, but
    size and time decide; replaced if it is older than the snapshot's; left as it is."""

    ALWAYS = "always"
    IF_CHANGED = "if-changed"
    IF_NEWER = "if-newer"
    NEVER = "never"


class Fate(enum.StrEnum):
    """What a restore does with a path that is not a folder."""

    CREATE = "create"
    REPLACE = "replace"
    MEND = "mend"
    """Its content is right, its metadata is not."""
    KEEP = "keep"
    LEAVE = "leave"
    """It is not what the snapshot has, and is to be left alone."""


@dataclass(slots=True)
class Plan:
    """How many paths have which fate; `linked`: leaders of hard-link groups that are there and right;
    `removed`: folders that stood where something else has to be."""

    fates: Counter[Fate] = field(default_factory=Counter)
    removed: list[bytes] = field(default_factory=list)
    linked: dict[int, Identity] = field(default_factory=dict)


class Comparer:
    """Compares what is wanted with what is there."""

    def __init__(
        self,
        moment: Moment,
        directories: Tree,
        target: TargetTree,
        owners: Mapping[int, Owner | None],
        options: ApplyOptions,
    ) -> None:
        self._moment, self._directories, self._target, self._owners = moment, directories, target, owners
        self._options = options
        self._reading = False
        self._at: tuple[int, int | None] | None = None

    def compare(self, policy: Overwrite, placer: Placer | None, extras: Extras | None = None) -> Plan:
        """Find the fate of every wanted path, and leave out of what is wanted those that need nothing.

        With a `placer`, metadata is mended, and with `extras` folders in the way are removed; without it, nothing changes.
        """
        plan = Plan()
        done: dict[bool, list[int]] = {True: [], False: []}
        for row in wanted_paths(self._moment):
            fate, found = self._fate(row, policy)
            if fate is Fate.MEND and placer is not None and not self._mend(row, found, placer):
                fate = Fate.REPLACE
            plan.fates[fate] += 1
            if fate is Fate.REPLACE and placer is not None and extras is not None:
                self._make_room(row, found, extras, plan)
            if fate in (Fate.CREATE, Fate.REPLACE):
                continue
            self._note(done, row.id, right=fate is not Fate.LEAVE)
            if found is not None and row.leader == row.id and fate is not Fate.LEAVE:
                plan.linked[row.id] = identity(found)
        for right, ids in done.items():
            leave_out(self._moment, ids, right=right)
        return plan

    def _note(self, done: dict[bool, list[int]], file_id: int, *, right: bool) -> None:
        done[right].append(file_id)
        if len(done[right]) >= NOTED:
            leave_out(self._moment, done[right], right=right)
            done[right] = []

    def reread(self) -> Iterator[Present]:
        """Read back everything that is wanted, from the disk where the system lets go of what it remembers; what is not as
        the snapshot has it comes out."""
        self._reading = True
        os.sync()
        for row in right_paths(self._moment):
            dir_fd = self._enter(row.directory_id)
            found = None if dir_fd is None else _look(dir_fd, row.name)
            if dir_fd is None or found is None or not self._is_same(dir_fd, row, found, Overwrite.ALWAYS):
                yield row

    def _fate(self, row: Present, policy: Overwrite) -> tuple[Fate, os.stat_result | None]:
        dir_fd = self._enter(row.directory_id)
        if dir_fd is None:
            return Fate.CREATE, None
        found = _look(dir_fd, row.name)
        if found is None:
            return Fate.CREATE, None
        if policy is Overwrite.NEVER or (policy is Overwrite.IF_NEWER and found.st_mtime_ns >= row.mtime):
            return Fate.LEAVE, found
        if not self._is_same(dir_fd, row, found, policy):
            return Fate.REPLACE, found
        if row.leader != row.id:
            return Fate.REPLACE, found  # a name of the leader's, if it is not: that costs no content
        if self._has_metadata(dir_fd, row, found):
            return Fate.KEEP, found
        # What has other names may be somebody else's file: its inode is not touched.
        return (Fate.MEND if found.st_nlink == 1 else Fate.REPLACE), found

    def _is_same(self, dir_fd: int, row: Present, found: os.stat_result, policy: Overwrite) -> bool:
        if stat.S_IFMT(found.st_mode) != _FORMATS[Kind(row.kind)]:
            return False
        if row.kind == Kind.SYMLINK:
            return _read_link(dir_fd, row.name) == row.link_target
        if row.kind != Kind.FILE:
            return row.kind == Kind.FIFO or found.st_rdev == row.rdev
        if found.st_size != row.size:
            return False
        if policy is not Overwrite.ALWAYS and found.st_mtime_ns == row.mtime:
            return True
        return (row.chunk_id is not None or self._reading) and self._has_content(dir_fd, row, found)

    def _has_content(self, dir_fd: int, row: Present, found: os.stat_result) -> bool:
        try:
            fd = open_existing(dir_fd, row.name, identity(found))
        except TargetError:
            return False
        try:
            if self._reading:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if row.chunk_id is not None:
                return hash_chunk(os.read(fd, row.size)) == chunk_hash(self._moment, row.chunk_id)
            return all(data is not None for _, data in contents(self._moment, file_of(self._moment, row.id), fd))
        except OSError:
            return False
        finally:
            os.close(fd)

    def _has_metadata(self, dir_fd: int, row: Present, found: os.stat_result) -> bool:
        mode = row.mode if self._options.privileges else row.mode & ~_PRIVILEGE
        owner = self._owners[row.owner_id]
        if found.st_mtime_ns != row.mtime or (owner is not None and owner != (found.st_uid, found.st_gid)):
            return False
        if row.kind != Kind.SYMLINK and stat.S_IMODE(found.st_mode) != mode:
            return False
        return not row.has_xattrs or row.kind != Kind.FILE or self._has_xattrs(dir_fd, row, found)

    def _has_xattrs(self, dir_fd: int, row: Present, found: os.stat_result) -> bool:
        try:
            fd = open_existing(dir_fd, row.name, identity(found))
        except TargetError:
            return False
        try:
            wanted = {one for one in xattrs_at(self._moment, row.id) if wants_xattr(self._options, one[0])}
            return wanted <= set(read_xattrs(fd))
        finally:
            os.close(fd)

    def _mend(self, row: Present, found: os.stat_result | None, placer: Placer) -> bool:
        """Give a file that is there its metadata; False where it has to be made anew for that."""
        dir_fd = self._enter(row.directory_id)
        if row.kind != Kind.FILE or found is None or dir_fd is None:
            return False
        try:
            fd = open_existing(dir_fd, row.name, identity(found))
        except TargetError:
            return False
        try:
            if os.fstat(fd).st_nlink != 1:
                return False
            owner = self._owners[row.owner_id]
            xattrs = xattrs_at(self._moment, row.id) if row.has_xattrs else ()
            metadata = FileMetadata(row.mode, *(owner or (-1, -1)), row.mtime, atime=row.atime, xattrs=xattrs)
            placer.give(fd, metadata, owner)
            return True
        finally:
            os.close(fd)

    def _make_room(self, row: Present, found: os.stat_result | None, extras: Extras, plan: Plan) -> None:
        dir_fd = self._enter(row.directory_id)
        if found is not None and dir_fd is not None and stat.S_ISDIR(found.st_mode):
            path = extras.make_room(dir_fd, row.directory_id, row.name)
            plan.removed += [path] if path is not None else []

    def _enter(self, directory_id: int) -> int | None:
        """The directory, if it is there."""
        if self._at is None or self._at[0] != directory_id:
            try:
                fd: int | None = self._target.open_dir(self._directories.parts(directory_id), create=False)
            except (TargetError, DamageError):
                fd = None
            self._at = (directory_id, fd)
        return self._at[1]


def _look(dir_fd: int, name: bytes) -> os.stat_result | None:
    """What has that name; nothing has one that is none (who makes it will say so)."""
    try:
        check_name(name)
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except (OSError, DamageError):
        return None


def _read_link(dir_fd: int, name: bytes) -> bytes | None:
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except OSError:
        return None
