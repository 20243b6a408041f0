"""Unchanged means: size, mtime, ctime, inode, mode and owner are equal, and the content lies in blobs that may be reused.
An unchanged file costs no row; a changed or deleted one closes its row; no row is ever changed but for its end."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machine import SECOND, Machine, look, open_with

from vaultpy.config.values import Compare
from vaultpy.ops.making import create
from vaultpy.ops.making.create import Created
from vaultpy.source import batch
from vaultpy.source.walk import Folder

OTHER = {
    "size": "size = size + 1",
    "mtime": "mtime = mtime + 1",
    "ctime": "ctime = ctime + 1",
    "inode": "inode = inode + 1",
    "mode": "mode = mode + 1",
    "owner": "owner_id = (SELECT max(id) FROM owners)",
}
"""What the index says differently from the file system, as if the file had been otherwise at the last snapshot."""


def pretend(machine: Machine, *what: str) -> None:
    connection = sqlite3.connect(machine.vault.paths.index)
    with connection:
        connection.execute("INSERT INTO owners (uid, gid) VALUES (54321, 54321)")
        for one in what:
            connection.execute(f"UPDATE files SET {OTHER[one]} WHERE name = ?", (b"file0",))
    connection.close()


def versions(machine: Machine, name: bytes = b"file0") -> int:
    return int(machine.value("SELECT count(*) FROM files WHERE name = ?", name))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names of the files that are opened to be read."""
    opened: list[bytes] = []
    original = batch.open_regular

    def open_regular(dir_fd: int, name: bytes, expected: os.stat_result) -> int:
        opened.append(name)
        return original(dir_fd, name, expected)

    open_with(monkeypatch, open_regular)
    return opened


def test_an_unchanged_tree_costs_no_row_and_no_reading(machine: Machine, reads: list[bytes]) -> None:
    machine.snapshot()
    rows = machine.rows("SELECT * FROM files ORDER BY id")
    reads.clear()
    machine.snapshot()
    assert machine.rows("SELECT * FROM files ORDER BY id") == rows
    assert reads == []


@pytest.mark.parametrize("what", OTHER)
def test_each_difference_alone_makes_a_new_row(machine: Machine, reads: list[bytes], what: str) -> None:
    machine.snapshot()
    pretend(machine, what)
    reads.clear()
    machine.snapshot()
    assert versions(machine) == 2
    assert reads == [b"file0"]
    assert machine.comes_back()
    machine.snapshot()
    assert versions(machine) == 2


@pytest.mark.parametrize(
    ("compare", "overlooked", "seen"),
    [
        ("full", (), ("inode", "ctime")),
        ("no-inode", ("inode",), ("ctime", "mtime", "size")),
        ("no-ctime", ("ctime",), ("inode", "mtime", "size")),
        ("size-mtime", ("ctime", "inode"), ("mtime", "size", "mode")),
    ],
)
def test_compare_says_what_tells_a_changed_file(
    machine: Machine, compare: Compare, overlooked: tuple[str, ...], seen: tuple[str, ...]
) -> None:
    source = replace(machine.source, compare=compare)
    machine.snapshot(source)
    pretend(machine, *overlooked)
    machine.snapshot(source)
    assert versions(machine) == 1
    for count, one in enumerate(seen, 2):
        pretend(machine, one)
        machine.snapshot(source)
        assert versions(machine) == count, one


@pytest.mark.parametrize(("age", "times_read"), [(2 * SECOND - 1, 2), (2 * SECOND, 1)])
def test_a_file_read_within_two_seconds_of_its_ctime_is_read_again(
    machine: Machine, reads: list[bytes], age: int, times_read: int
) -> None:
    victim = machine.tree / "folder0" / "file0"
    machine.clock.now = victim.stat().st_ctime_ns + age - 60 * SECOND
    machine.snapshot()
    machine.clock.advance(3600 * SECOND)
    machine.snapshot()
    machine.snapshot()
    assert reads.count(b"file0") == times_read


def test_a_file_that_changed_within_one_tick_of_its_times_is_stored(machine: Machine) -> None:
    """The same size, mtime and ctime, other bytes: only the distrust of young files notices (borg#3536)."""
    victim = machine.tree / "folder0" / "file0"
    machine.clock.now = victim.stat().st_ctime_ns + SECOND - 60 * SECOND
    machine.snapshot()
    before = victim.stat()
    victim.write_bytes(b"x" * before.st_size)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    connection = sqlite3.connect(machine.vault.paths.index)
    with connection:  # as the tick would have left it, where the row had been trusted with a ctime
        now = victim.stat().st_ctime_ns
        connection.execute("UPDATE files SET ctime = ? WHERE name = ? AND ctime IS NOT NULL", (now, b"file0"))
    connection.close()
    machine.clock.advance(3600 * SECOND)
    machine.snapshot()
    assert machine.comes_back()


def test_a_deleted_file_closes_its_row_at_the_last_complete_sequence(machine: Machine) -> None:
    first = machine.snapshot()
    [before] = machine.rows("SELECT * FROM files WHERE name = ?", b"file0")
    (machine.tree / "folder0" / "file0").unlink()
    machine.snapshot()
    [after] = machine.rows("SELECT * FROM files WHERE name = ?", b"file0")
    touched = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert touched == [(None, first.seq)], "nothing but its end"


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"inside")


def _to_file(path: Path) -> None:
    for one in path.iterdir():
        one.unlink()
    path.rmdir()
    path.write_bytes(b"a file now")


