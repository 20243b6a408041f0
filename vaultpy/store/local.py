"""`file://`: a store in a folder.

    put:  temporary name → write → fsync → link to the final name (create-only, atomic) → fsync of the folder

Where a file system has no hard links, a locked reservation stands for the link: whoever holds it looks whether the name is
free and renames.  What dies on the way leaves a temporary file that no listing shows and that a later put sweeps away after
a day.

A disk that is unmounted leaves an empty folder behind, in which nothing is ever found.  So before "not there" is believed,
and before a listing counts as whole, the root must still be the folder that was opened.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from vaultpy.durable import sync_folder
from vaultpy.errors import (
    NoStore,
    ObjectExists,
    ObjectNotFound,
    StoreContradiction,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from vaultpy.store import names
from vaultpy.store.base import Body, ObjectInfo, Store
from vaultpy.store.bodies import PIECE, body_pieces, check_name, same_bytes, small_pieces
from vaultpy.store.limit import FREE, Line, Pace
from vaultpy.store.location import FileLocation
from vaultpy.store.whole import check_whole

TEMPORARY = ".vaultpy-tmp"
"""Folder of unfinished puts, in the store's root: one file system with the objects, and in no listing."""

STALE = 24 * 3600 * 10**9
"""Nanoseconds after which an unfinished put is nobody's any more."""

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})


_STAYS = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EBUSY, errno.EPERM, errno.EACCES})
"""Why a folder is not removed that need not be: what is in it, that it is gone, that it may not go."""

_TRIES = 3


