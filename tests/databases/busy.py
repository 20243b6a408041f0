"""A database that another process goes on writing, and what every consistent copy of it has to hold.

Transaction number n adds row n to `log` and writes n into each of `cells`, whose rows lie on pages of their own, far from
each other.  So a state between two transactions, or one that lacks the end of a transaction, shows.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vaultpy.source.sqlite import Place

CELLS = 200
"""Rows of 3,000 bytes, one a page."""

WRITER = """
import os, sqlite3, sys, time
path, mode, exclusive, count = sys.argv[1:5]
uid, cells, pause = int(sys.argv[5]), int(sys.argv[6]), float(sys.argv[7])
counter = os.open(count, os.O_RDWR)
if uid:
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
database = sqlite3.connect(path, isolation_level=None, timeout=30)
database.execute(f"PRAGMA locking_mode={exclusive}")
database.execute(f"PRAGMA journal_mode={mode}")
database.execute("PRAGMA synchronous=OFF")
database.execute("BEGIN IMMEDIATE")
database.execute("CREATE TABLE log (n INTEGER PRIMARY KEY, x)")
database.execute("CREATE TABLE cells (id INTEGER PRIMARY KEY, n, filler)")
database.executemany("INSERT INTO cells VALUES (?, 0, ?)", [(i, os.urandom(3000)) for i in range(cells)])
database.execute("COMMIT")
print("ready", flush=True)
n = 0
while True:
    order = os.read(0, 1) if pause < 0 else None
    if order == b"": break
    if order == b"k":
        database.execute("PRAGMA cache_size=2")  # some pages reach the file before the transaction ends
        database.execute("BEGIN IMMEDIATE"); database.execute("UPDATE cells SET n = -1")
        os.kill(os.getpid(), 9)
    if order == b"K": os.kill(os.getpid(), 9)
    n += 1
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO log VALUES (?, ?)", (n, n * n))
    database.execute("UPDATE cells SET n = ?", (n,))
    database.execute("COMMIT")
    os.pwrite(counter, n.to_bytes(8, "big"), 0)
    if order: print("done", flush=True)
    else: time.sleep(pause)
"""


@dataclass
class Busy:
    """The writing process; `committed` counts the transactions that it knows to be committed."""

    path: Path
    process: subprocess.Popen[bytes]
    _count: Path

    @property
    def committed(self) -> int:
        return int.from_bytes(self._count.read_bytes(), "big")

    def step(self) -> None:
        """One transaction, by a writer that waits for orders."""
        self._order(b"s")
        assert self.process.stdout is not None and self.process.stdout.readline() == b"done\n"

    def crash(self, midway: bool = False) -> None:
        """It is killed; `midway` in a transaction that has reached the files in part."""
        self._order(b"k" if midway else b"K")
        self.process.wait()

    def place(self, folder_fd: int) -> Place:
        return Place(folder_fd, os.fsencode(self.path.name), os.fsencode(self.path), os.stat(self.path))

    def beside(self) -> dict[str, tuple[int, int, int]]:
        """What lies in the folder: owner, mode and inode by name."""
        found = {one.name: one.stat() for one in os.scandir(self.path.parent)}
        return {name: (one.st_uid, one.st_mode, one.st_ino) for name, one in found.items()}

    def _order(self, what: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(what)
        self.process.stdin.flush()


@contextmanager
def busy(
    path: Path, mode: str, *, pause: float = 0.001, exclusive: bool = False, uid: int = 0, cells: int = CELLS
) -> Iterator[Busy]:
    """A process that writes one transaction after another; with a negative pause, when it is told to."""
    count = path.parent.parent / f"{path.name}.count"
    count.write_bytes(bytes(8))
    locking = "EXCLUSIVE" if exclusive else "NORMAL"
    command = [sys.executable, "-c", WRITER, str(path), mode, locking, str(count), str(uid), str(cells), str(pause)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield Busy(path, process, count)
    finally:
        if pause >= 0:
            process.kill()
        process.stdin.close()
        process.wait()
        process.stdout.close()


def transactions_in(copy: Path) -> int:
    """How many transactions a copy holds; AssertionError or sqlite3.Error unless it is a state between two of them."""
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = database.execute("SELECT n, x FROM log ORDER BY n").fetchall()
        assert rows == [(n, n * n) for n in range(1, len(rows) + 1)]
        [(least, most, cells)] = database.execute("SELECT min(n), max(n), count(*) FROM cells").fetchall()
        assert (least, most) == (len(rows), len(rows))
        assert cells and cells % CELLS == 0
    return len(rows)


def save(fd: int, target: Path) -> Path:
    """A captured copy as a file by itself; the descriptor is closed."""
    with open(fd, "rb") as captured:
        target.write_bytes(captured.read())
    return target
