"""Placing restored files, many of them, in as few system calls as that takes.

A new file is ours, with the mode that it was made with: where that is what it should have, nothing has to be changed, and
on some file systems a needless change costs more than the file.  What a new file has is learnt in each folder from the
first one made there, because default ACLs, setgid folders and mount options make it something else.

Safe in a target that is not to be trusted: see `target`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vaultpy.source.apply import ApplyOptions, FileMetadata, NotApplied, OwnerPolicy, apply_metadata
from vaultpy.source.attrs import OwnerNames
from vaultpy.source.sparse import Segment
from vaultpy.source.target import TEMPORARY, Identity, check_name, identity, translate, write_at

Owner = tuple[int, int]
"""Numbers of user and group to give a file to."""

Missed = tuple[NotApplied, ...]

PERMISSIONS = 0o777
"""The bits of a mode that `place` takes; the others are for `place_odd`."""

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE = 0o600
_ACL = "system.posix_acl_access"


@dataclass(slots=True)
class Folder:
    """What is known of a folder: whether a new file in it is as it was made.  None until one was."""

    plain: bool | None = None


class Placer:
    """Places files whole.  For one thread."""

    def __init__(self, options: ApplyOptions, random: Callable[[int], bytes] = os.urandom) -> None:
        self._options, self._random = options, random
        self._names = OwnerNames()
        self._ours: Owner = (os.geteuid(), os.getegid())
        self._umask = _read_umask()
        self._prefix = _new_prefix(random)
        self._count = 0

    def place(
        self,
        dir_fd: int,
        folder: Folder,
        name: bytes,
        data: bytes | memoryview,
        mode: int,
        mtime: int,
        owner: Owner | None,
    ) -> Missed:
        """Put a regular file with this content, mode and time under its name, in place of what has it (but a directory); it
        stays ours where `owner` is None.  Returns what the target did not take.

        Raises DamageError for a name that is none, TargetError, TargetFull.
        """
        check_name(name)
        ours = owner is None or owner == self._ours
        # Until it has its owner, its group is ours: that must not be allowed what the others are not.
        made = mode if not mode & self._umask and (ours or not mode >> 3 & ~mode & 7) else _PRIVATE
        if folder.plain is False:
            return self.place_odd(dir_fd, name, [(0, data)], len(data), self._metadata(mode, mtime, owner), owner)[0]
        fd, temporary = self._create(dir_fd, made)
        try:
            if folder.plain is None and not self._learn(folder, fd, made):
                self._discard(dir_fd, temporary)
                return self.place(dir_fd, folder, name, data, mode, mtime, owner)
            if os.write(fd, data) != len(data):
                write_at(fd, data, 0)
            missed: Missed = ()
            try:
                if not ours and owner is not None:
                    os.fchown(fd, *owner)
                if made != mode:
                    os.fchmod(fd, mode)
                os.utime(fd, ns=(mtime, mtime))
            except (OSError, OverflowError, ValueError):
                missed = self.give(fd, self._metadata(mode, mtime, owner), owner)
            os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except OSError as error:
            self._discard(dir_fd, temporary)
            raise translate(error) from error
        except BaseException:
            self._discard(dir_fd, temporary)
            raise
        finally:
            os.close(fd)
        return missed

    def place_odd(
        self, dir_fd: int, name: bytes, data: Sequence[Segment], size: int, metadata: FileMetadata, owner: Owner | None
    ) -> tuple[Missed, Identity]:
        """The same for a file that is more than `place` takes: `data` in segments, holes between them up to `size`.

        Returns which file it is, too.
        """
        check_name(name)
        fd, temporary = self._create(dir_fd, _PRIVATE)
        try:
            for offset, part in data:
                write_at(fd, part, offset)
            os.ftruncate(fd, size)
            missed = self.give(fd, metadata, owner)
            made = identity(os.fstat(fd))
            os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except OSError as error:
            self._discard(dir_fd, temporary)
            raise translate(error) from error
        except BaseException:
            self._discard(dir_fd, temporary)
            raise
        finally:
            os.close(fd)
        return missed, made

    def give(self, fd: int, metadata: FileMetadata, owner: Owner | None) -> Missed:
        """Give an open file that this restore made its metadata, and nothing that its folder had for it."""
        with contextlib.suppress(OSError):
            os.removexattr(fd, _ACL)
        policy = OwnerPolicy.NONE if owner is None else OwnerPolicy.NUMBER
        return tuple(apply_metadata(fd, metadata, replace(self._options, owner=policy), self._names))

    def _create(self, dir_fd: int, mode: int) -> tuple[int, bytes]:
        while True:
            self._count += 1
            temporary = b"%b%x" % (self._prefix, self._count)
            try:
                return os.open(temporary, _CREATE, mode, dir_fd=dir_fd), temporary
            except FileExistsError:  # somebody guessed it
                self._prefix = _new_prefix(self._random)
            except OSError as error:
                raise translate(error) from error

    def _learn(self, folder: Folder, fd: int, made: int) -> bool:
        found = os.fstat(fd)
        as_made = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (*self._ours, made)
        folder.plain = as_made and not _has_acl(fd)
        return folder.plain

    def _metadata(self, mode: int, mtime: int, owner: Owner | None) -> FileMetadata:
        return FileMetadata(mode, *(owner or self._ours), mtime)

    def _discard(self, dir_fd: int, temporary: bytes) -> None:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=dir_fd)


def _new_prefix(random: Callable[[int], bytes]) -> bytes:
    return TEMPORARY + random(8).hex().encode() + b"-"


def _has_acl(fd: int) -> bool:
    try:
        return _ACL in os.listxattr(fd)
    except OSError:
        return False


def _read_umask() -> int:
    """The bits that the process keeps from new files; all, where the system does not tell (asking would change it)."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return PERMISSIONS
