"""Crash points, found rather than written down: every call and return of vaultpy's own functions, and every call of theirs
that changes a file or the index.

    before store.local.LocalStore.put        after ops.making.publish.put_manifest before link in store.local.…_give_name

The interpreter's profiler sees them all, so that production code holds no hooks and no step can be forgotten.  A trial run
counts how often each is met; a case kills its process at one of them, at the first, second or last time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

from smallvault import Arm

WATCHED = (
    "ops.",
    "index.",
    "store.",
    "state",
    "lock",
    "export",
    "config.change",
    "durable",
    "vault",
    "source.target",
    "source.apply",
)
"""Rooms where the order of steps matters; what reads a source or computes changes nothing that a death could leave."""

CHANGING = frozenset(
    {
        "link",
        "unlink",
        "rename",
        "replace",
        "mkdir",
        "rmdir",
        "symlink",
        "mknod",
        "open",
        "write",
        "pwrite",
        "ftruncate",
    }
    | {"fsync", "chmod", "fchmod", "chown", "fchown", "utime", "setxattr", "flock", "execute", "executemany"}
)
"""C functions that change files, or the index."""

_MODULES = frozenset({"posix", "fcntl", "sqlite3"})

Met = Callable[[str], None]


def count_points(result: Path) -> Arm:
    """Counts every point that a run meets, and writes the counts down when it has ended."""

    def arm() -> Callable[[], None]:
        counts: Counter[str] = Counter()

        def meet(point: str) -> None:
            counts[point] += 1

        _watch(meet)

        def finish() -> None:
            sys.setprofile(None)
            result.write_text(json.dumps(counts))

        return finish

    return arm


def do_at(point: str, hit: int, action: Callable[[], None]) -> Arm:
    """Does something when a point is met for the `hit`-th time."""

    def arm() -> None:
        left = [hit]

        def meet(met: str) -> None:
            if met == point:
                left[0] -= 1
                if left[0] == 0:
                    action()

        _watch(meet)

    return arm


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_children() -> None:
    """Ends every process that this one has started, as `kill -9` does."""
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def kill_at(point: str, hit: int) -> Arm:
    """Ends the process as `kill -9` does when it meets a point for the `hit`-th time."""
    return do_at(point, hit, die)


def hits(count: int) -> list[int]:
    """The first, the second and the last of so many."""
    return sorted({1, 2, count} & set(range(1, count + 1)))


def _watch(meet: Met) -> None:
    names: dict[CodeType, str | None] = {}
    gate = threading.Lock()

    def name_of(code: CodeType) -> str | None:
        if code not in names:
            names[code] = _name(code)
        return names[code]

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event in ("call", "return"):
            name = name_of(frame.f_code)
            if name is not None:
                with gate:
                    meet(f"{'before' if event == 'call' else 'after'} {name}")
        elif event in ("c_call", "c_return") and _is_changing(argument):
            caller = _nearest(frame, name_of)
            if caller is not None:
                with gate:
                    word = getattr(argument, "__name__", "")
                    meet(f"{'before' if event == 'c_call' else 'after'} {word} in {caller}")

    threading.setprofile(profile)
    sys.setprofile(profile)


def _name(code: CodeType) -> str | None:
    _, found, inside = code.co_filename.rpartition("/vaultpy/")
    if not found or "<" in code.co_qualname.rpartition(".")[2]:
        return None
    module = inside.removesuffix(".py").replace("/", ".")
    return f"{module}.{code.co_qualname.replace('<locals>.', '')}" if module.startswith(WATCHED) else None


def _is_changing(function: object) -> bool:
    if getattr(function, "__name__", None) not in CHANGING:
        return False
    module = getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__
    return module in _MODULES


def _nearest(frame: FrameType | None, name_of: Callable[[CodeType], str | None]) -> str | None:
    """The function of ours on whose behalf the standard library does something."""
    for _ in range(4):
        if frame is None:
            return None
        name = name_of(frame.f_code)
        if name is not None:
            return name
        frame = frame.f_back
    return None