class LocalStore:
    """Objects as files below `root`, over a line.  Safe for several threads and several processes."""

    def __init__(self, root: Path, line: Line = FREE) -> None:
        self.root = root
        self.line = line
        self.url = FileLocation(root).url
        with _translated(root, "be opened"):
            identity = self._root_identity()
        if identity is None:
            raise NoStore(f"store folder {root} does not exist", hint="check the path, or mount the disk it lies on")
        self._identity = identity
        self._durable_folders: set[Path] = set()
        self._swept = False

    def put(self, name: str, body: Body) -> None:
        with _translated(self.root, f"put {name}"):
            target = self._path(name)
            self._check_root()
            self._sweep()
            temporary = self._write_temporary(body)
            try:
                self._place(temporary, target, name, body)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    temporary.unlink()

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        with _translated(self.root, f"get {name}"):
            fd = self._open(self._path(name), name)
            try:
                size = os.fstat(fd).st_size
                wanted = size - start if length is None else length
                if start < 0 or wanted < 0 or start + wanted > size:
                    raise StoreContradiction(f"object {name} has {size} bytes, not {start + max(wanted, 0)}")
                if length is None:
                    check_whole(name, wanted)
                return _read_exactly(fd, start, wanted, name, self.line.down)
            finally:
                os.close(fd)

    def stat(self, name: str) -> ObjectInfo | None:
        with _translated(self.root, f"stat {name}"):
            try:
                found = os.lstat(self._path(name))
            except (FileNotFoundError, NotADirectoryError):
                self._check_root()
                return None
            if stat.S_ISLNK(found.st_mode):
                raise _symlink_found(name)
            return ObjectInfo(name, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with _translated(self.root, f"list {prefix or 'everything'}"):
            yield from self._walk("", prefix)
            self._check_root()

    def delete(self, name: str) -> None:
        with _translated(self.root, f"delete {name}"):
            path = self._path(name)
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                self._check_root()
                return
            try:
                sync_folder(path.parent)
            except FileNotFoundError:
                # Somebody else has deleted the last object there, and the folder: that has to last instead.
                self._check_root()
                sync_folder(path.parent.parent)
                return
            if name.startswith(names.METADATA):
                _remove_if_empty(path.parent)

    def clock(self) -> int:
        with _translated(self.root, "be written"):
            temporary = self._temporary_path()
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            try:
                # The kernel that serves this folder stamps the file, as it stamps the objects.
                return os.stat(temporary).st_mtime_ns
            finally:
                temporary.unlink()

    def _root_identity(self) -> tuple[int, int] | None:
        """Device and inode of the root; None where there is no such folder."""
        try:
            found = os.stat(self.root)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None

    def _check_root(self) -> None:
        if self._root_identity() != self._identity:
            raise StoreUnavailable(f"store folder {self.root} is not the one it was", hint="is its disk still mounted?")

    def _path(self, name: str) -> Path:
        """Where an object lies.  Folders that are symlinks are refused here as in listings, so that the two agree."""
        check_name(name)
        target = self.root / name
        for parent in target.parents[: name.count("/")]:
            if parent.is_symlink():
                raise _symlink_found(str(parent.relative_to(self.root)))
        return target

    def _temporary_path(self) -> Path:
        folder = self.root / TEMPORARY
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / secrets.token_hex(16)

    def _write_temporary(self, body: Body) -> Path:
        path = self._temporary_path()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                if self.line.up is None:
                    for piece in body_pieces(body):
                        _write_all(fd, piece)
                else:
                    _write_paced(fd, body, self.line.up)
                os.fsync(fd)
            finally:
                os.close(fd)
        except BaseException:
            path.unlink()
            raise
        return path

    def _make_folders(self, folder: Path) -> None:
        """Make a folder and those above it, each durable before anything is put into it.

        Once per process also for a folder that is there: whoever made it may have died, or be waiting, before its fsync.
        """
        if folder == self.root or (folder in self._durable_folders and folder.is_dir()):
            return
        self._make_folders(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
        self._durable_folders.add(folder)

    def _place(self, temporary: Path, target: Path, name: str, body: Body) -> None:
        """Give the temporary file its name, in a folder that whoever deletes its last object may take away meanwhile; nor need
        the object stay that has the name already."""
        for _ in range(_TRIES - 1):
            self._make_folders(target.parent)
            with contextlib.suppress(FileNotFoundError, ObjectNotFound):
                self._give_name(temporary, target, name, body)
                return
        self._make_folders(target.parent)
        self._give_name(temporary, target, name, body)

    def _give_name(self, temporary: Path, target: Path, name: str, body: Body) -> None:
        try:
            os.link(temporary, target, follow_symlinks=False)
        except FileExistsError:
            self._accept_existing(target, name, body)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._rename_reserved(temporary, target, name, body)
        sync_folder(target.parent)

    def _rename_reserved(self, temporary: Path, target: Path, name: str, body: Body) -> None:
        """Create-only without links: only the holder of the name's reservation looks and renames."""
        with _reserved(self.root / TEMPORARY / f"reserved-{hashlib.sha256(name.encode()).hexdigest()}"):
            if os.path.lexists(target):
                self._accept_existing(target, name, body)
            else:
                os.rename(temporary, target)

    def _accept_existing(self, target: Path, name: str, body: Body) -> None:
        fd = self._open(target, name)
        try:
            with open(fd, "rb", closefd=False) as existing:
                if not same_bytes(existing, body):
                    raise ObjectExists(f"object {name} exists with other bytes")
            # It may be another process's link that is not durable yet; ours is when this returns.
            os.fsync(fd)
        finally:
            os.close(fd)

    def _open(self, path: Path, name: str) -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            self._check_root()
            raise ObjectNotFound(f"object {name} is not in the store") from None
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            os.close(fd)
            raise ObjectNotFound(f"object {name} is not in the store")
        if not stat.S_ISREG(mode):
            os.close(fd)
            raise StoreContradiction(f"object {name} is not a file")
        return fd

    def _walk(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        """Files below a folder, in the byte order of whole names: a folder `a` sorts as `a/`, behind `a.b`."""
        try:
            with os.scandir(self.root / folder) as found:
                entries = sorted(
                    (entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name, entry) for entry in found
                )
        except FileNotFoundError:
            if folder:
                return  # removed since its parent was listed, as were the objects in it; the root is looked at in the end
            raise
        for shown, entry in entries:
            name = folder + shown
            if entry.is_symlink() and _may_hold(name + "/", prefix):
                # To leave it out would be to call what lies behind it gone: a prune would then believe it.
                raise _symlink_found(name)
            if shown == TEMPORARY + "/" or not _may_hold(name, prefix):
                continue
            if shown.endswith("/"):
                yield from self._walk(name, prefix)
            elif entry.is_file(follow_symlinks=False):
                try:
                    found_stat = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield ObjectInfo(name, found_stat.st_size, found_stat.st_mtime_ns)

    def _sweep(self) -> None:
        """Once per process: remove what puts that died left behind, when it is surely nobody's any more."""
        if self._swept:
            return
        self._swept = True
        folder = self.root / TEMPORARY
        if not folder.is_dir():
            return
        limit = self.clock() - STALE
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime_ns < limit:
                        os.unlink(entry)


def create_local(root: Path) -> LocalStore:
    """The store in a folder that is made, with its parents, where it does not exist."""
    with _translated(root, "be made"):
        missing = [folder for folder in (root, *root.parents) if not folder.exists()]
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)
    return LocalStore(root)


def opens_anywhere(store: Store) -> bool:
    """Whether other processes of this machine may open the store as well: a folder, and no limit to be held together."""
    return isinstance(store, LocalStore) and not store.line.limited


@contextlib.contextmanager
def _reserved(path: Path) -> Iterator[None]:
    """Hold a reservation, after waiting for whoever has it.

    A lock on the file rather than its existence: the kernel drops the lock of a process that dies, so a killed put does not
    keep the next run from putting the same manifest again.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not _is_at(fd, path):
                continue  # the one we waited for has removed it: a lock on that file keeps nobody out
            try:
                yield
            finally:
                os.unlink(path)
            return
        finally:
            os.close(fd)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _remove_if_empty(folder: Path) -> None:
    """A snapshot's folder goes with its last object, else every listing would walk through all snapshots that ever were.

    Only these go, because only one process ever makes such a folder: one that others make as well could be made anew, and
    not be durable, behind the back of a put that made it durable before.  That it comes back after a power cut does no harm.
    """
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in _STAYS:
            raise


def _symlink_found(name: str) -> StoreContradiction:
    return StoreContradiction(
        f"store has a symbolic link at {name}", hint="mount what it points to in its place instead"
    )


def _may_hold(name: str, prefix: str) -> bool:
    if name.endswith("/"):
        return name.startswith(prefix) or prefix.startswith(name)
    return name.startswith(prefix)


def _read_exactly(fd: int, start: int, length: int, name: str, pace: Pace | None) -> bytes:
    pieces = []
    while length:
        piece = os.pread(fd, length if pace is None else min(length, PIECE), start)
        if not piece:
            raise StoreContradiction(f"object {name} ends early")
        if pace is not None:
            pace.take(len(piece))
        pieces.append(piece)
        start += len(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _write_paced(fd: int, body: Body, pace: Pace) -> None:
    unsynced = 0
    for piece in small_pieces(body):
        pace.take(len(piece))
        _write_all(fd, piece)
        unsynced += len(piece)
        if unsynced >= PIECE:
            # A network file system would keep all of it, and send it in one burst at the last fsync.
            os.fdatasync(fd)
            unsynced = 0


def _write_all(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


@contextlib.contextmanager
def _translated(root: Path, operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = (os.strerror(error.errno) if error.errno else str(error)).lower()
        what = f"store {root} cannot {operation}: {said}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreFull(what, hint="make room in the store; nothing finished is lost") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreDenied(what, hint="check who owns the store's folder and how it is mounted") from error
        if error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENOENT):
            raise StoreUnavailable(what, hint="check the disk or the mount") from error
        hint = "raise the limit on open files" if error.errno in (errno.EMFILE, errno.ENFILE) else None
        raise StoreError(what, hint=hint) from error
