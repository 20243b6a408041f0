"""A program of its own that copies one SQLite database.  `source.sqlite` starts it; nothing here imports vaultpy.

It is another process for three reasons.  Closing any descriptor of a database drops all of a process's locks on it, so
whoever holds such locks must not open and close files beside.  Started by root it becomes the database's owner before it
looks at anything of theirs: what it can read, delete or create is then what they could themselves, and a file that SQLite
should create is one that they can open.  And a database that crashes SQLite crashes no backup.

The order comes as JSON in the only argument, the answer is JSON in the last line on standard output; other lines are
empty and say that it is alive.  SQLite's locks: https://sqlite.org/fileformat2.html#the_lock_byte_page.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import stat
import sys
import time
from typing import Any
from urllib.parse import quote

SHARED_FIRST, SHARED_SIZE = 0x40000002, 510
WAL_VERSION = 2
HELD_PAGES, FREE_PAGES = 256, 128
NAP_SECONDS = 0.01
BEAT_SECONDS = 1.0


class Failed(Exception):
    """`reason`: "busy" may pass by itself, "unshared" wants the files copied instead, "full", "replaced", "failed"."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class _HeldTooLong(Exception):
    """Writers waited for as long as they may be made to."""


def main(order: dict[str, Any]) -> None:
    try:
        (copy_online if order["task"] == "copy" else recover)(order)
        answer = {"reason": None, "detail": ""}
    except Failed as failure:
        answer = {"reason": failure.reason, "detail": failure.detail}
    except sqlite3.Error as error:
        answer = {"reason": _reason(error), "detail": str(error)}
    except OSError as error:
        answer = {"reason": "failed", "detail": os.strerror(error.errno or 0).lower()}
    sys.stdout.write("\n" + json.dumps(answer))
    sys.stdout.flush()


def copy_online(order: dict[str, Any]) -> None:
    """Copy the state of one moment into `target`, an empty file, by SQLite's online backup interface."""
    target = connect(os.fsencode(order["target"]), "rw")
    # A journal in memory, since nothing can be opened by name in the scratch folder once we are somebody else.
    target.execute("PRAGMA journal_mode=MEMORY")
    target.execute("PRAGMA synchronous=OFF")
    if order["owner"] is not None:
        become(*order["owner"])
    deadline = time.monotonic() + order["wait"]
    while True:
        try:
            _copy(bytes.fromhex(order["path"]), tuple(order["inode"]), target, order["hold"], deadline)
            return
        except (Failed, sqlite3.Error) as error:
            if (error.reason if isinstance(error, Failed) else _reason(error)) != "busy" or time.monotonic() > deadline:
                raise
        _beat()
        time.sleep(NAP_SECONDS)


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Be another user, with no way back."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _copy(path: bytes, inode: tuple[int, int], target: sqlite3.Connection, hold: float, deadline: float) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _expect(os.fstat(fd), inode)
        _share(fd)
        in_wal_mode = os.pread(fd, 1, 18) == bytes([WAL_VERSION])
        # Looked for under the lock, because nobody takes them away while somebody has it.  Without them SQLite would
        # make a -wal even for who only reads.
        if in_wal_mode and not all(_is_file(path + suffix) for suffix in (b"-wal", b"-shm")):
            raise Failed("unshared", "no -wal and -shm beside it")
        source = connect(path, "ro")
        try:
            source.execute("PRAGMA mmap_size=0")  # reading a mapped file that somebody cuts would kill us
            _begin(source)
            _expect_open(inode, besides=fd)
            if in_wal_mode:
                source.backup(target, pages=HELD_PAGES, progress=_Watch())  # readers keep no writer of a WAL waiting
            else:
                _copy_journaled(source, target, hold, deadline)
        finally:
            source.close()
    finally:
        os.close(fd)  # last: this drops SQLite's locks, too


def _copy_journaled(source: sqlite3.Connection, target: sqlite3.Connection, hold: float, deadline: float) -> None:
    """A reader keeps writers waiting.  So in one go as long as that is short, else piece by piece: each piece is short,
    and a write between two begins the copy anew."""
    try:
        source.backup(target, pages=HELD_PAGES, progress=_Watch(time.monotonic() + hold))
        return
    except _HeldTooLong:
        source.execute("COMMIT")
    try:
        source.backup(target, pages=FREE_PAGES, progress=_Watch(deadline, NAP_SECONDS), sleep=NAP_SECONDS)
    except _HeldTooLong:
        raise Failed("busy", "it is written to all the time") from None


def _begin(source: sqlite3.Connection) -> None:
    """Begin a read transaction; the schema version is in the header, so no schema of theirs is parsed."""
    source.execute("BEGIN")
    source.execute("PRAGMA schema_version").fetchall()


class _Watch:
    """Called after each step of a backup: says that we are alive, rests, and ends it when time is up."""

    def __init__(self, until: float | None = None, rest: float = 0.0) -> None:
        self._until, self._rest = until, rest
        self._last_beat = time.monotonic()

    def __call__(self, status: int, remaining: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last_beat > BEAT_SECONDS:
            self._last_beat = now
            _beat()
        if self._until is not None and now > self._until and remaining:
            raise _HeldTooLong
        if self._rest and remaining:
            time.sleep(self._rest)


def _share(fd: int) -> None:
    """SQLite's shared lock, taken as it would; one that opens the database for itself alone lets nobody have it."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, SHARED_SIZE, SHARED_FIRST)
    except OSError as error:
        if isinstance(error, (BlockingIOError, PermissionError)):
            raise Failed("busy", "another program keeps it locked") from error
        raise


def _expect(found: os.stat_result, inode: tuple[int, int]) -> None:
    if not stat.S_ISREG(found.st_mode) or (found.st_dev, found.st_ino) != inode:
        raise Failed("replaced", "another file has the name now")


def _expect_open(inode: tuple[int, int], besides: int) -> None:
    """SQLite opens by path: what it has open must be the file that was listed."""
    for fd in range(3, 256):
        with contextlib.suppress(OSError):
            found = os.fstat(fd)
            if fd != besides and (found.st_dev, found.st_ino) == inode:
                return
    raise Failed("replaced", "another file has the name now")


def recover(order: dict[str, Any]) -> None:
    """Bring a copied database and its -wal or -journal together in one file, as SQLite does after a crash."""
    path = os.fsencode(order["target"])
    database = connect(path, "rw")
    try:
        database.execute("PRAGMA locking_mode=EXCLUSIVE")  # before the first read: then a WAL needs no -shm
        database.execute("PRAGMA synchronous=OFF")
        _begin(database)
        database.execute("COMMIT")
    finally:
        database.close()
    for suffix in (b"-wal", b"-journal"):
        if _holds_something(path + suffix):
            raise Failed("failed", "its journal could not be brought in")


def _holds_something(path: bytes) -> bool:
    """A journal whose first bytes are zero was done with, and kept for the next transaction."""
    try:
        with open(path, "rb") as journal:
            return any(journal.read(8))
    except FileNotFoundError:
        return False


def connect(path: bytes, mode: str) -> sqlite3.Connection:
    # readonly_shm: nothing is created, and a WAL that nobody has open is read without the -shm that a crash left.
    uri = f"file:{quote(path)}?mode={mode}" + ("&readonly_shm=1" if mode == "ro" else "")
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=0.1)


def _reason(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return "busy"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR")):
        return "unshared"  # a hot journal, a -shm that cannot be used, locks that this file system has not got
    return "full" if name.startswith("SQLITE_FULL") else "failed"


def _is_file(path: bytes) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _beat() -> None:
    sys.stdout.write("\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
