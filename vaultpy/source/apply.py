"""What a file is beyond its bytes, given back: owner, mode, extended attributes, times.  `attrs` reads it.

Applying goes by descriptor and never follows a link, in the order owner, mode, extended attributes, times: a change of
owner clears setuid and capabilities, and everything touches the times.  What cannot be applied is no error: it comes
back as kinds, to be counted and told once.
"""

from __future__ import annotations

import contextlib
import enum
import fnmatch
import functools
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vaultpy.source.attrs import OwnerNames, Xattr
from vaultpy.source.failures import translate
from vaultpy.source.flags import write_flags

_CAPABILITY = b"security.capability"
_UNCHANGED = frozenset({-1, 0xFFFFFFFF})
"""Numbers that tell chown to leave the owner: the file would stay ours, and with setuid be more than it was."""
_PRIVILEGE = stat.S_ISUID | stat.S_ISGID


class OwnerPolicy(enum.StrEnum):
    """Whose a restored file is: who has the stored name here (the number, where nobody has it), the number, or ours."""

    NAME = "name"
    NUMBER = "number"
    NONE = "none"


class NotApplied(enum.StrEnum):
    """What the target, or our rights, did not take."""

    OWNER = "owner"
    MODE = "mode"
    PRIVILEGE = "privilege"
    """setuid, setgid or capabilities: only by root, only when asked for, and only for the owner that they were given."""
    XATTR = "xattr"
    TIMES = "times"
    FLAGS = "flags"


@dataclass(frozen=True, slots=True)
class FileMetadata:
    """What to apply; times in nanoseconds since 1970, `atime` None: the same as mtime; mode: the 12 permission bits."""

    mode: int
    uid: int
    gid: int
    mtime: int
    user: bytes | None = None
    group: bytes | None = None
    atime: int | None = None
    xattrs: tuple[Xattr, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplyOptions:
    """`privileges`: give setuid, setgid and capabilities back, where root restores; `include` and `exclude`: shell patterns
    of the names of extended attributes (without any, all); `sparse`: blocks of zeros become holes."""

    owner: OwnerPolicy = OwnerPolicy.NAME
    privileges: bool = False
    xattrs: bool = True
    include: tuple[bytes, ...] = ()
    exclude: tuple[bytes, ...] = ()
    sparse: bool = False


def apply_metadata(fd: int, wanted: FileMetadata, options: ApplyOptions, names: OwnerNames) -> list[NotApplied]:
    """Make an open regular file or directory what it was, as far as that goes; returns what could not be done."""
    return _apply(fd, os.fstat(fd).st_mode, wanted, options, names)


def apply_metadata_at(
    dir_fd: int, name: bytes, wanted: FileMetadata, options: ApplyOptions, names: OwnerNames
) -> list[NotApplied]:
    """The same for a link, FIFO or device, which is never opened and never followed.  Needs /proc.

    Raises SourceError where there is nothing of that name.
    """
    try:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as error:
        raise translate(error) from error
    try:
        # The link in /proc leads to the very inode that the descriptor holds, a symbolic link's too.
        return _apply(b"/proc/self/fd/%d" % fd, os.fstat(fd).st_mode, wanted, options, names)
    finally:
        os.close(fd)


def _apply(
    target: int | bytes, kind: int, wanted: FileMetadata, options: ApplyOptions, names: OwnerNames
) -> list[NotApplied]:
    missed: set[NotApplied] = set()
    owned = _apply_owner(target, wanted, options.owner, names, missed)
    privileged = options.privileges and owned and os.geteuid() == 0
    # An owner who is not root may not write to `user.` once the mode is read-only.  The others stay behind the mode: an
    # ACL decides its group bits.
    xattrs = [one for one in wanted.xattrs if wants_xattr(options, one[0])]
    first = [one for one in xattrs if one[0].startswith(b"user.")]
    _apply_xattrs(target, first, privileged, missed)
    if not stat.S_ISLNK(kind):
        _apply_mode(target, kind, wanted.mode, privileged, missed)
    _apply_xattrs(target, [one for one in xattrs if one not in first], privileged, missed)
    times = wanted.mtime if wanted.atime is None else wanted.atime, wanted.mtime
    _attempt(NotApplied.TIMES, missed, lambda: os.utime(target, ns=times))
    return sorted(missed)


def wants_xattr(options: ApplyOptions, name: bytes) -> bool:
    """Whether an extended attribute of that name is to be given back."""
    if not options.xattrs or any(fnmatch.fnmatchcase(name, one) for one in options.exclude):
        return False
    return not options.include or any(fnmatch.fnmatchcase(name, one) for one in options.include)


def apply_flags(fd: int, flags: int) -> list[NotApplied]:
    """Give an open file or directory its file flags (`chattr`); last of all, for some forbid every other change."""
    try:
        write_flags(fd, flags)
    except OSError:
        return [NotApplied.FLAGS]
    return []


def _attempt(kind: NotApplied, missed: set[NotApplied], call: Callable[[], None]) -> bool:
    """Do it, or note that it could not be done; whether it was."""
    try:
        call()
    except (OSError, OverflowError, ValueError):  # the last two for numbers and names that no system has
        missed.add(kind)
        return False
    return True


def _apply_owner(
    target: int | bytes, wanted: FileMetadata, policy: OwnerPolicy, names: OwnerNames, missed: set[NotApplied]
) -> bool:
    if policy is OwnerPolicy.NONE:
        return False
    uid, gid = wanted.uid, wanted.gid
    if policy is OwnerPolicy.NAME:
        by_name = names.user_id(wanted.user) if wanted.user else None
        group_by_name = names.group_id(wanted.group) if wanted.group else None
        uid = uid if by_name is None else by_name
        gid = gid if group_by_name is None else group_by_name
    if uid in _UNCHANGED or gid in _UNCHANGED:
        missed.add(NotApplied.OWNER)
        return False
    if _attempt(NotApplied.OWNER, missed, lambda: os.chown(target, uid, gid)):
        return True
    with contextlib.suppress(OSError, OverflowError):
        os.chown(target, -1, gid)  # who is not root may still give a file to another group of theirs
    return False


def _apply_mode(target: int | bytes, kind: int, mode: int, privileged: bool, missed: set[NotApplied]) -> None:
    # A directory's setgid gives no rights; it only says whose the files in it will be.
    if mode & _PRIVILEGE and not privileged and not stat.S_ISDIR(kind):
        mode &= ~_PRIVILEGE
        missed.add(NotApplied.PRIVILEGE)
    _attempt(NotApplied.MODE, missed, lambda: os.chmod(target, stat.S_IMODE(mode)))


def _apply_xattrs(target: int | bytes, xattrs: Sequence[Xattr], privileged: bool, missed: set[NotApplied]) -> None:
    for name, value in xattrs:
        if name == _CAPABILITY and not privileged:
            missed.add(NotApplied.PRIVILEGE)
        else:
            _attempt(NotApplied.XATTR, missed, functools.partial(os.setxattr, target, name, value))
