"""7. Together with a wrong clock: a machine whose clock is off by seconds or by decades deletes nothing because of that."""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Iterator

from campaigns import Campaign, Case, Outcome, Room, register
from invariants import check
from smallvault import Arm, Ran
from stage import CREATE, Stage
from stages import close_stages, stages_of

DAY = 24 * 3600
OFFSETS = {
    "50 years behind": -50 * 365 * DAY,
    "a year behind": -365 * DAY,
    "2 days behind": -2 * DAY,
    "an hour behind": -3600,
    "an hour ahead": 3600,
    "2 days ahead": 2 * DAY,
    "a year ahead": 365 * DAY,
    "50 years ahead": 50 * 365 * DAY,
}

PURGES = {
    "purge what is older than a month": ("--older-than", "30d"),
    "purge what is not within a month": ("--keep-within", "30d"),
    "purge by days": ("--keep-daily", "30", "--keep-hourly", "30", "--keep-within", "2d"),
}
"""With a clock that is right, none of these would remove anything."""

MADE_THEN = "made then, purged now: "


def cases(room: Room) -> Iterator[Case]:
    for offset in OFFSETS:
        for purge in PURGES:
            yield Case(purge, "a clock", offset)
            yield Case(MADE_THEN + purge, "a clock", offset)
        yield Case("prune what was recorded a moment ago", "a clock", offset)
        yield Case("create", "a clock", offset)


def run(room: Room, case: Case) -> Outcome:
    stages = stages_of(room)
    arm = clock_off_by(OFFSETS[case.hit])
    if case.operation.startswith("prune"):
        stage = stages.start("prune-delete")
        stage.vault.age(-3600)  # back to when it was recorded
        ran = stage.vault.run("--json", "store", "prune", arm=arm)
    elif case.operation == "create":
        stage = stages.start("changed")
        ran = stage.vault.run(*CREATE, arm=arm)
    else:
        stage = stages.start("rebuild")
        ran = _purge(stage, case, arm)
    scene = stage.scene(stages.recoverer, ran)
    scene.again, scene.clock_wrong, scene.gone = None, True, ()
    return Outcome(check(scene))


def _purge(stage: Stage, case: Case, arm: Arm) -> Ran:
    words = ("--json", "snapshot", "purge", *PURGES[case.operation.removeprefix(MADE_THEN)])
    if not case.operation.startswith(MADE_THEN):
        return stage.vault.run(*words, arm=arm)
    stage.vault.put_tree("two")
    assert stage.vault.run(*CREATE, arm=arm).code == 0
    return stage.vault.run(*words)


def clock_off_by(seconds: int) -> Arm:
    """A machine whose clock is so far off; the store's is right."""

    def arm() -> None:
        real, real_ns = time.time, time.time_ns
        time.time = lambda: real() + seconds
        time.time_ns = lambda: real_ns() + seconds * 10**9
        for function in _functions():
            defaults = function.__kwdefaults__ or {}
            for name, value in defaults.items():
                if value is real_ns:
                    defaults[name] = time.time_ns

    return arm


def _functions() -> Iterator[types.FunctionType]:
    for name, module in list(sys.modules.items()):
        if name.startswith("vaultpy"):
            yield from (one for one in vars(module).values() if isinstance(one, types.FunctionType))


register(
    Campaign(
        7,
        "clocks",
        "a clock that is wrong deletes nothing",
        cases,
        run,
        sample=6,
        close=close_stages,
    )
)
