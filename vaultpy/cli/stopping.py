"""Ending a run that was told to stop: cleanly if that takes seconds, at once if it takes longer.

A run may be cut off anywhere without harm (docs/guarantees.md), so nothing has to be waited for: not a server that answers
nothing, not a pause before the next try.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

SECONDS = 4
"""How long tidying up may take."""

_SIGNALS = {
    signal.SIGHUP: ("hung up", 129),
    signal.SIGINT: ("interrupted", 130),
    signal.SIGTERM: ("terminated", 143),
}


class Stopped(BaseException):
    """The run was told to stop.

    No Exception: libraries catch those in the middle of a request, and botocore makes of them a fault that is tried again.
    `kept` says, for people, what there is of the run.
    """

    def __init__(self, what: str, exit_code: int) -> None:
        super().__init__(what)
        self.what, self.exit_code = what, exit_code
        self.kept: str | None = None


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the block by Stopped; the process ends all the same if it has not ended some seconds
    later, and at once at a second signal.  A signal that was ignored (nohup, a job in the background) stays ignored."""
    ending = _Ending()
    alarm = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, ending.begin) for number in heard}
    try:
        yield
    finally:
        ending.said = True
        # Once told to stop, the process is ending, and Python's own end waits for every thread: the alarm stands.
        if not ending.begun:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.signal(signal.SIGALRM, alarm)


def tidy_patiently() -> None:
    """In the block of `stoppable`: after the first signal wait for as long as tidying up takes, because something else stands
    still until it is done (a database that a hook has stopped).  A second signal still ends everything at once."""
    signal.signal(signal.SIGALRM, _patient)


def _patient(number: int, frame: FrameType | None) -> None:
    """Stands for the alarm where nobody hurries."""


class _Ending:
    """The end of a process: `begun` by the first signal; `said`: the run itself has told that it was stopped."""

    def __init__(self) -> None:
        self.begun = self.said = False
        self._what, self._code = "", 0

    def begin(self, number: int, frame: FrameType | None) -> None:
        self.begun = True
        self._what, self._code = _SIGNALS[signal.Signals(number)]
        for again in _SIGNALS:
            # A terminal that is closed says so twice, by the shell and by the kernel: nobody has lost patience.
            signal.signal(again, signal.SIG_IGN if again == signal.SIGHUP else self.end)
        if signal.getsignal(signal.SIGALRM) is not _patient:
            signal.signal(signal.SIGALRM, self.end)
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
        raise Stopped(self._what, self._code)

    def end(self, number: int, frame: FrameType | None) -> None:
        """Not through Python's own end, which waits for every thread."""
        if not self.said:
            with contextlib.suppress(OSError):
                os.write(2, f"vaultpy: {self._what}\n  it was cut off: nothing finished is lost\n".encode())
        os._exit(self._code)
