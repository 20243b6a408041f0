"""Writing into a restore's target, where neither the snapshot nor the target itself is to be trusted.

A snapshot may hold names such as `..`; a target may hold links, or somebody may put one there while we write.  So every
name is checked to be one component; directories are opened one name at a time below the target's own descriptor, never
through a link; and whatever is not a directory is made under a temporary name of its own and renamed into place.  What
was there before is replaced by that and never opened.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TypeVar

from vaultpy.errors import DamageError, TargetError, TargetFull
from vaultpy.model import Kind
from vaultpy.source.failures import explain
from vaultpy.source.read import open_unseen

_Made = TypeVar("_Made")

Identity = tuple[int, int, int]
"""A file's device, inode, and kind: the number of an inode that is gone is soon given to another."""

TEMPORARY = b".vaultpy-"
"""How the names of files begin that are not yet in their place: a killed restore leaves a few behind."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_OPEN = 64
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OUR_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_NODES = {Kind.FIFO: stat.S_IFIFO, Kind.CHARACTER_DEVICE: stat.S_IFCHR, Kind.BLOCK_DEVICE: stat.S_IFBLK}
_NO_NAMES = frozenset({b"", b".", b".."})


def check_name(name: bytes) -> None:
    """Raises DamageError for what cannot be the name of one thing in one directory."""
    if name in _NO_NAMES or b"/" in name or b"\0" in name:
        raise DamageError(
            f"name '{os.fsdecode(name)}': not a single name, so the snapshot is not one that vaultpy made"
        )


class TargetTree:
    """A directory to restore into.  For one thread; close it, or leave the `with`.

    Methods take the descriptor of a directory from `open_dir` and one name in it.  They raise TargetError for what could
    not be made there (TargetFull when nothing more can be), and DamageError for a name that is none.
    """

    def __init__(self, root: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        """`root` is made where it is not there, with all above it; it may itself be a link to a directory."""
        self.root = root
        self._random = random
        # Keyed by the path below the root; the least recently used are closed first.
        self._open: OrderedDict[bytes, int] = OrderedDict()
        with _failing(root):
            with contextlib.suppress(FileExistsError):  # what is there instead of a directory, opening it tells
                os.makedirs(root, exist_ok=True)
            self._root_fd: int | None = os.open(root, _DIRECTORY)

    def open_dir(self, parts: Sequence[bytes], *, create: bool = True) -> int:
        """The directory at a path below the root (empty: the root), made (mode 0700) where missing unless told not to.

        The descriptor belongs to the tree and is valid until the next `open_dir`.
        """
        path = b"/".join(parts)
        # All at once: in a deep tree the names on the way are looked at again for each folder.
        if b"\0" in path or path.count(b"/") != max(len(parts) - 1, 0) or not _NO_NAMES.isdisjoint(parts):
            for name in parts:
                check_name(name)
        end = len(path)
        while end > 0 and path[:end] not in self._open:
            end = max(path.rfind(b"/", 0, end), 0)
        fd = self._use(path[:end])
        while end < len(path):
            start = end + 1 if end else 0
            slash = path.find(b"/", start)
            end = slash if slash > 0 else len(path)
            fd = self._enter(fd, path[start:end], path[:end], create)
        return fd

    def create_file(self, dir_fd: int, temporary: bytes | None = None) -> tuple[int, bytes]:
        """A new empty file, only for us (0600): its descriptor, for the caller to close, and its temporary name, which is
        the one given if nobody has that."""
        if temporary is not None:
            with _failing(), contextlib.suppress(FileExistsError):
                return os.open(temporary, _CREATE, 0o600, dir_fd=dir_fd), temporary
        return self._make(lambda name: os.open(name, _CREATE, 0o600, dir_fd=dir_fd))

    def reopen_file(self, dir_fd: int, temporary: bytes, made: Identity) -> int:
        """A descriptor of a file of ours that is still under its temporary name, to go on writing.

        `made` is what it was when it was made: what somebody put in its place (another name of a file that we may write
        to and they may not) is refused.
        """
        return open_existing(dir_fd, temporary, made, write=True)

    def create_symlink(self, dir_fd: int, target: bytes) -> bytes:
        """A symbolic link under a temporary name; `target` is written as it is, whatever it points at."""
        if not target or b"\0" in target:
            raise DamageError(f"link to '{os.fsdecode(target)}': no link can say that")
        return self._make(lambda name: os.symlink(target, name, dir_fd=dir_fd))[1]

    def create_node(self, dir_fd: int, kind: Kind, rdev: int = 0) -> bytes:
        """A FIFO or device (which only root can make) under a temporary name, mode 0600."""
        if not 0 <= rdev < 1 << 64:
            raise DamageError(f"device number {rdev}: out of range")
        return self._make(lambda name: os.mknod(name, _NODES[kind] | 0o600, rdev, dir_fd=dir_fd))[1]

    def commit(self, dir_fd: int, temporary: bytes, name: bytes) -> None:
        """Give something its own name, in one step, in place of what had it; only a directory is not replaced."""
        check_name(name)
        with _failing():
            os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    def link(self, dir_fd: int, name: bytes, source_fd: int, source_name: bytes, made: Identity) -> None:
        """Give something that this restore has made a second name; `made` is what it was then.

        Anything else that has the first name by now (a link that somebody made, another file) is refused.  Both
        descriptors must be open at once: take the first by `os.dup`.
        """
        check_name(source_name)

        def join(temporary: bytes) -> None:
            os.link(source_name, temporary, src_dir_fd=source_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

        temporary = self._make(join)[1]
        try:
            with _failing():
                found = os.stat(temporary, dir_fd=dir_fd, follow_symlinks=False)
            if identity(found) != made:
                raise TargetError(f"somebody replaced {os.fsdecode(source_name)}, of which it is another name")
            self.commit(dir_fd, temporary, name)
        finally:
            # Where the name is the same file's already, rename does nothing and leaves both.
            self.discard(dir_fd, temporary)

    def discard(self, dir_fd: int, temporary: bytes) -> None:
        """Take away a temporary name, if it is still there."""
        with _failing(), contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=dir_fd)

    def is_empty(self) -> bool:
        """Whether nothing is there yet."""
        assert self._root_fd is not None, "closed"
        with _failing(self.root):
            return not os.listdir(self._root_fd)

    def claim(self) -> bool:
        """Whether no other restore writes here now; if so, none is told so until this one is closed."""
        assert self._root_fd is not None, "closed"
        try:
            fcntl.flock(self._root_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])
        if self._root_fd is not None:
            os.close(self._root_fd)
            self._root_fd = None

    def __enter__(self) -> TargetTree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _use(self, path: bytes) -> int:
        if not path:
            assert self._root_fd is not None, "closed"
            return self._root_fd
        self._open.move_to_end(path)
        return self._open[path]

    def _enter(self, above: int, name: bytes, path: bytes, create: bool) -> int:
        with _failing(self.root, path):
            fd = _open_or_make(above, name, create)
        self._open[path] = fd
        if len(self._open) > _KEPT_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def _make(self, make: Callable[[bytes], _Made]) -> tuple[_Made, bytes]:
        while True:
            name = TEMPORARY + self._random(8).hex().encode()
            with _failing(), contextlib.suppress(FileExistsError):
                return make(name), name


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`.  Raises TargetError, or TargetFull when there is no room."""
    with _failing():
        while data:
            written = os.pwrite(fd, data, offset)
            offset += written
            data = data[written:]


