"""Moved folders are not read again, hard links stay links, and what is excluded, covered or gone ends."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machine import SECOND, Machine, open_with

from vaultpy.ops.making import take
from vaultpy.source import batch
from vaultpy.store import names


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


def test_a_moved_folder_is_not_read_again(machine: Machine, reads: list[bytes]) -> None:
    (machine.tree / "folder0" / "deep").mkdir()
    (machine.tree / "folder0" / "deep" / "large").write_bytes(os.urandom(5_000_000))
    machine.snapshot()
    reads.clear()
    machine.store.forget_calls()
    (machine.tree / "folder0").rename(machine.tree / "renamed")
    machine.snapshot()
    assert reads == []
    assert machine.store.names_of("put", names.BLOBS) == []
    assert machine.comes_back()


def test_a_moved_folder_is_read_again_where_its_blob_is_lost(machine: Machine, reads: list[bytes]) -> None:
    [blob] = machine.blobs_of(machine.snapshot().id)
    machine.memory.delete(blob)
    (machine.tree / "folder0").rename(machine.tree / "renamed")
    machine.snapshot()
    assert machine.comes_back()


def test_a_moved_file_is_not_stored_again(machine: Machine, reads: list[bytes]) -> None:
    """Most file systems give a renamed file a new ctime, so it has to be read; what is read is known."""
    machine.snapshot()
    machine.store.forget_calls()
    (machine.tree / "folder0" / "file0").rename(machine.tree / "folder1" / "moved")
    machine.snapshot()
    assert machine.store.names_of("put", names.BLOBS) == []
    assert machine.comes_back()


def test_a_moved_file_whose_ctime_stayed_is_not_read_again(machine: Machine, reads: list[bytes]) -> None:
    machine.snapshot()
    moved = machine.tree / "folder1" / "moved"
    (machine.tree / "folder0" / "file0").rename(moved)
    connection = sqlite3.connect(machine.vault.paths.index)
    with connection:  # as on file systems that leave the ctime alone
        connection.execute("UPDATE files SET ctime = ? WHERE name = ?", (moved.stat().st_ctime_ns, b"file0"))
    connection.close()
    reads.clear()
    machine.snapshot()
    assert reads == []
    assert machine.comes_back()


@pytest.mark.parametrize("what", ["ctime", "mtime", "size", "inode", "device"])
def test_a_new_file_that_differs_in_one_thing_is_not_taken_for_a_moved_one(
    machine: Machine, reads: list[bytes], what: str
) -> None:
    machine.snapshot()
    moved = machine.tree / "folder1" / "moved"
    (machine.tree / "folder0" / "file0").rename(moved)
    connection = sqlite3.connect(machine.vault.paths.index)
    with connection:
        connection.execute("UPDATE files SET ctime = ? WHERE name = ?", (moved.stat().st_ctime_ns, b"file0"))
        connection.execute(f"UPDATE files SET {what} = {what} + 1 WHERE name = ?", (b"file0",))
    connection.close()
    reads.clear()
    machine.snapshot()
    assert reads == [b"moved"]
    assert machine.comes_back()


def inodes(top: Path, *paths: str) -> list[int]:
    return [(top / path).lstat().st_ino for path in paths]


def test_hard_links_come_back_as_links(machine: Machine) -> None:
    tree = machine.tree
    (tree / "large").write_bytes(os.urandom(3_000_000))
    for one, other in (("large", "folder0/large too"), ("folder0/file0", "folder1/link"), ("empty", "empty too")):
        (tree / other).hardlink_to(tree / one)
    os.mkfifo(tree / "fifo")
    (tree / "fifo too").hardlink_to(tree / "fifo")
    (tree / "the same bytes").write_bytes((tree / "large").read_bytes())
    (tree / "the same link").hardlink_to(tree / "the same bytes")
    for again in (False, True):
        machine.snapshot()
        back = machine.restore()
        for group in (
            ("large", "folder0/large too"),
            ("folder0/file0", "folder1/link"),
            ("empty", "empty too"),
            ("fifo", "fifo too"),
            ("the same bytes", "the same link"),
        ):
            assert len(set(inodes(back, *group))) == 1, group
        assert (back / "the same bytes").stat().st_nlink == (back / "large").stat().st_nlink == 2
        assert len(set(inodes(back, "the same bytes", "large"))) == 2, "equal files are no links"
        assert machine.comes_back()
        if not again:
            (tree / "folder1" / "a third").hardlink_to(tree / "folder0" / "file0")
    assert len(set(inodes(back, "folder0/file0", "folder1/link", "folder1/a third"))) == 1


def test_hard_links_stay_links_where_a_file_grows_old_enough_to_be_trusted_between_its_names(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.tree / "z").hardlink_to(machine.tree / "folder0" / "file0")
    machine.clock.now = (machine.tree / "z").stat().st_ctime_ns + SECOND - 60 * SECOND
    original = batch.open_regular

    def open_regular(dir_fd: int, name: bytes, expected: os.stat_result) -> int:
        if name == b"z":
            machine.clock.advance(5 * SECOND)
        return original(dir_fd, name, expected)

    open_with(monkeypatch, open_regular)
    monkeypatch.setattr(take, "BATCH_FILES", 1)
    machine.snapshot()
    ctimes = machine.rows("SELECT ctime IS NULL FROM files WHERE name IN (?, ?) ORDER BY name", b"file0", b"z")
    assert ctimes == [(0,), (1,)]
    back = machine.restore()
    assert len(set(inodes(back, "folder0/file0", "z"))) == 1


def test_a_link_whose_other_name_lies_elsewhere_is_a_file_of_its_own(machine: Machine) -> None:
    outside = machine.folder / "outside"
    outside.write_bytes(b"both")
    (machine.tree / "inside").hardlink_to(outside)
    machine.snapshot()
    back = machine.restore()
    assert (back / "inside").read_bytes() == b"both"
    assert (back / "inside").stat().st_nlink == 1


def test_what_is_excluded_from_now_on_ends(machine: Machine) -> None:
    machine.snapshot()
    first = machine.newest()
    source = replace(machine.source, exclude=("file1", "folder0/"))
    machine.snapshot(source)
    back = machine.restore()
    assert not (back / "folder0").exists() and not (back / "folder1" / "file1").exists()
    assert (back / "folder1" / "file3").exists()
    assert machine.comes_back(first)
    machine.snapshot()
    assert machine.comes_back()


@pytest.fixture
def mounted(machine: Machine) -> Iterator[Path]:
    """Another file system over folder0, which had files in it at the first snapshot."""
    machine.snapshot()
    folder = machine.tree / "folder0"
    done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        (folder / "on the other").write_bytes(b"x")
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_what_lies_under_a_mount_ends_where_one_file_system_is_asked_for(machine: Machine, mounted: Path) -> None:
    made = machine.create(replace(machine.source, one_file_system=True))
    assert made.exit_code == 0
    back = machine.restore()
    assert sorted((back / "folder0").iterdir()) == []
    assert (back / "folder1" / "file1").exists()


def test_a_mount_is_entered_where_nothing_else_is_asked_for(machine: Machine, mounted: Path) -> None:
    machine.snapshot()
    back = machine.restore()
    assert [one.name for one in (back / "folder0").iterdir()] == ["on the other"]
