"""1. Kill: a process ends at any step of any operation, or at any system call that writes, and nothing finished is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator

from campaigns import Campaign, Case, Outcome, Room, register
from invariants import check
from points import count_points, do_at, hits, kill_at, kill_children
from smallvault import DEAD
from stages import chosen, close_stages, is_thorough, stages_of

SAMPLED = ("changed", "prune-delete", "rebuild", "partial")
"""The operations that `make test` interrupts."""


IN_PROCESSES = "-in-processes"

CHILD = "its workers die "
"""What a case's point begins with where not the process itself dies, but those that it started."""

PARENTS = ("ops.making.crew", "ops.making.wire", "ops.restoring.writers", "ops.restoring.writer_process")
"""Where a process deals with its workers."""


def cases(room: Room) -> Iterator[Case]:
    """Every point that an operation meets, at the first, second and last time."""
    for operation in chosen(room, SAMPLED):
        stage = stages_of(room).start(operation)
        result = room.folder / "points.json"
        ran = stage.run(count_points(result))
        assert ran.code == 0, f"{operation} without any fault: exit {ran.code}: {ran.err}"
        for point, count in sorted(json.loads(result.read_text()).items()):
            for hit in hits(count):
                yield Case(operation, point, str(hit))
                if operation.endswith(IN_PROCESSES) and point.split()[-1].startswith(PARENTS):
                    yield Case(operation, CHILD + point, str(hit))


def run(room: Room, case: Case) -> Outcome:
    stages = stages_of(room)
    stage = stages.start(case.operation)
    if case.point.startswith(CHILD):
        ran = stage.run(do_at(case.point.removeprefix(CHILD), int(case.hit), kill_children))
        return Outcome(check(stages.start_scene(ran, thorough=True)))
    ran = stage.run(kill_at(case.point, int(case.hit)))
    scene = stages.start_scene(ran, thorough=is_thorough(room, case))
    return Outcome(check(scene), met=ran.code == DEAD)


register(
    Campaign(
        1,
        "kill",
        "a death at any step of any operation loses nothing finished, and the next run goes on by itself",
        cases,
        run,
        wanted=1050,
        sample=20,
        close=close_stages,
    )
)