def _to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def _to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [("folder0/file0", _to_folder), ("folder0", _to_file), ("folder0/file0", _to_link), ("link", _to_fifo)],
)
def test_a_path_may_become_another_kind_and_back(machine: Machine, name: str, change: Callable[[Path], None]) -> None:
    machine.snapshot()
    first, before = machine.newest(), look(machine.tree)
    change(machine.tree / name)
    machine.snapshot()
    assert machine.comes_back()
    back = machine.restore(first)
    assert look(back) == before
    if change is _to_folder:
        _to_file(machine.tree / name)
        machine.snapshot()
        assert machine.comes_back()


def snapshot_ids(machine: Machine) -> set[bytes]:
    return {row[0] for row in machine.rows("SELECT id FROM snapshots")}


def test_if_changed_makes_no_snapshot_where_nothing_changed(machine: Machine) -> None:
    machine.snapshot()
    before = snapshot_ids(machine), machine.objects()
    made = machine.create(if_changed=True)
    assert (made.snapshot, made.exit_code) == (None, 0)
    assert (snapshot_ids(machine), machine.objects()) == before


def _write(machine: Machine) -> None:
    (machine.tree / "folder1" / "new").write_bytes(b"new")


def _remove(machine: Machine) -> None:
    (machine.tree / "folder1" / "file1").unlink()


def _touch(machine: Machine) -> None:
    os.utime(machine.tree / "empty", ns=(0, 0))


def _lose_a_blob(machine: Machine) -> None:
    machine.memory.delete(sorted(machine.objects("blobs/"))[0])


@pytest.mark.parametrize("change", [_write, _remove, _touch, _lose_a_blob])
def test_if_changed_makes_a_snapshot_where_something_changed_or_a_blob_is_lost(
    machine: Machine, change: Callable[[Machine], None]
) -> None:
    first = machine.snapshot()
    change(machine)
    made = machine.create(if_changed=True)
    assert made.snapshot is not None and made.snapshot.id != first.id
    assert machine.comes_back()
    again = machine.create(if_changed=True)
    assert again.snapshot is None


def test_if_changed_sees_what_came_or_ended_without_any_folder_changing(machine: Machine) -> None:
    """A pattern that leaves something out, or no longer does, changes nothing on the disk."""
    less = replace(machine.source, exclude=("file1",))
    machine.snapshot()
    assert machine.create(less, if_changed=True).snapshot is not None
    assert machine.create(less, if_changed=True).snapshot is None
    assert machine.create(if_changed=True).snapshot is not None
    assert machine.create(if_changed=True).snapshot is None
    assert machine.comes_back()


def test_if_changed_sees_what_an_interrupted_run_recorded_already(machine: Machine) -> None:
    class Died(BaseException):
        pass

    machine.snapshot()
    _write(machine)

    def die(verb: str, name: str) -> None:
        if name.endswith("db.zst.age"):
            raise Died

    machine.store.before = die
    with pytest.raises(Died):
        machine.create(if_changed=True)
    machine.store.before = lambda verb, name: None
    made: Created = machine.create(if_changed=True)
    assert made.snapshot is not None
    assert machine.comes_back()


FAR = 13_569_465_600_000_000_000
"""The year 2400, in nanoseconds: more than 63 bits hold."""


def test_a_time_beyond_64_bits_is_kept_as_the_last_that_they_can_say(machine: Machine, reads: list[bytes]) -> None:
    victim = machine.tree / "folder0" / "file0"
    os.utime(victim, ns=(0, FAR))
    machine.snapshot()
    restored = machine.restore() / "folder0" / "file0"
    assert (restored.read_bytes(), restored.stat().st_mtime_ns) == (victim.read_bytes(), (1 << 63) - 1)
    reads.clear()
    machine.snapshot()
    assert (reads, versions(machine)) == ([], 1)


@pytest.mark.parametrize("inode", [(1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_inode_numbers_may_have_64_bits(machine: Machine, monkeypatch: pytest.MonkeyPatch, inode: int) -> None:
    """As those of network and FUSE file systems have."""
    original = create.walk

    def walk_elsewhere(*arguments: Any) -> Iterator[Folder]:
        for folder in original(*arguments):
            folder.entries[:] = [(name, _with_inode(found, inode)) for name, found in folder.entries]
            yield folder

    fstat = os.fstat
    with monkeypatch.context() as patch:
        patch.setattr(create, "walk", walk_elsewhere)
        open_with(patch, lambda fd, name, _: os.open(name, os.O_RDONLY, dir_fd=fd))
        patch.setattr(os, "fstat", lambda fd: _with_inode(fstat(fd), inode))
        machine.snapshot()
        machine.snapshot()
    assert machine.value("SELECT inode FROM files WHERE name = ?", b"file0") in (inode, inode - (1 << 64))
    assert versions(machine) == 1
    assert machine.comes_back()


_NUMBERED = ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size")


def _with_inode(found: os.stat_result, inode: int) -> os.stat_result:
    numbers = list(found)
    numbers[stat.ST_INO] = inode
    more = {name: getattr(found, name) for name in dir(found) if name.startswith("st_") and name not in _NUMBERED}
    return os.stat_result(numbers, more)


def test_a_clock_that_is_set_back_does_not_set_the_sequence_back(machine: Machine) -> None:
    first = machine.snapshot()
    machine.clock.advance(-7 * 24 * 3600 * SECOND)
    (machine.tree / "new").write_bytes(b"new")
    second = machine.snapshot()
    assert second.seq == first.seq + 1
    assert machine.newest().id == second.id
    assert machine.comes_back()
