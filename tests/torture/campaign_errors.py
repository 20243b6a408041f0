"""3. Errors: any system call fails, once or from then on; writes that are short; file systems that fill up.

A run that meets one says so by its exit code, without a traceback; nothing finished is lost, and the next run, when the
disk is well again, ends as one that met nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import syscalls
from campaigns import Campaign, Case, Outcome, Room, register
from invariants import check
from smallvault import DEAD, Ran
from stage import Stage
from stages import chosen, close_stages, is_thorough, stages_of

SAMPLED = ("changed", "restore")

NO_ROOM = ("ENOSPC", "EDQUOT")
BROKEN = ("EIO", "EROFS")
FAILURES: dict[str, tuple[str, ...]] = {
    "write": (*NO_ROOM, *BROKEN, "EINTR"),
    "pwrite64": (*NO_ROOM, *BROKEN, "EINTR"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT", "EINTR"),
    "fdatasync": ("EIO", "ENOSPC", "EDQUOT"),
    "openat": ("EMFILE", "ENFILE", "EIO", "EROFS", "ENOSPC", "EINTR"),
    "linkat": (*NO_ROOM, *BROKEN, "EMLINK"),
    "link": (*NO_ROOM, *BROKEN),
    "rename": (*NO_ROOM, *BROKEN),
    "renameat": (*NO_ROOM, *BROKEN),
    "unlink": BROKEN,
    "unlinkat": BROKEN,
    "mkdir": (*NO_ROOM, *BROKEN),
    "mkdirat": (*NO_ROOM, *BROKEN),
    "ftruncate": BROKEN,
    "read": ("EIO", "EINTR"),
    "pread64": ("EIO", "EINTR"),
    "getdents64": ("EIO",),
    "fchmod": BROKEN,
    "fchown": BROKEN,
    "utimensat": BROKEN,
    "symlinkat": (*NO_ROOM, *BROKEN),
}
"""Which errors each system call may meet."""

TRIES = 6
"""Of a call that is made often, the places at which it fails: the first ones, the last, and some between."""

SIZES = 32
"""How many sizes a file system has that fills up."""

PLACES = ("store", "home")

FULL = f"of {SIZES} sizes"
"""A point for each size, so that a share of the cases has all of them."""


def cases(room: Room) -> Iterator[Case]:
    for operation in chosen(room, SAMPLED):
        counts = syscalls.count_calls(stages_of(room).start(operation), tuple(FAILURES))
        for call, count in sorted(counts.items()):
            for number in _some(count):
                for error in FAILURES[call]:
                    yield Case(operation, f"{error} from {call}", f"{number}")
                    # A call that is interrupted for ever is tried again for ever: that is what Python and SQLite promise.
                    if error != "EINTR":
                        yield Case(operation, f"{error} from {call}", f"{number}+")
        for number in (1, 2, 3, 5, 8):
            yield Case(operation, "short write", str(number))
    for place in PLACES:
        for size in range(SIZES):
            yield Case("changed", f"{place} fills up at {size}", FULL)


def run(room: Room, case: Case) -> Outcome:
    stages = stages_of(room)
    stage = stages.start(case.operation)
    if case.hit == FULL:
        return _fill_up(room, stage, case)
    if case.point == "short write":
        ran, met = _cut_writes(stage, int(case.hit)), True
    else:
        error, _, call = case.point.partition(" from ")
        ran = syscalls.disturb(stage, call, f"error={error}:when={case.hit}")
        met = True
    assert ran.code != DEAD, ran
    let_days_pass(stage.vault.folder / "tmp")
    scene = stages.start_scene(ran, thorough=is_thorough(room, case))
    scene.mute = case.point.endswith("from write")
    return Outcome(check(scene), met=met)


def let_days_pass(scratch: Path) -> None:
    """What could not be removed, because nothing could be opened any more, is old: the next run has to clear it away."""
    for left in scratch.iterdir():
        os.utime(left, (0, 0))


def _some(count: int) -> list[int]:
    """1, 2, 3, the last, and others evenly between."""
    if count <= TRIES:
        return list(range(1, count + 1))
    between = [3 + (count - 3) * part // (TRIES - 3) for part in range(1, TRIES - 3)]
    return sorted({1, 2, 3, *between, count})


def _cut_writes(stage: Stage, number: int) -> Ran:
    """Every N-th write takes a part of what it was given, as the kernel may at any time."""

    def arm() -> None:
        os.write = _shortened(os.write, number)
        os.pwrite = _shortened(os.pwrite, number)

    return stage.run(arm)


def _shortened(write: Callable[..., int], number: int) -> Callable[..., int]:
    calls = [0]

    def short(fd: int, data: bytes, *where: int) -> int:
        calls[0] += 1
        part = memoryview(data)[: max(1, len(data) // 3)] if calls[0] % number == 0 and len(data) else data
        return write(fd, part, *where)

    return short


def _fill_up(room: Room, stage: Stage, case: Case) -> Outcome:
    """The store, or the host's own folder, on a file system with some room left, which grows before the next run."""
    name, _, number = case.point.partition(" fills up at ")
    place = stage.vault.folder / name
    used = sum(_pages(path) for path in place.rglob("*")) + 64
    size = used + 1 + int(number) ** 2 * (_needed(place.name) // SIZES**2)
    with_copy = place.with_name(place.name + "-copy")
    place.rename(with_copy)
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size * 4}k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        place.rmdir()
        return Outcome(met=False)
    try:
        subprocess.run(["cp", "-a", f"{with_copy}/.", str(place)], check=True)
        ran = stage.run()
        subprocess.run(["mount", "-o", "remount,size=256m", str(place)], check=True)
        report = check(stage.scene(stages_of(room).recoverer, ran))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        subprocess.run(["rm", "-rf", str(with_copy)], check=True)
    return Outcome(report, figures={"runs that had no room": 1} if ran.code else {})


def _pages(path: Path) -> int:
    status = path.lstat()
    return -(-status.st_size // 4096) + 1


def _needed(place: str) -> int:
    """Pages that the operation adds there, about, and some more: the last sizes have room enough."""
    return 1024 if place == "store" else 256


register(
    Campaign(
        3,
        "errors",
        "a disk that is full, broken or read-only at any call stops a run with a word, and costs nothing finished",
        cases,
        run,
        wanted=2100,
        sample=16,
        needs=syscalls.needs,
        close=close_stages,
    )
)
