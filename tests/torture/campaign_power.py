"""2. Power: the machine loses its current at any moment of an operation, and with it any part of what was not synced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import syscalls
from campaigns import Campaign, Case, Outcome, Room, register
from disk import Disk
from invariants import check
from recorder import Step, record
from stage import Stage
from stages import Stages, chosen, close_stages, is_thorough, stages_of

OPERATIONS = (
    "first",
    "changed",
    "chained",
    "resumed",
    "unconfirmed",
    "healed",
    "partial",
    "lost-index",
    "migration",
    "rebuild",
    "purge",
    "remove",
    "prune-record",
    "prune-delete",
    "key-new",
    "add-recipient",
)
"""All that writes to the store or to the host's own folder; a restore promises nothing before it has ended."""

SAMPLED = ("changed", "prune-delete")

CUTS = 3
"""How many random parts of what was not synced are tried after each step, besides none of it."""

FOLDERS = ("home", "store")


def cases(room: Room) -> Iterator[Case]:
    """After each step: all that was not synced is lost, or some of it."""
    for operation in chosen(room, SAMPLED, OPERATIONS):
        disk, steps = _recorded(room, operation)
        for number, step in enumerate(steps, 1):
            step.apply(disk)
            yield Case(operation, f"{number} after {step.name}", "nothing unsynced")
            if not disk.is_calm:
                for cut in range(1, CUTS + 1):
                    yield Case(operation, f"{number} after {step.name}", f"some {cut}")


def run(room: Room, case: Case) -> Outcome:
    stages = stages_of(room)
    disk, steps = _recorded(room, case.operation)
    for step in steps[: int(case.point.split()[0])]:
        step.apply(disk)
    stage = stages.start(case.operation)
    chance = room.random(case.name) if case.hit.startswith("some") else None
    _materialise(stage.vault.folder, disk.survivors(chance))
    scene = stage.scene(stages.recoverer, None, thorough=is_thorough(room, case))
    return Outcome(check(scene))


def _recorded(room: Room, operation: str) -> tuple[Disk, list[Step]]:
    """The disk before the operation, and its steps: always those of one run, which all cases share."""
    stages: Stages = stages_of(room)
    steps: dict[str, list[Step]] = room.kept.setdefault("steps", {})
    stage: Stage = stages.start(operation)
    disk = Disk.load(stage.vault.folder, FOLDERS)
    if operation not in steps:
        steps[operation] = record(stage)
        stage.start()
    return disk, steps[operation]


def _materialise(top: Path, survivors: Mapping[str, tuple[bytes, tuple[int, int] | None] | None]) -> None:
    for folder in FOLDERS:
        shutil.rmtree(top / folder)
    for name, found in sorted(survivors.items()):
        path = top / name
        if found is None:
            path.mkdir(mode=0o700)
        else:
            path.write_bytes(found[0])
            path.chmod(0o600)
            if found[1] is not None:
                os.utime(path, ns=found[1])


register(
    Campaign(
        2,
        "power",
        "a power cut after any step, whatever part of the unsynced it takes, loses nothing finished",
        cases,
        run,
        wanted=2050,
        sample=20,
        needs=syscalls.needs,
        close=close_stages,
    )
)
