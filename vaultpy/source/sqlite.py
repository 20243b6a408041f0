"""Databases in use: the state of one moment of a SQLite database that other programs go on writing.

Two ways lead to it, and both end in one file of a scratch folder that has no -wal and no -journal beside it:

- SQLite's online backup interface, by a reader that creates nothing.  Its copy keeps every page in its place, so that it
  shares chunks with the copy before; `VACUUM INTO` would move them all, and may change rowids.
- Copying database, -wal and -journal while none of them changes, and bringing them together in the copy, as SQLite does
  after a crash.  For what a crashed program left, for programs that lock everybody else out, and for file systems without
  locks.  It takes no lock, and the source's own journal is never rolled back.

Each fails when its time is up: then there is no consistent copy, and the caller has to say so.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vaultpy.errors import ReplacedError, SourceError
from vaultpy.source import sqlite_child
from vaultpy.source.failures import translate
from vaultpy.source.programs import wait_for_killed
from vaultpy.source.still import copy_still
from vaultpy.units import format_size

HEADER = b"SQLite format 3\x00"

SUFFIXES = (b"-wal", b"-journal")
"""What lies beside a database that is in use, and holds a part of it."""

HOLD_SECONDS = 1.0
"""How long writers of a database that is not in WAL mode may be kept waiting, at a time."""

SHORT_WAIT_SECONDS = 2.0
"""For a lock to go away, before the files are copied instead."""

LONG_WAIT_SECONDS = 60.0
"""For a lock to go away, or for a pause between two writes, when nothing else is left."""

MARGIN = 32 << 20
"""Bytes that stay free in the scratch folder."""

SILENCE_SECONDS = 120.0
"""A copying process that says nothing for so long is stuck in the file system."""


_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_SUPER_TAIL = struct.Struct(">II8s")
"""How a journal that names a super-journal ends: the name's length, a checksum, the magic number."""


class NotCaptured(SourceError):
    """There is no consistent copy of a database; the message says why."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a capture may take for what; in seconds."""

    hold: float = HOLD_SECONDS
    short: float = SHORT_WAIT_SECONDS
    long: float = LONG_WAIT_SECONDS


@dataclass(frozen=True, slots=True)
class Place:
    """A database in an open folder: its name there, its absolute path, and what was listed."""

    dir_fd: int
    name: bytes
    path: bytes
    stat: os.stat_result


def base_names(names: Iterable[bytes]) -> set[bytes]:
    """The names that a -wal or -journal among `names` would belong to."""
    return {name[: name.rindex(b"-")] for name in names if name.endswith(SUFFIXES)}


def companions_of(name: bytes) -> tuple[bytes, ...]:
    """What belongs to a database and is stored inside its copy, or made anew by whoever opens it."""
    return (*(name + suffix for suffix in SUFFIXES), name + b"-shm")


def is_database(fd: int) -> bool:
    """Whether an open file begins as a SQLite database does.  Raises SourceError."""
    try:
        return os.pread(fd, len(HEADER), 0) == HEADER
    except OSError as error:
        raise translate(error) from error


def stat_journals(dir_fd: int, name: bytes) -> dict[bytes, os.stat_result]:
    """What is there of a database's -wal and -journal, by suffix."""
    found = {}
    for suffix in SUFFIXES:
        with contextlib.suppress(OSError):
            found[suffix] = os.stat(name + suffix, dir_fd=dir_fd, follow_symlinks=False)
    return found


