"""What a command costs: wall and CPU seconds, and the most memory that all its processes together held at once."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LEAST_PAUSE = 0.05
"""Seconds between two looks at a program's memory; longer where a look is slow, so that looking costs under a tenth of a
core."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, where it runs, and its whole environment."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of wall time and of CPU (user and system, of all its processes), bytes of memory, and the exit code."""

    wall: float
    cpu: float
    peak: int
    code: int


class CommandFailed(Exception):
    """A program did not do what it was asked for."""


def measure(command: Command, log: Path) -> Cost:
    """Run a command to its end, its output into `log`.

    `peak` is the larger of two figures that each miss something: the sum of the proportional set sizes of the process and
    all below it, sampled, misses what comes and goes between two looks; the kernel's own peak of a process, read at each
    look, misses all other processes.  (Not `ru_maxrss`: what runs before exec is this program, and counts in it.)
    """
    with log.open("wb") as output:
        began = time.perf_counter()
        process = _start(command, output.fileno())
        watch = _MemoryWatch(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(wall, usage.ru_utime + usage.ru_stime, watch.stop(), process.returncode)


def must(command: Command, log: Path, allowed: tuple[int, ...] = (0,)) -> Cost:
    """As `measure`; raises CommandFailed, with the end of what it said, for any other exit code."""
    cost = measure(command, log)
    if cost.code not in allowed:
        said = log.read_text(errors="replace")[-2000:]
        raise CommandFailed(f"{' '.join(command.argv)}: exit code {cost.code}\n{said}")
    return cost


def capture(command: Command) -> str:
    """What a command writes to its standard output; unmeasured."""
    done = subprocess.run(
        command.argv, env=dict(command.environment), cwd=command.folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command.argv)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def _start(command: Command, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.argv,
        env=dict(command.environment),
        cwd=command.folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


class _MemoryWatch(threading.Thread):
    """Looks at a process and all below it until it is told to stop; then says the most that they held."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._peak = 0
        self._ended = threading.Event()

    def run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            began = time.perf_counter()
            there = list(processes_below(self._pid))
            self._peak = max(self._peak, sum(map(proportional_set_size, there)), *map(own_peak, there))
            pause = max(LEAST_PAUSE, 10 * (time.perf_counter() - began))

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self._peak


def processes_below(pid: int) -> Iterator[int]:
    """A process and its descendants, as far as they are there while one looks."""
    yield pid
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for task in tasks:
        try:
            children = Path(f"/proc/{pid}/task/{task}/children").read_text()
        except OSError:
            continue
        for child in children.split():
            yield from processes_below(int(child))


def proportional_set_size(pid: int) -> int:
    """Bytes of memory of a process, pages that several share divided among them; 0 for one that has gone."""
    return _kibibytes(f"/proc/{pid}/smaps_rollup", b"Pss:") * 1024


def own_peak(pid: int) -> int:
    """The most bytes of memory that a process had since it began its program; 0 for one that has gone."""
    return _kibibytes(f"/proc/{pid}/status", b"VmHWM:") * 1024


def _kibibytes(path: str, field: bytes) -> int:
    try:
        with open(path, "rb") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)
    except OSError:
        return 0
