"""A storm: other processes change the tree at full speed while snapshots run.

Every snapshot is made, and every one comes back; each file of it is in a state that the file really had, as its writer's
log says, or marked as changed.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import writers
from machine import Machine

from vaultpy.model import ProblemKind, SnapshotId
from vaultpy.ops.making.create import Created
from vaultpy.ops.reading.catalog import Entry

PROCESSES = 2


@contextmanager
def storm(machine: Machine, logs: list[Path]) -> Iterator[None]:
    """Writers at work until the block ends; then their logs are complete."""
    stop = machine.folder / "stop"
    started = []
    for seed in range(PROCESSES):
        logs.append(machine.folder / f"log {seed}")
        folder = machine.tree / f"writer {seed}"
        command = [sys.executable, writers.__file__, folder, str(seed), logs[-1], stop]
        started.append(subprocess.Popen(command))
    try:
        while not all((machine.tree / f"writer {seed}" / "folder 0").exists() for seed in range(PROCESSES)):
            assert all(one.poll() is None for one in started)
            time.sleep(0.01)
        yield
        assert all(one.poll() is None for one in started), "the writers ended too soon"
    finally:
        stop.touch()
        for one in started:
            assert one.wait() == 0


def torn(machine: Machine, entry: Entry, made: Created, states: dict[str, set[bytes]]) -> tuple[int, list[Path]]:
    """How many files come back from a snapshot, and those in a state that they never had without being marked."""
    back = machine.restore(entry)
    marked = {one.path for one in made.problems if one.kind == ProblemKind.CHANGED}
    files = [one for one in back.rglob("*") if one.is_file() and one.name in states]
    wrong = [
        one
        for one in files
        if writers.digest(one.read_bytes()) not in states[one.name]
        and os.fsencode(machine.tree / one.relative_to(back)) not in marked
    ]
    return len(files), wrong


def weather(machine: Machine, snapshots: int, seconds: float = 0) -> str:
    """So many snapshots while it storms, for so long at least; what came of it, in figures."""
    made: list[Created] = []
    logs: list[Path] = []
    began = time.monotonic()
    with storm(machine, logs):
        for number in range(1, snapshots + 1):
            made.append(machine.create())
            assert made[-1].exit_code == 0 and made[-1].snapshot is not None, made[-1]
            while time.monotonic() - began < seconds * number / snapshots:
                time.sleep(0.1)
    lasted = time.monotonic() - began
    states: dict[str, set[bytes]] = {}
    for log in logs:
        states |= pickle.loads(log.read_bytes())
    seen = sum(map(len, states.values()))
    assert seen > 50 * snapshots, "that was no storm"
    entries = {entry.id: entry for entry in machine.catalog().entries}
    came_back = 0
    for one in made:
        assert one.snapshot is not None
        files, wrong = torn(machine, entries[SnapshotId(one.snapshot.id)], one, states)
        assert wrong == []
        came_back += files
    assert came_back > snapshots * writers.FILES, "most files are there most of the time"
    kinds = Counter(str(problem.kind) for one in made for problem in one.problems)
    return (
        f"{snapshots} snapshots in {lasted:.0f} s, {seen} states of files, {came_back} files came back, {dict(kinds)}"
    )


def test_a_storm_of_writers_leaves_only_states_that_files_had(machine: Machine) -> None:
    weather(machine, snapshots=8)


@pytest.mark.long
def test_a_storm_of_minutes_beside_many_files_that_hold_still(machine: Machine) -> None:
    # Enough files for worker processes to read them.
    for number in range(3_000):
        folder = machine.tree / f"still {number // 100}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}").write_bytes(os.urandom(number))
    sys.stdout.write(f"\n{weather(machine, snapshots=20, seconds=200)}\n")  # shown with -s
