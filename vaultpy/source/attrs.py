"""What a file is beyond its bytes: owner names and extended attributes read, and all of it applied again.

Applying goes by descriptor and never follows a link, in the order owner, mode, extended attributes, times: a change of
owner clears setuid and capabilities, and everything touches the times.  What cannot be applied is no error: it comes
back as kinds, to be counted and told once.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import functools
import grp
import os
import pwd
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from vaultpy.source.failures import translate

Xattr = tuple[bytes, bytes]
"""Name with its namespace (`user.note`), and value."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EPERM, errno.EACCES})
_CAPABILITY = b"security.capability"
_UNCHANGED = frozenset({-1, 0xFFFFFFFF})
"""Numbers that tell chown to leave the owner: the file would stay ours, and with setuid be more than it was."""
_PRIVILEGE = stat.S_ISUID | stat.S_ISGID


@dataclass(slots=True)
class OwnerNames:
    """The system's names of users and groups, and back, each asked for once.  None: it has no such name or number.

    Names are bytes, as the file system's are.  A user made while the program runs may not be seen.
    """

    _users: dict[int, bytes | None] = field(default_factory=dict)
    _groups: dict[int, bytes | None] = field(default_factory=dict)
    _user_ids: dict[bytes, int | None] = field(default_factory=dict)
    _group_ids: dict[bytes, int | None] = field(default_factory=dict)

    def user(self, uid: int) -> bytes | None:
        return _remember(self._users, uid, lambda: os.fsencode(pwd.getpwuid(uid).pw_name))

    def group(self, gid: int) -> bytes | None:
        return _remember(self._groups, gid, lambda: os.fsencode(grp.getgrgid(gid).gr_name))

    def user_id(self, name: bytes) -> int | None:
        return _remember(self._user_ids, name, lambda: pwd.getpwnam(os.fsdecode(name)).pw_uid)

    def group_id(self, name: bytes) -> int | None:
        return _remember(self._group_ids, name, lambda: grp.getgrnam(os.fsdecode(name)).gr_gid)


def _remember(known: dict[_Key, _Value | None], key: _Key, ask: Callable[[], _Value]) -> _Value | None:
    if key not in known:
        try:
            known[key] = ask()
        except (KeyError, OverflowError, ValueError):  # no such entry; a number or a name that no entry can have
            known[key] = None
    return known[key]


def read_xattrs(fd: int) -> tuple[Xattr, ...]:
    """The extended attributes of an open file or directory that the caller may see, in the order of their names.

    None where the file system has none.  Raises SourceError.
    """
    return _read_xattrs(fd, follow=True)


def read_xattrs_at(dir_fd: int, name: bytes) -> tuple[Xattr, ...]:
    """The same for something that is not to be opened (a link, FIFO or device), without following it.  Needs /proc."""
    return _read_xattrs(b"/proc/self/fd/%d/%b" % (dir_fd, name), follow=False)


def _read_xattrs(target: int | bytes, *, follow: bool) -> tuple[Xattr, ...]:
    try:
        names = os.listxattr(target, follow_symlinks=follow)
    except OSError as error:
        if isinstance(target, int) and error.errno == errno.EBADF:  # opened for lookups only: ask by way of its link
            return _read_xattrs(b"/proc/self/fd/%d" % target, follow=True)
        if error.errno in _NO_XATTRS:
            return ()
        raise translate(error) from error
    if not names:
        return ()
    found = ((name, _read_xattr(target, name, follow)) for name in sorted(map(os.fsencode, names)))
    return tuple((name, value) for name, value in found if value is not None)


def _read_xattr(target: int | bytes, name: bytes, follow: bool) -> bytes | None:
    try:
        return os.getxattr(target, name, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _NO_XATTRS or error.errno == errno.ENODATA:  # not ours to see, or taken away meanwhile
            return None
        raise translate(error) from error


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
    """`privileges`: give setuid, setgid and capabilities back, where root restores."""

    owner: OwnerPolicy = OwnerPolicy.NAME
    privileges: bool = False
    xattrs: bool = True


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
    xattrs = wanted.xattrs if options.xattrs else ()
    first = [one for one in xattrs if one[0].startswith(b"user.")]
    _apply_xattrs(target, first, privileged, missed)
    if not stat.S_ISLNK(kind):
        _apply_mode(target, kind, wanted.mode, privileged, missed)
    _apply_xattrs(target, [one for one in xattrs if one not in first], privileged, missed)
    times = wanted.mtime if wanted.atime is None else wanted.atime, wanted.mtime
    _attempt(NotApplied.TIMES, missed, lambda: os.utime(target, ns=times))
    return sorted(missed)


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
