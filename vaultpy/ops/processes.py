"""Other processes of this program that work for this one: how many are worth having, how one starts, how it ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping

from vaultpy.errors import VaultpyError

# One heap for all threads: glibc's many, each with its own holes, cost a process a third more memory.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}

_END_SECONDS = 5.0
"""What a process whose line to us is gone has left to end by itself."""


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_processes(wanted: int) -> int:
    """`wanted`, or 1, this one alone, where no other can be started: frozen into one file, or inside another program, it has
    no Python of its own."""
    return wanted if sys.executable and not getattr(sys, "frozen", False) else 1


def start_process(
    kind: str, module: str, *, otherwise: str = "", environment: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], int]:
    """A process in which `module` has `run(fd)` called with a socket, and the descriptor of the other end, now the caller's.

    `kind` names it (`worker`), `otherwise` how to do without; `environment` is what it has besides ours.  Raises
    VaultpyError where the system has none to give.
    """
    try:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # In a session of its own: Ctrl-C reaches us, and it ends when we let go of it.
            process = subprocess.Popen(
                _command(module, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT, **(environment or {})},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            return process, ours.detach()
    except OSError as error:
        raise VaultpyError(
            f"{kind} process cannot start: {(error.strerror or str(error)).lower()}",
            hint=f"raise the limits on processes, open files and memory{otherwise}",
        ) from error


def release(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process whose line to us is gone or that was told to end; one that does not end in time is killed, and one
    that cannot even be killed, because the kernel holds it, is left."""
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)


def end_of(kind: str, process: subprocess.Popen[bytes]) -> str:
    """How a process ended that should have gone on; waits for that, and ends one that lives on without its line to us."""
    try:
        code = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return f"{kind} process let go of its line before it was done"
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    return f"{kind} process {how} before it was done"


def unreachable(kind: str, error: OSError) -> VaultpyError:
    """What it means that a line to a process fails though nobody let go of it: the system has no memory for what is on it."""
    why = (error.strerror or str(error)).lower()
    return VaultpyError(f"{kind} process cannot be reached: {why}", hint="nothing finished is lost; try it again")


def _command(module: str, fd: int) -> list[str]:
    # The child imports from where we did, and never from the directory that we happen to be in (-P).
    start = f"import sys; sys.path[:] = {sys.path!r}; from {module} import run; run({fd})"
    return [sys.executable, "-P", "-c", start]
