"""System calls of a command, counted or disturbed by strace, which attaches to the forked child before it begins.

strace counts calls by thread, so the N-th call of a name is that of the first thread that makes so many.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from smallvault import Ran
from stage import Stage

WRITING = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "link",
    "linkat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "ftruncate",
    "symlinkat",
    "fchmod",
    "fchown",
    "utimensat",
    "flock",
)
"""What changes a store, a state folder or a target."""

_CALL = re.compile(r"^(\d+) +(\w+)\(")


def needs() -> str | None:
    """What is missing here for strace to work, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with tempfile.NamedTemporaryFile() as log:
        child = subprocess.Popen(["sleep", "5"])
        try:
            tracer = _attach(child.pid, ["-o", log.name])
            tracer.terminate()
            tracer.communicate()
        except OSError as error:
            return f"strace may not trace here: {error}"
        finally:
            child.kill()
            child.wait()
    return None


def count_calls(stage: Stage, calls: Sequence[str]) -> dict[str, int]:
    """How often a thread makes each call at most, in a run without faults that must succeed."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        ran = run_traced(stage, ["-e", f"trace={','.join(calls)}", "-o", str(log)])
        assert ran.code == 0, ran
        counts = Counter(match.groups() for line in log.read_text().splitlines() if (match := _CALL.match(line)))
    most: dict[str, int] = {}
    for (_, call), count in counts.items():
        most[call] = max(count, most.get(call, 0))
    return most


def disturb(stage: Stage, call: str, what: str) -> Ran:
    """The stage's command, with strace's `what` (`signal=KILL:when=3`, `error=EIO:when=1+`) at a call."""
    return run_traced(stage, ["-e", f"trace={call}", "-e", f"inject={call}:{what}", "-o", "/dev/null"])


def run_traced(stage: Stage, options: Sequence[str]) -> Ran:
    """The stage's command under strace with some options."""
    waits, is_ready = os.pipe()
    go, may_go = os.pipe()
    tracers: list[subprocess.Popen[bytes]] = []

    def wait_for_tracer() -> None:
        # The parent's ends too, or nobody would ever see an end of file.
        os.close(may_go)
        os.close(waits)
        os.close(is_ready)
        select.select([go], [], [])  # not by a read, which might be the one that is to fail
        os.close(go)

    def trace(pid: int) -> None:
        os.close(go)
        os.close(is_ready)
        os.read(waits, 1)  # until the child has nothing left to do but what is to be traced
        os.close(waits)
        tracers.append(_attach(pid, options))
        os.close(may_go)

    try:
        return stage.run(wait_for_tracer, trace)
    finally:
        for tracer in tracers:
            tracer.communicate()


def _attach(pid: int, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """strace, once it has attached.  Raises OSError."""
    tracer = subprocess.Popen(["strace", "-f", *options, "-p", str(pid)], stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    if b"attached" not in line:
        tracer.communicate()
        raise OSError(line.decode(errors="replace").strip())
    # Later lines (threads that it attaches to) are few, and fit in the pipe.
    return tracer


__all__ = ["WRITING", "count_calls", "disturb", "needs", "run_traced"]
