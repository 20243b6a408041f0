"""A directory that is too large to be held at once comes in portions, and nobody can tell from what is stored."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Machine

from vaultpy.ops.making import compare
from vaultpy.ops.making.databases import DatabaseTaker
from vaultpy.source import listing
from vaultpy.source.listing import Leave, list_folder


@pytest.fixture(autouse=True)
def portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every directory of more than five names is a large one."""
    monkeypatch.setattr(listing, "PORTION", 5)
    monkeypatch.setattr(compare, "ROWS_HELD", 5)


@pytest.fixture
def wide(machine: Machine) -> Path:
    folder = machine.tree / "wide"
    folder.mkdir()
    for number in range(23):
        (folder / f"{number:02}").write_bytes(b"%d" % number)
        if number % 4 == 0:
            (folder / f"sub {number:02}").mkdir()
            (folder / f"sub {number:02}" / "inside").write_bytes(b"x")
    return folder


def test_a_large_directory_is_stored_whole_and_unchanged_after(machine: Machine, wide: Path) -> None:
    first = machine.create()
    assert first.exit_code == 0 and machine.comes_back()
    again = machine.create()
    assert again.snapshot is not None and first.snapshot is not None
    assert again.snapshot.counts is not None and first.snapshot.counts is not None
    assert again.snapshot.counts.files == again.unchanged == first.snapshot.counts.files


@pytest.mark.parametrize("name", ["00", "04", "05", "06", "22", "sub 00", "sub 12"])
def test_what_goes_comes_and_changes_in_any_portion_is_seen(machine: Machine, wide: Path, name: str) -> None:
    machine.snapshot()
    if name.startswith("sub"):
        (wide / name / "inside").unlink()
        (wide / name).rmdir()
    else:
        (wide / name).unlink()
    (wide / f"{name} new").write_bytes(b"new")
    (wide / "11").write_bytes(b"changed")
    machine.snapshot()
    assert machine.comes_back()


def test_all_of_a_large_directory_may_go_and_come_back(machine: Machine, wide: Path) -> None:
    machine.snapshot()
    files = [one for one in wide.iterdir() if one.is_file()]
    for one in files:
        one.unlink()
    machine.snapshot()
    assert machine.comes_back()
    for one in files:
        one.write_bytes(one.name.encode())
    machine.snapshot()
    assert machine.comes_back()


@pytest.mark.parametrize("left", ["", "00", "sub 12", "22"])
def test_nearly_all_of_a_large_directory_may_go(machine: Machine, wide: Path, left: str) -> None:
    """It is then no large one any more, but for its rows."""
    machine.snapshot()
    for one in sorted(wide.iterdir()):
        if one.name != left:
            shutil.rmtree(one) if one.is_dir() else one.unlink()
    made = machine.snapshot()
    assert machine.comes_back()
    assert made.counts is not None
    assert machine.create().unchanged == made.counts.files


def test_what_was_in_a_large_directory_goes_where_it_is_a_cache_now(machine: Machine, wide: Path) -> None:
    before = machine.snapshot()
    (wide / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    made = machine.snapshot(replace(machine.source, exclude_caches=True))
    assert made.counts is not None and before.counts is not None
    assert made.counts.files == before.counts.files - 23 - 2 * 6 + 1  # the tag itself


def test_the_root_s_own_row_stays_where_rows_come_in_order(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no name, and so is none of the entries."""
    monkeypatch.setattr(compare, "ROWS_HELD", 0)
    made = machine.snapshot()
    again = machine.create()
    assert made.counts is not None
    assert again.unchanged == made.counts.files
    assert machine.value("SELECT count(*) FROM files WHERE last_seq IS NOT NULL") == 0


def test_every_name_comes_once_in_order_whatever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(40):
        Path(f"{number:02}.o" if number % 3 else f"{number:02}").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        fd = os.open(".", os.O_RDONLY)
        try:
            found = list(list_folder(fd, b"/t", Leave()))
            without = list(
                list_folder(fd, b"/t", Leave(unwanted=lambda name, _: "o" if name.endswith(b".o") else None))
            )
        finally:
            os.close(fd)
    names = [name for one in found for name, _ in one.entries]
    assert names == sorted({os.fsencode(one) for one in os.listdir(".")} - {b"socket"})
    assert [one.more for one in found] == [True] * (len(found) - 1) + [False]
    assert sum(one.skipped for one in found) == sum(one.skipped for one in without) == 1
    assert [name for one in without for name, _ in one.entries] == [name for name in names if not name.endswith(b".o")]


def test_what_vanishes_before_its_portion_is_told(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}").write_bytes(b"")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        portions = list_folder(fd, b"/t", Leave())
        first = next(portions)
        gone = [name for name in os.listdir(tmp_path) if os.fsencode(name) > first.entries[-1][0]]
        for name in gone:
            (tmp_path / name).unlink()
        rest = list(portions)
    finally:
        os.close(fd)
    told = {problem.path.removeprefix(b"/t/") for one in rest for problem in one.problems}
    there = {name for one in rest for name, _ in one.entries}
    assert told | there == set(map(os.fsencode, gone))
    assert len(there) <= listing.PORTION, "only what was looked at already is still listed"


def test_a_database_and_its_journals_are_never_parted(
    machine: Machine, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(23):
        for suffix in ("", "-journal", "-shm", "-wal"):
            (wide / f"db{number:02}{suffix}").write_bytes(b"no database")
    seen: list[set[bytes]] = []
    take = DatabaseTaker.take

    def watch(self: DatabaseTaker, folder: listing.Listing, *rest: object) -> object:
        seen.append({name for name, _ in folder.entries})
        return take(self, folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(DatabaseTaker, "take", watch)
    machine.snapshot()
    for names in seen:
        for base in {name.partition(b"-")[0] for name in names if name.startswith(b"db")}:
            assert {base, base + b"-journal", base + b"-shm", base + b"-wal"} <= names
    assert machine.comes_back()
