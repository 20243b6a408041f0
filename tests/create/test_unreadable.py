"""What cannot be read is a problem and never a deletion that goes unsaid: its row ends, and the exit code tells."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Machine, open_with

from vaultpy.config import SourceConfig
from vaultpy.errors import SourceError
from vaultpy.events import ProblemMet
from vaultpy.model import Problem, ProblemKind
from vaultpy.ops.making.create import CreateOptions, create_snapshots
from vaultpy.source import batch
from vaultpy.source.descent import Descent

NOBODY = 65534


@pytest.fixture
def unprivileged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are opened as somebody who is not root."""
    original = batch.open_regular

    def open_regular(dir_fd: int, name: bytes, expected: os.stat_result) -> int:
        if os.getuid() != 0:
            return original(dir_fd, name, expected)
        os.seteuid(NOBODY)
        try:
            return original(dir_fd, name, expected)
        finally:
            os.seteuid(0)

    open_with(monkeypatch, open_regular)


@pytest.mark.usefixtures("unprivileged")
def test_an_unreadable_file_ends_and_leaves_a_problem(machine: Machine) -> None:
    victim = machine.tree / "folder0" / "file0"
    first = machine.snapshot()
    victim.chmod(0)
    made = machine.create()
    assert made.exit_code == 3 and made.snapshot is not None and made.snapshot.problems == 1
    [problem] = made.problems
    assert (problem.path, problem.kind) == (os.fsencode(victim), ProblemKind.UNREADABLE)
    assert "permission denied" in problem.detail
    assert machine.rows("SELECT last_seq FROM files WHERE name = ?", b"file0") == [(first.seq,)]
    stored = machine.rows("SELECT path, kind FROM problems WHERE snapshot_id = ?", made.snapshot.id.bytes)
    assert stored == [(os.fsencode(victim), "unreadable")]
    assert not (machine.restore() / "folder0" / "file0").exists()
    again = machine.create()
    assert again.exit_code == 3, "it is told each time"
    victim.chmod(0o644)
    machine.snapshot()
    assert machine.comes_back()


@pytest.mark.usefixtures("unprivileged")
def test_a_file_that_never_could_be_read_is_a_problem_of_the_first_snapshot(machine: Machine) -> None:
    (machine.tree / "folder0" / "file0").chmod(0)
    made = machine.create()
    assert made.exit_code == 3 and len(made.problems) == 1
    assert (machine.restore() / "folder0" / "file2").exists()


def test_a_folder_that_cannot_be_entered_is_told_and_what_was_in_it_ends(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.snapshot()
    enter = Descent.enter

    def refuse(self: Descent, name: bytes) -> tuple[int, os.stat_result]:
        if name == b"folder0":
            raise SourceError("permission denied")
        return enter(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Descent, "enter", refuse)
        made = machine.create()
    problem = Problem(os.fsencode(machine.tree / "folder0"), ProblemKind.UNREADABLE, "permission denied")
    assert (made.exit_code, made.problems) == (3, (problem,))
    assert [event.problem for event in machine.events if isinstance(event, ProblemMet)] == [problem]
    assert list((machine.restore() / "folder0").iterdir()) == []
    machine.snapshot()
    assert machine.comes_back()


@pytest.fixture
def disk(machine: Machine) -> Path:
    """A second path of the source, that can be emptied like a mount point."""
    disk = machine.folder / "disk"
    disk.mkdir()
    for number in range(3):
        (disk / f"on disk {number}").write_bytes(os.urandom(1000))
    return disk


def both(machine: Machine, disk: Path) -> SourceConfig:
    return replace(machine.source, paths=(*machine.source.paths, os.fsencode(disk)))


def unmount(disk: Path) -> None:
    for one in disk.iterdir():
        one.rename(disk.parent / one.name)


def mount(disk: Path) -> None:
    for one in disk.parent.glob("on disk *"):
        one.rename(disk / one.name)


def test_a_root_that_was_not_empty_and_now_is_counts_as_unreadable_again_and_again(
    machine: Machine, disk: Path
) -> None:
    source = both(machine, disk)
    machine.snapshot(source)
    unmount(disk)
    for number in range(3):
        made = machine.create(source)
        assert made.exit_code == 3, f"run {number}"
        assert [(one.path, one.kind) for one in made.problems] == [(os.fsencode(disk), ProblemKind.UNREADABLE)]
        assert "mounted" in made.problems[0].detail
    machine.vault.paths.index.unlink()
    assert machine.create(source).exit_code == 3, "a rebuilt index knows it too"
    mount(disk)
    machine.snapshot(source)
    target = machine.folder / "back"
    assert machine.restore_to(target).failed == ()
    assert len(list((target / disk.relative_to("/")).iterdir())) == 3


def test_a_root_that_was_always_empty_is_no_problem(machine: Machine, disk: Path) -> None:
    unmount(disk)
    machine.snapshot(both(machine, disk))
    machine.snapshot(both(machine, disk))


def test_a_root_that_is_gone_is_a_problem(machine: Machine, disk: Path) -> None:
    source = both(machine, disk)
    machine.snapshot(source)
    unmount(disk)
    disk.rmdir()
    made = machine.create(source)
    assert made.exit_code == 3
    assert [(one.path, one.kind) for one in made.problems] == [(os.fsencode(disk), ProblemKind.MISSING)]


def test_no_snapshot_is_made_where_no_root_can_be_read(machine: Machine, disk: Path) -> None:
    source = replace(machine.source, name="disk", paths=(os.fsencode(disk), b"/nonexistent"))
    machine.create(source)
    unmount(disk)
    objects = machine.objects()
    made = machine.create(source)
    assert (made.exit_code, made.snapshot) == (1, None)
    assert made.error is not None and str(disk) in made.error.message and "/nonexistent" in made.error.message
    assert machine.objects() == objects
    mount(disk)
    assert machine.create(source).exit_code == 3


def test_a_source_that_fails_does_not_stop_the_next(machine: Machine) -> None:
    broken = SourceConfig("broken", (b"/nonexistent",))
    made = create_snapshots(machine.vault, [broken, machine.source], CreateOptions(), machine.events.append)
    assert [one.exit_code for one in made] == [1, 0]
    assert machine.comes_back()


def test_the_store_and_the_hosts_own_secrets_are_left_out_aloud(machine: Machine) -> None:
    made = machine.create(replace(machine.source, paths=(os.fsencode(machine.folder),)))
    assert made.exit_code == 0
    state, copy = machine.vault.paths.folder, machine.vault.paths.copy
    assert set(made.left_out) == {os.fsencode(state), os.fsencode(copy)}
    target = machine.folder / "back"
    machine.restore_to(target)
    back = target / machine.folder.relative_to("/")
    assert not (back / "state").exists() and not (back / copy.name).exists()
    assert (back / "tree" / "folder0" / "file0").exists()
