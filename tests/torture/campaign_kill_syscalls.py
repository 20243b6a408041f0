"""1. Kill, below Python: SIGKILL instead of the N-th system call of each kind that writes, SQLite's among them."""

from __future__ import annotations

from collections.abc import Iterator

import syscalls
from campaigns import Campaign, Case, Outcome, Room, register
from invariants import check
from smallvault import DEAD
from stages import chosen, close_stages, is_thorough, stages_of

SAMPLED = ("changed", "prune-delete")


def cases(room: Room) -> Iterator[Case]:
    """Each N of each call, for every operation."""
    for operation in chosen(room, SAMPLED):
        counts = syscalls.count_calls(stages_of(room).start(operation), syscalls.WRITING)
        for call, count in sorted(counts.items()):
            for number in range(1, count + 1):
                yield Case(operation, f"instead of {call}", str(number))


def run(room: Room, case: Case) -> Outcome:
    stages = stages_of(room)
    call = case.point.removeprefix("instead of ")
    ran = syscalls.disturb(stages.start(case.operation), call, f"signal=KILL:when={case.hit}")
    scene = stages.start_scene(ran, thorough=is_thorough(room, case))
    return Outcome(check(scene), met=ran.code == DEAD)


register(
    Campaign(
        1,
        "kill-syscalls",
        "SIGKILL at any system call that writes loses nothing finished, and the next run goes on by itself",
        cases,
        run,
        wanted=2050,
        sample=8,
        needs=syscalls.needs,
        close=close_stages,
    )
)
