"""Standard streams that nobody reads, or not any more: closed ones, a terminal that is gone, a pipe whose reader has ended, a
full disk."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TextIO


def stand_in() -> None:
    """Put the null device where a standard stream was closed before the run began (`2>&-`).

    Python has no stream there, and the next file that is opened would get its number: what a library or a child prints
    would go into that.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115  ends with us
            setattr(sys, name, stream)


def let_go(stream: TextIO) -> None:
    """Send nowhere what is written to the stream from now on, and what still waits in it.

    Python flushes its streams when it ends, and would complain in its own words, with an exit code of its own.
    """
    with contextlib.suppress(OSError, ValueError):  # it is closed already, or has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Unheard:
    """A stream to which writing never fails: a run does not end because nobody looks on any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            let_go(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            let_go(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