def capture(place: Place, scratch: Path, waits: Waits = Waits()) -> int:
    """A descriptor of a consistent copy of the database, to be closed by the caller; the copy has no name any more.

    Raises ReplacedError when the file is another one by now, and NotCaptured.
    """
    _make_room(place, scratch)
    try:
        fd, target = tempfile.mkstemp(dir=scratch, prefix="database-")
    except OSError as error:
        raise NotCaptured(f"scratch folder {scratch}: {os.strerror(error.errno or 0).lower()}") from error
    try:
        _capture_into(place, target, waits)
    except BaseException:
        os.close(fd)
        raise
    finally:
        for suffix in ("", "-wal", "-journal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target + suffix)
    return fd


def _capture_into(place: Place, target: str, waits: Waits) -> None:
    failure = _copy_online(place, target, waits.hold, waits.short)
    if failure is None:
        return
    if _copy_files(place, target):
        forget_super_journal(target + "-journal")
        failure = _run({"task": "recover", "target": target})
    elif failure.reason == "busy":
        os.truncate(target, 0)
        failure = _copy_online(place, target, waits.hold, waits.long)
    if failure is not None:
        raise NotCaptured(failure.detail)


def _copy_files(place: Place, target: str) -> bool:
    try:
        return copy_still(place.dir_fd, place.name, SUFFIXES, target)
    except SourceError as error:
        raise NotCaptured(error.message) from error


def _make_room(place: Place, scratch: Path) -> None:
    """Raises NotCaptured where the copy, and what bringing in a -wal adds to it, would not leave room in the folder."""
    journals = sum(found.st_size for found in stat_journals(place.dir_fd, place.name).values())
    needed = place.stat.st_size + 2 * journals + MARGIN
    try:
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        room, folder = os.statvfs(scratch), os.stat(scratch)
    except OSError as error:
        raise NotCaptured(f"scratch folder {scratch}: {os.strerror(error.errno or 0).lower()}") from error
    if folder.st_uid != os.geteuid() or folder.st_mode & 0o022:
        # Whoever can rename there could have us write to a file of their choice.
        raise NotCaptured(f"scratch folder {scratch}: others can write there")
    if room.f_bavail * room.f_frsize < needed:
        free = format_size(room.f_bavail * room.f_frsize)
        raise NotCaptured(f"copying it takes {format_size(needed)}, and {scratch} has {free} free")


def forget_super_journal(path: str) -> None:
    """Take out of a copied journal what ties it to the journals of other databases.

    Some transactions span several databases; their journals name a super-journal, and count for nothing once that is
    gone.  SQLite would delete the file of that name when it is done with them, be it what it may: so it must not see it.
    """
    try:
        with open(path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _SUPER_TAIL.size, 0))
            tail = file.read()
            if len(tail) < _SUPER_TAIL.size:
                return
            length, _checksum, magic = _SUPER_TAIL.unpack(tail)
            if magic != _JOURNAL_MAGIC or length > size - _SUPER_TAIL.size:
                return
            file.seek(size - _SUPER_TAIL.size - length)
            named = file.read(length)
            if b"\0" in named or os.path.lexists(named):
                file.seek(size - len(magic))
                file.write(bytes(len(magic)))
            else:
                file.truncate(0)
    except FileNotFoundError:
        return


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    detail: str


def _copy_online(place: Place, target: str, hold: float, wait: float) -> _Failure | None:
    order = {
        "task": "copy",
        "path": place.path.hex(),
        "inode": (place.stat.st_dev, place.stat.st_ino),
        "target": target,
        "owner": _owner(place.stat),
        "hold": hold,
        "wait": wait,
    }
    failure = _run(order)
    if failure is not None and failure.reason == "replaced":
        raise ReplacedError(failure.detail)
    return failure


def _owner(found: os.stat_result) -> tuple[int, int, list[int]] | None:
    """Whom root becomes to read a file, with their groups; None where there is nobody to become."""
    if os.geteuid() != 0 or found.st_uid == 0:
        return None
    try:
        user = pwd.getpwuid(found.st_uid)
    except KeyError:
        return found.st_uid, found.st_gid, []
    return found.st_uid, user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid)


def _run(order: Mapping[str, object]) -> _Failure | None:
    """Have the other process do it; None when it did."""
    command = [sys.executable, "-I", "-S", sqlite_child.__file__, json.dumps(order)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/"
    )
    try:
        lines = _read_lines(process)
    finally:
        process.kill()
        wait_for_killed(process)
        if process.stdout is not None:
            process.stdout.close()
    if lines is None:
        return _Failure("failed", f"no progress in {SILENCE_SECONDS:.0f} s")
    try:
        answer = json.loads(lines.splitlines()[-1])
    except (ValueError, IndexError):
        return _Failure("failed", f"copying it crashed (exit code {process.returncode})")
    return None if answer["reason"] is None else _Failure(answer["reason"], answer["detail"])


def _read_lines(process: subprocess.Popen[bytes]) -> bytes | None:
    """All that it says; None when it says nothing for too long."""
    assert process.stdout is not None
    fd, said = process.stdout.fileno(), b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        if not poll.poll(SILENCE_SECONDS * 1000):
            return None
        data = os.read(fd, 4096)
        if not data:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SILENCE_SECONDS)
            return said
        said = (said + data).lstrip(b"\n")
