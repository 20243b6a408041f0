"""What a file is beyond its bytes, read: owner names and extended attributes.  `apply` gives it back."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from vaultpy.source.failures import translate

Xattr = tuple[bytes, bytes]
"""Name with its namespace (`user.note`), and value."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EPERM, errno.EACCES})


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
