"""A tree's rounds: in each, every program does the same step one after the other, in an order that rotates.

So what slows the machine down for a while slows all programs down, and none always comes first.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meter import Command, CommandFailed, Cost, measure
from recipes import Program, Room, Vaultpy, new_room
from sameness import compare_trees
from trees import Tree, change_tree, one_file

STEPS = ("first", "unchanged", "changed", "restore", "one file", "verify")
SETTLE = 3.0
"""Seconds between writing to a tree and a snapshot: what was changed a moment ago is read again by a careful program."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One program doing one step once.  `stored`: bytes of its store afterwards; `more`: what only some rows have."""

    section: str
    step: str
    program: str
    round: int
    cost: Cost
    stored: int
    more: dict[str, Any]


Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Course:
    """What a tree's rounds need: where to work, who takes part, how often, and whom to tell."""

    work: Path
    programs: Sequence[Program]
    rounds: int
    say: Say
    settle: float = SETTLE


def rotated(programs: Sequence[Program], turn: int) -> list[Program]:
    """The programs, beginning with another one each turn."""
    start = turn % len(programs)
    return [*programs[start:], *programs[:start]]


def run_rounds(course: Course, tree: Tree, steps: Sequence[str] = STEPS) -> Iterator[Sample]:
    """Every step of every program, each round with empty stores and the tree as the round before left it."""
    time.sleep(course.settle)
    for number in range(course.rounds):
        rooms = {one.name: new_room(course.work / f"{one.name}-{number}", tree.path) for one in course.programs}
        for program in course.programs:
            program.begin(rooms[program.name])
        for turn, step in enumerate(steps):
            if step == "changed":
                change_tree(tree.path, number)
                time.sleep(course.settle)
            wanted = one_file(tree.path) if step == "one file" else None
            for program in rotated(course.programs, number + turn):
                yield _take(course, Turn(tree, program, rooms[program.name], step, number, wanted))
        for room in rooms.values():
            shutil.rmtree(room.folder)


@dataclass(frozen=True, slots=True)
class Turn:
    """One program's turn at a step; `wanted`: the file that a restore of one brings back."""

    tree: Tree
    program: Program
    room: Room
    step: str
    round: int
    wanted: Path | None = None


def _take(course: Course, turn: Turn) -> Sample:
    tree, program, room, step = turn.tree, turn.program, turn.room, turn.step
    target = room.folder / "target"
    target.mkdir()
    os.sync()
    before = _looked_at(program, room)
    cost = _measure(course, turn, target)
    more: dict[str, Any] = {}
    if step == "restore":
        found = compare_trees(tree.path, program.restored(room, target))
        more |= {"compared": found.compared, "differences": dict(found.kinds)}
        for line in found.shown:
            course.say(f"    {program.name} brought back otherwise: {line}")
    if turn.wanted is not None:
        more["content"] = _holds(target, turn.wanted)
    if isinstance(program, Vaultpy) and step in STEPS[:3]:
        more |= {"before": before, "after": _looked_at(program, room)}
    shutil.rmtree(target)
    return tell(course, Sample(tree.name, step, program.name, turn.round, cost, stored_bytes(room.store), more))


def _measure(course: Course, turn: Turn, target: Path) -> Cost:
    """A step's cost; what went wrong is said, and does not end the benchmark."""
    log = turn.room.folder / f"{turn.step}.log"
    try:
        cost = measure(_command_of(turn, target), log)
    except CommandFailed as error:
        course.say(str(error))
        return Cost(0.0, 0.0, 0, 1)
    if cost.code != 0:
        course.say(log.read_text(errors="replace")[-1000:])
    return cost


def _command_of(turn: Turn, target: Path) -> Command:
    """What a step is for a program; raises CommandFailed where it has to be asked something first."""
    if turn.wanted is not None:
        return turn.program.restore_one(turn.room, turn.wanted, target)
    if turn.step == "restore":
        return turn.program.restore(turn.room, target)
    return turn.program.verify(turn.room) if turn.step == "verify" else turn.program.snapshot(turn.room)


def _holds(target: Path, original: Path) -> bool:
    """Whether the one file came back, wherever a program puts it."""
    found = [path for path in target.rglob(original.name) if path.is_file()]
    return len(found) == 1 and found[0].read_bytes() == original.read_bytes()


def _looked_at(program: Program, room: Room) -> dict[str, int]:
    """Of vaultpy: bytes of index and store, and rows of files; nothing before the first snapshot."""
    if not isinstance(program, Vaultpy):
        return {}
    try:
        index = program.index(room)
    except StopIteration:
        return {"index": 0, "rows": 0, "stored": stored_bytes(room.store)}
    return {"index": index.stat().st_size, "rows": _rows(index), "stored": stored_bytes(room.store)}


def _rows(index: Path) -> int:
    connection = sqlite3.connect(f"file:{index}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM files").fetchone()[0])
    finally:
        connection.close()


def stored_bytes(store: Path) -> int:
    """The sizes of a store's files added up."""
    if not store.exists():
        return 0
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(store) for name in names)


def tell(course: Course, sample: Sample) -> Sample:
    course.say(describe(sample))
    return sample


def describe(sample: Sample) -> str:
    cost = sample.cost
    state = "" if cost.code == 0 else f"  EXIT CODE {cost.code}"
    if kinds := sample.more.get("differences"):
        state += f"  differs in {', '.join(f'{kind} {count}' for kind, count in kinds.items())}"
    if sample.more.get("content") is False:
        state += "  THE FILE DID NOT COME BACK"
    return (
        f"{sample.section:8} {sample.step:10} {sample.program:8} {cost.wall:8.2f} s {cost.cpu:8.2f} s cpu"
        f" {cost.peak / 2**20:6.0f} MiB {sample.stored / 1e6:8.1f} MB{state}"
    )
