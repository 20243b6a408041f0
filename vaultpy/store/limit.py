"""A bandwidth limit, up and down apart, for all that is done over one line at once.

Stores take part, because only they see a body on its way: it goes in small pieces, each when its turn has come.  Counted are
the bytes of objects, as often as they are sent; listings and what the network adds are not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

BURST = 1.0
"""Seconds' worth of bytes that pass at once after a rest."""


class Pace:
    """Lets `rate` bytes a second through, in the order in which they are asked for.  Safe for several threads."""

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if rate <= 0:
            raise ValueError("rate must be positive")
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = clock() - BURST

    def take(self, size: int) -> None:
        """Return when it is the turn of `size` more bytes; the next ones wait until these have had their time."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now - BURST)
            self._next = turn + size / self._rate
        # Outside the lock, so that a clock with many waiting still gives each a turn of its own.
        if turn > now:
            self._sleep(turn - now)


@dataclass(frozen=True, slots=True)
class Line:
    """The way to a store: what holds for bodies that are sent and received; None: no limit."""

    up: Pace | None = None
    down: Pace | None = None

    @property
    def limited(self) -> bool:
        return self.up is not None or self.down is not None


FREE = Line()
"""A line without limits."""


def line_of(up: int | None, down: int | None) -> Line:
    """The line with limits in bytes a second; None: no limit."""
    return Line(None if up is None else Pace(up), None if down is None else Pace(down))
