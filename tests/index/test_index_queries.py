"""The index's one connection: queries that somebody leaves in the middle, and what is held between queries."""

from __future__ import annotations

import gc
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from vaultpy.index.db import create_index, create_scratch
from vaultpy.index.live import ensure_owner


def test_a_query_left_in_the_middle_ends_quietly_after_its_index_was_closed(tmp_path: Path) -> None:
    """An operation that fails closes its index before Python forgets what was looked at; pytest makes what is then said on
    standard error a failure."""
    with create_scratch(tmp_path / "index") as index:
        left = index.each("SELECT 1 UNION SELECT 2")
        assert next(left) == (1,)
    del left
    gc.collect()


def test_what_is_held_keeps_others_from_writing_until_it_is_let_go(tmp_path: Path) -> None:
    with create_index(tmp_path / "index") as index, closing(another(index.path)) as writer:
        index.hold()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            write(writer)
        index.let_go()
        write(writer)


def test_others_come_to_write_although_it_is_held_for_every_query(tmp_path: Path) -> None:
    with create_index(tmp_path / "index") as index, ThreadPoolExecutor(1) as other:
        writing = other.submit(write_patiently, index.path)
        while not writing.done():
            index.hold()
            index.rows("SELECT * FROM meta")
        writing.result()


@pytest.mark.parametrize("kind", ["run", "run_many", "transaction", "owner"])
def test_who_writes_holds_nothing_meanwhile_and_so_waits_for_another_who_writes(tmp_path: Path, kind: str) -> None:
    """SQLite refuses at once who reads and asks to write while another writes: each would wait for the other."""
    with create_index(tmp_path / "index") as index, ThreadPoolExecutor(1) as other:
        writer = another(index.path, check_same_thread=False)
        writer.execute("BEGIN IMMEDIATE")
        index.hold()
        ending = other.submit(end_soon, writer)
        if kind == "run":
            index.run("INSERT INTO meta VALUES ('k', 'v')")
        elif kind == "run_many":
            index.run_many("INSERT INTO meta VALUES (?, ?)", [("k", "v")])
        elif kind == "owner":
            ensure_owner(index, 1, 2, b"u", b"g")
        else:
            with index.transaction():
                index.run("INSERT INTO meta VALUES ('k', 'v')")
        ending.result()


def test_within_a_transaction_there_is_nothing_to_hold(tmp_path: Path) -> None:
    with create_index(tmp_path / "index") as index:
        with index.transaction():
            index.hold()
            index.run("INSERT INTO meta VALUES ('k', 'v')")
        assert another_sees(index.path) == [("k", "v")]


def another(path: Path, *, timeout: float = 0, check_same_thread: bool = True) -> sqlite3.Connection:
    """Another process's connection."""
    return sqlite3.connect(path, isolation_level=None, timeout=timeout, check_same_thread=check_same_thread)


def another_sees(path: Path) -> list[tuple[str, str]]:
    with closing(another(path)) as reader:
        return reader.execute("SELECT * FROM meta").fetchall()


def write(writer: sqlite3.Connection) -> None:
    writer.execute("INSERT INTO meta VALUES ('k', 'v')")


def write_patiently(path: Path) -> None:
    with closing(another(path, timeout=20)) as writer:
        write(writer)


def end_soon(writer: sqlite3.Connection) -> None:
    time.sleep(0.05)
    writer.execute("COMMIT")
    writer.close()
