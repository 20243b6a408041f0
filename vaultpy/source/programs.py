"""Running other people's programs: in a process group of their own, with a limit on their time, and an end for sure.

What such a program writes to its standard error (a hook: anything at all) is kept only at its end, for the one who has to
find out what was wrong.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO

from vaultpy.errors import SourceError

TAIL_BYTES = 4096
"""What is kept of what a program complains about."""

GRACE_SECONDS = 5.0
"""Between asking a program to end and ending it."""

_POLL_SECONDS = 0.2


class ProgramFailed(SourceError):
    """A program could not be started, took too long, or ended with another exit code than 0; the message says which, and
    the last of what it wrote."""


class Program:
    """A program that runs; leaving the `with` ends it, and all that it started and that stayed in its group."""

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], timeout: float, *, keep_output: bool
    ) -> None:
        """Start it, its standard input empty.  `keep_output`: its output is for `read`; else it counts as complaints.

        Raises ProgramFailed where it cannot be started.
        """
        self._name, self._timeout = words[0], timeout
        self._deadline = time.monotonic() + timeout
        self._said = b""
        complaints = subprocess.PIPE if keep_output else subprocess.STDOUT
        try:
            self._process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=dict(environment),
                start_new_session=True,  # a group of its own, so that all of it can be ended
            )
        except OSError as error:
            raise ProgramFailed(f"{self._name}: cannot be run: {os.strerror(error.errno or 0).lower()}") from error
        except ValueError as error:
            raise ProgramFailed(f"{self._name}: cannot be run: {error}") from error
        self._output = self._process.stdout if keep_output else None
        self._complaints = self._process.stderr if keep_output else self._process.stdout

    def read(self, buffer: memoryview) -> int:
        """Some of its output into `buffer`; 0 at the end.  Raises ProgramFailed when its time is up."""
        assert self._output is not None
        while True:
            if self._wait_for_input(self._output):
                return os.readv(self._output.fileno(), [buffer])

    def finish(self) -> None:
        """Wait until it ends.  Raises ProgramFailed unless with exit code 0, and in time."""
        while self._process.poll() is None:
            if self._complaints is None:
                self._wait_for_exit()
            else:
                self._wait_for_input(None)
        self._drain()
        if self._process.returncode:
            raise ProgramFailed(f"{self._name}: {_ending(self._process.returncode)}{self._tail()}")

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None or kind is not None:
            self._stop()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _wait_for_input(self, output: IO[bytes] | None) -> bool:
        """Wait a moment for output or complaints, and take the latter; whether there is output (or its end)."""
        pipes = [pipe.fileno() for pipe in (output, self._complaints) if pipe is not None]
        # A program that ends while something it started keeps its pipes open is noticed by looking now and then.
        ready = _readable(pipes, min(self._rest(), _POLL_SECONDS))
        if self._complaints is not None and self._complaints.fileno() in ready:
            self._take_complaints()
        return output is not None and output.fileno() in ready

    def _take_complaints(self) -> None:
        assert self._complaints is not None
        data = os.read(self._complaints.fileno(), 1 << 16)
        if data:
            self._said = (self._said + data)[-TAIL_BYTES:]
        else:
            self._complaints = None

    def _drain(self) -> None:
        """What is there already of its complaints, without waiting for what it started and left running."""
        while self._complaints is not None and _readable([self._complaints.fileno()], 0):
            self._take_complaints()

    def _wait_for_exit(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._rest())

    def _rest(self) -> float:
        rest = self._deadline - time.monotonic()
        if rest <= 0:
            self._drain()
            raise ProgramFailed(f"{self._name}: not done after {self._timeout:.0f} s{self._tail()}")
        return rest

    def _tail(self) -> str:
        said = self._said.decode("utf-8", "backslashreplace").strip()
        return f": {said}" if said else ""

    def _stop(self) -> None:
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        self._signal(signal.SIGKILL)  # whoever is left of the group
        wait_for_killed(self._process)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def run_program(words: Sequence[str], environment: Mapping[str, str], timeout: float) -> None:
    """Run a program to its end.  Raises ProgramFailed, with the last of all that it wrote."""
    with Program(words, environment, timeout, keep_output=False) as program:
        program.finish()


def wait_for_killed(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process that was killed is gone, but not for ever: one that is stuck in the system (a network file system
    whose server is gone) ends when that lets go of it, and whoever started it has other things to do."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)


def _readable(descriptors: Sequence[int], seconds: float) -> frozenset[int]:
    """Those with something to read, or at their end, after that time at most."""
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    return frozenset(fd for fd, _ in poll.poll(seconds * 1000))


def _ending(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