def open_existing(dir_fd: int, name: bytes, expected: Identity, *, write: bool = False) -> int:
    """A descriptor of a regular file that is there, for the caller to close.

    Raises TargetError where it is not the one that was looked at, DamageError for a name that is none.
    """
    check_name(name)
    flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with _failing():
        fd = open_unseen(name, flags, dir_fd)  # an access time that was given back is to stay
        try:
            if identity(os.fstat(fd)) != expected or expected[2] != stat.S_IFREG:
                raise TargetError("somebody replaced it meanwhile")
        except BaseException:
            os.close(fd)
            raise
    return fd


def remove_tree(dir_fd: int, name: bytes) -> bool:
    """Remove something with all that is in it, never through a link, and nothing on another file system; whether it went.

    Raises DamageError for a name that is none: of all calls, this one must not get `..`.
    """
    check_name(name)
    try:
        device = os.fstat(dir_fd).st_dev
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=dir_fd)
            return True
        if found.st_dev != device:
            return False
        _empty(dir_fd, name, device)
        os.rmdir(name, dir_fd=dir_fd)
    except OSError:
        return False
    return True


def _empty(dir_fd: int, name: bytes, device: int) -> None:
    """Remove all in a directory.  One descriptor a level is open: a tree deeper than those stays."""
    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        if os.fstat(fd).st_dev != device:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        for child in os.listdir(fd):
            below = os.fsencode(child)
            if stat.S_ISDIR(os.stat(below, dir_fd=fd, follow_symlinks=False).st_mode):
                _empty(fd, below, device)
                os.rmdir(below, dir_fd=fd)
            else:
                os.unlink(below, dir_fd=fd)
    finally:
        os.close(fd)


def set_size(fd: int, size: int) -> None:
    """Make a file so long: what was not written is a hole.  Raises TargetError, TargetFull."""
    with _failing():
        os.ftruncate(fd, size)


def _open_or_make(above: int, name: bytes, create: bool) -> int:
    flags = _DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=above)
    except FileNotFoundError:
        if not create:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=above)
    return os.open(name, flags, dir_fd=above)


def identity(found: os.stat_result) -> Identity:
    """Which file it is."""
    return found.st_dev, found.st_ino, stat.S_IFMT(found.st_mode)


@contextlib.contextmanager
def _failing(*parts: bytes) -> Iterator[None]:
    """`parts`: the path, where it is a directory's; of a file only the caller knows more than a temporary name."""
    try:
        yield
    except OSError as error:
        raise translate(error, os.path.join(b"", *parts)) from error


def translate(error: OSError, path: bytes = b"") -> TargetError:
    """What the system said about a path of the target, as the error that says the same; without a path, its message has
    none either.  A TargetFull's never has: it is about all of the target."""
    if error.errno in _FULL:
        return TargetFull(explain(error), hint="make room and run the restore again")
    if error.errno in _OUR_OWN:
        # No fault of the path: as one it would be told of thousands that could have been restored.
        return TargetFull(explain(error), hint="raise the limits on open files and memory")
    shown = f"{os.fsdecode(path)}: " if path else ""
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return TargetError(
            f"{shown}a link or file is where a directory must be", hint="move it away, or restore elsewhere"
        )
    return TargetError(f"{shown}{explain(error)}")
