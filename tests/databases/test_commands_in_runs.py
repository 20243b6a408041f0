"""Commands in a run: what they write is a file of the snapshot, whole or not there."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Machine

from vaultpy.config import CommandConfig
from vaultpy.model import ProblemKind
from vaultpy.ops.making import commands
from vaultpy.ops.making.commands import NAME
from vaultpy.ops.making.create import Created


def command(script: str, name: str = "out", timeout: int = 20) -> CommandConfig:
    return CommandConfig(name, ("sh", "-c", script), timeout)


def create(machine: Machine, *commands: CommandConfig, paths: tuple[bytes, ...] | None = None) -> Created:
    source = replace(machine.source, commands=commands)
    if paths is not None:
        source = replace(source, paths=paths)
    return machine.create(source, environment={"PATH": os.defpath, "GREETING": "hello"})


def outputs(machine: Machine) -> Path:
    target = machine.folder / f"back-{os.urandom(4).hex()}"
    assert machine.restore_to(target).failed == ()
    return target / os.fsdecode(NAME)


def rows(machine: Machine, name: bytes = b"out") -> int:
    return int(machine.value("SELECT count(*) FROM files WHERE name = ?", name))


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_what_a_command_writes_is_a_file_of_the_snapshot(size: int, machine: Machine) -> None:
    data = os.urandom(size)
    source = machine.folder / "data"
    source.write_bytes(data)
    made = create(machine, command(f"cat {source}"))
    assert made.exit_code == 0 and made.snapshot is not None and made.problems == ()
    back = outputs(machine)
    assert (back / "out").read_bytes() == data
    found = (back / "out").stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_mtime_ns) == (0o600, os.getuid(), machine.clock.now)
    assert back.stat().st_mode & 0o7777 == 0o700
    assert machine.comes_back()


def test_nothing_is_written_to_this_disk(machine: Machine) -> None:
    before = {path for path in machine.folder.rglob("*") if machine.tree not in path.parents}
    seen = machine.folder / "seen"
    script = f"head -c 20000000 /dev/urandom; du -sb {machine.vault.paths.folder} | cut -f1 > {seen}"
    create(machine, command(script))
    assert int(seen.read_text()) < 5_000_000
    after = {path for path in machine.folder.rglob("*") if machine.tree not in path.parents}
    assert {path.name for path in after - before} <= {"seen", "scratch", "host.json", "lock"}


def test_several_commands_and_their_environment(machine: Machine) -> None:
    made = create(
        machine, command("echo $GREETING $VAULTPY_SOURCE", "b"), command("pwd; cat", "a wäl-wal"), command("", "a")
    )
    assert made.exit_code == 0
    back = outputs(machine)
    assert sorted(path.name for path in back.iterdir()) == ["a", "a wäl-wal", "b"]
    assert (back / "b").read_text() == "hello home\n"


def test_a_source_of_commands_alone_needs_no_paths(machine: Machine) -> None:
    made = create(machine, command("echo 1"), paths=())
    assert made.exit_code == 0
    back = outputs(machine)
    assert [path.name for path in back.parent.iterdir()] == [os.fsdecode(NAME)]
    made = create(machine, command("exit 1"), paths=())
    assert made.exit_code == 3 and made.snapshot is not None
    assert list(outputs(machine).iterdir()) == []


def test_output_that_is_what_it_was_is_no_change(machine: Machine) -> None:
    create(machine, command("echo 1"), command("", "nothing"))
    made = create(machine, command("echo 1"), command("", "nothing"))
    assert made.exit_code == 0 and rows(machine) == 1 and rows(machine, NAME) == 1 and rows(machine, b"nothing") == 1
    made = create(machine, command("echo 2"), command("", "nothing"))
    assert rows(machine) == 2
    assert (outputs(machine) / "out").read_text() == "2\n"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("head -c 3000000 /dev/urandom; echo no such table >&2; exit 5", "exit code 5: no such table"),
        ("head -c 3000000 /dev/urandom; kill -9 $$", "ended by SIGKILL"),
        ("head -c 3000000 /dev/urandom; echo hm >&2; sleep 1000", "not done after 1 s: hm"),
    ],
)
def test_a_command_that_fails_leaves_no_file_and_an_exit_code(script: str, says: str, machine: Machine) -> None:
    assert create(machine, command("echo 1")).exit_code == 0
    made = create(machine, command(script, timeout=1), command("echo fine", "other"))
    assert made.exit_code == 3 and made.snapshot is not None and made.snapshot.problems == 1
    [problem] = made.problems
    assert (problem.path, problem.kind) == (b"/vaultpy-commands/out", ProblemKind.FAILED)
    assert says in problem.detail
    assert [path.name for path in outputs(machine).iterdir()] == ["other"], "not even the one of the run before"
    first = min(machine.catalog().entries, key=lambda entry: entry.seq)
    target = machine.folder / "first"
    machine.restore_to(target, first)
    assert (target / os.fsdecode(NAME) / "out").read_text() == "1\n"
    assert create(machine, command("echo 1")).exit_code == 0
    assert (outputs(machine) / "out").read_text() == "1\n"


def test_a_command_that_is_not_there_failed(machine: Machine) -> None:
    made = create(machine, CommandConfig("out", ("/nonexistent/dump",)))
    assert made.exit_code == 3
    assert made.problems[0].detail == "/nonexistent/dump: cannot be run: no such file or directory"


def test_a_command_that_is_taken_out_ends(machine: Machine) -> None:
    create(machine, command("echo 1"), command("echo 2", "other"))
    create(machine, command("echo 1"))
    assert [path.name for path in outputs(machine).iterdir()] == ["out"]
    create(machine)
    assert not outputs(machine).exists()


def test_output_whose_blob_is_gone_is_stored_anew(machine: Machine) -> None:
    create(machine, command("echo 1"))
    for name in machine.objects("blobs/"):
        del machine.memory.objects[name]
    assert create(machine, command("echo 1")).exit_code == 0
    assert (outputs(machine) / "out").read_text() == "1\n"
    assert machine.comes_back()


def test_commands_run_beside_workers(machine: Machine) -> None:
    """So many files that other processes read them, while this one stores what a command writes."""
    many = machine.tree / "many"
    many.mkdir()
    for number in range(2_500):
        (many / str(number)).write_bytes(b"%d" % number)
    made = create(machine, command("head -c 40000000 /dev/zero; seq 100000"))
    assert made.exit_code == 0
    assert (outputs(machine) / "out").stat().st_size == 40_000_000 + 588_895
    assert machine.comes_back()


def test_a_real_folder_of_that_name_is_left_out_aloud(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "NAME", machine.folder.parts[1].encode())
    monkeypatch.setattr(commands, "PATH", b"/" + machine.folder.parts[1].encode())
    made = create(machine, command("echo 1"))
    assert made.left_out == (b"/" + machine.folder.parts[1].encode(),)
