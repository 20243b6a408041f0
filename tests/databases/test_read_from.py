"""Reading a path from a snapshot of its file system: recorded as itself, unchanged where it is."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from busy import busy, transactions_in
from machine import Machine

from vaultpy.config import SourceConfig
from vaultpy.model import ProblemKind
from vaultpy.source.roots import itself, plan_roots, read_from


@pytest.fixture
def frozen(machine: Machine) -> Iterator[Path]:
    """A read-only mount of the machine's tree as it is now, with the same inodes: what a snapshot of LVM looks like."""
    place = machine.folder / "frozen"
    place.mkdir()
    mounted = subprocess.run(["mount", "--bind", machine.tree, place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root can mount")
    subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def frozen_source(machine: Machine, place: Path) -> SourceConfig:
    return replace(machine.source, read_from=((os.fsencode(machine.tree), os.fsencode(place)),))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (b"/", b"/"),
        (b"/home", b"/mnt/a"),
        (b"/home/anna", b"/mnt/a/anna"),
        (b"/home/berta", b"/mnt/b"),
        (b"/home/berta/x", b"/mnt/b/x"),
        (b"/homes", b"/homes"),
        (b"/srv/www", b"/www"),
        (b"/srv", b"/"),
    ],
)
def test_the_longest_path_that_fits_decides(path: bytes, place: bytes) -> None:
    pairs = ((b"/home", b"/mnt/a"), (b"/home/berta", b"/mnt/b"), (b"/srv", b"/"))
    assert read_from(pairs)(path) == place


def test_the_whole_tree_can_be_elsewhere() -> None:
    place_of = read_from(((b"/", b"/mnt"),))
    assert (place_of(b"/"), place_of(b"/home")) == (b"/mnt", b"/mnt/home")
    assert read_from(()) is itself


def test_paths_are_recorded_as_the_live_ones(machine: Machine) -> None:
    place = machine.folder / "copy"
    shutil.copytree(machine.tree, place, symlinks=True)
    (place / "only-there").write_text("there")
    (machine.tree / "only-here").write_text("here")
    machine.snapshot(frozen_source(machine, place))
    back = machine.restore()
    assert (back / "only-there").read_text() == "there"
    assert not (back / "only-here").exists()
    assert not (back.parent / "copy").exists()


def test_what_is_the_same_inode_there_is_unchanged(machine: Machine, frozen: Path) -> None:
    first = machine.create()
    second = machine.create(frozen_source(machine, frozen))
    assert first.exit_code == second.exit_code == 0
    below = machine.files_below()
    assert machine.create().exit_code == 0
    assert machine.files_below() == below, "from the snapshot or from the live tree, a file is the same"
    assert machine.comes_back()


def test_excludes_are_about_the_live_paths(machine: Machine) -> None:
    place = machine.folder / "copy"
    shutil.copytree(machine.tree, place, symlinks=True)
    exclude = (f"{machine.tree}/folder0",)
    machine.snapshot(replace(frozen_source(machine, place), exclude=exclude))
    back = machine.restore()
    assert not (back / "folder0").exists() and (back / "folder1").exists()


def test_a_path_below_and_a_single_file(machine: Machine) -> None:
    place = machine.folder / "copy"
    shutil.copytree(machine.tree, place, symlinks=True)
    (place / "folder0" / "file0").write_text("there")
    paths = (os.fsencode(machine.tree / "folder1"), os.fsencode(machine.tree / "folder0" / "file0"))
    machine.snapshot(replace(frozen_source(machine, place), paths=paths))
    back = machine.restore()
    assert (back / "folder0" / "file0").read_text() == "there"
    assert sorted(path.name for path in back.iterdir()) == ["folder0", "folder1"]


def test_a_snapshot_that_is_not_there_is_missing_by_its_place(machine: Machine) -> None:
    plan = plan_roots([b"/etc", b"/usr"], place_of=read_from(((b"/etc", b"/nonexistent"),)))
    assert [path for path, _ in plan.roots] == [b"/usr"]
    [problem] = plan.problems
    assert (problem.path, problem.kind) == (b"/etc", ProblemKind.MISSING)
    assert problem.detail == "/nonexistent: no such file or directory"


def test_a_snapshot_that_is_not_mounted_is_not_taken_for_an_empty_source(machine: Machine) -> None:
    machine.snapshot()
    place = machine.folder / "mountpoint"
    place.mkdir()
    made = machine.create(frozen_source(machine, place))
    assert made.exit_code == 1 and made.snapshot is None
    assert made.error is not None and "is its disk mounted" in made.error.message


def test_the_hosts_own_things_are_left_out_of_a_snapshot_of_their_file_system(machine: Machine) -> None:
    place = machine.folder.parent / f"{machine.folder.name}-copy"
    shutil.copytree(machine.folder, place, symlinks=True)
    source = SourceConfig(
        "all", (os.fsencode(machine.folder),), read_from=((os.fsencode(machine.folder), os.fsencode(place)),)
    )
    made = machine.create(source)
    assert os.fsencode(machine.vault.paths.folder) in made.left_out
    assert machine.rows("SELECT 1 FROM files WHERE name = ?", b"host.json") == []


def test_a_database_in_use_is_recovered_from_a_snapshot_of_its_file_system(machine: Machine, frozen: Path) -> None:
    folder = machine.tree / "application"
    folder.mkdir()
    with busy(folder / "app.db", "wal", pause=-1) as writer:
        writer.step()
        writer.step()
        writer.crash()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    machine.snapshot(frozen_source(machine, frozen))
    assert transactions_in(machine.restore() / "application" / "app.db") == 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with closing(sqlite3.connect(writer.path)) as database:
        assert database.execute("SELECT count(*) FROM log").fetchall() == [(2,)]
