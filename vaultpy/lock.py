"""One writing run at a time per state folder: flock, so that a crash never leaves it held.

It guards the local index only.  What lies in the store is safe without it (docs/guarantees.md).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vaultpy.errors import ConfigError, LockedError

_POLL_SECONDS = 0.2

_NOTE_SECONDS = 1
"""How long somebody who has just taken the lock may need to say so."""


class HeldLock(LockedError):
    """Another process holds the lock; `since` is when it took it, in nanoseconds since 1970 (None: it did not say)."""

    def __init__(self, message: str, *, hint: str, since: int | None) -> None:
        super().__init__(message, hint=hint)
        self.since = since


@contextlib.contextmanager
def hold_lock(path: Path, what: str, *, clock: Callable[[], int], wait_seconds: float = 0) -> Iterator[None]:
    """Hold the lock for the block; `what` tells others who holds it.  Raises HeldLock after `wait_seconds`."""
    with _translated(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _translated(path):
            _take(fd, wait_seconds)
            note = json.dumps({"pid": os.getpid(), "what": what, "since": clock()}).encode()
            os.ftruncate(fd, 0)
            os.pwrite(fd, note, 0)
        try:
            yield
        finally:
            # Else whoever is refused before the next holder has said who he is would be told of us.
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
    finally:
        # Closing lets go.  The file stays: removing it would let two processes hold locks on two files of one name.
        os.close(fd)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"lock {path} cannot be taken: {(error.strerror or str(error)).lower()}",
            hint="run as the user that the state folder belongs to, and look at its disk",
        ) from error


def _take(fd: int, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            note = os.pread(fd, 4096, 0)
            if time.monotonic() >= (deadline if note else deadline + _NOTE_SECONDS):
                raise _held(note) from None
            time.sleep(_POLL_SECONDS)


def _held(note: bytes) -> HeldLock:
    try:
        said = json.loads(note)
        who, since = f"{said['what']} (process {said['pid']})", int(said["since"])
    except (ValueError, KeyError, TypeError):
        who, since = "another run", None
    return HeldLock(f"lock is held by {who}", hint="wait for it to end, or give --wait DURATION", since=since)
