"""A rebuilt index takes the old one's name, and nothing that SQLite left of the old one spoils it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from vaultpy.ops.rebuild import _put_aside


def make_database(path: Path, rows: int) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE numbers (number INTEGER, text TEXT)")
        database.executemany("INSERT INTO numbers VALUES (?, ?)", ((n, "x" * 100) for n in range(rows)))
    database.close()


def crash_in_transaction(path: Path) -> None:
    """Leave the journal of a transaction that never ended, as a power cut does."""
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size = 2")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE numbers SET text = 'half'")
    journal = path.with_name(path.name + "-journal")
    half, left = path.read_bytes(), journal.read_bytes()
    writer.execute("ROLLBACK")
    writer.close()
    path.write_bytes(half)
    journal.write_bytes(left)


def count(path: Path) -> tuple[int, int, str]:
    database = sqlite3.connect(path)
    try:
        whole, half = database.execute("SELECT count(*), sum(text = 'half') FROM numbers").fetchone()
        return whole, half, database.execute("PRAGMA integrity_check").fetchone()[0]
    finally:
        database.close()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "index.sqlite"
    make_database(path, 2000)
    crash_in_transaction(path)
    return path


def test_the_journal_of_a_lost_index_does_not_spoil_the_new_one(index: Path, tmp_path: Path) -> None:
    make_database(tmp_path / "new", 500)
    index.unlink()
    _put_aside(index)
    (tmp_path / "new").replace(index)
    assert count(index) == (500, 0, "ok")


def test_the_old_index_is_kept_with_its_journal(index: Path, tmp_path: Path) -> None:
    make_database(tmp_path / "new", 500)
    _put_aside(index)
    (tmp_path / "new").replace(index)
    assert count(index) == (500, 0, "ok")
    assert count(tmp_path / "index.sqlite.old") == (2000, 0, "ok")


def test_what_lies_beside_an_earlier_old_index_goes_with_it(index: Path, tmp_path: Path) -> None:
    _put_aside(index)
    make_database(index, 500)
    _put_aside(index)
    assert count(tmp_path / "index.sqlite.old") == (500, 0, "ok")


@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
def test_nothing_of_the_old_index_stays_under_its_name(index: Path, end: str) -> None:
    beside = index.with_name(index.name + end)
    beside.write_bytes(b"left")
    _put_aside(index)
    assert not beside.exists()
    assert index.with_name(f"{index.name}.old{end}").read_bytes() == b"left"
