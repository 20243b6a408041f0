"""Trying again: full jitter, a deadline, and the wait that a server asks for.

Full jitter (a random part of a bound that doubles) is from Marc Brooker, "Exponential Backoff And Jitter", 2015: it spreads
hosts that failed together better than any fixed schedule.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from vaultpy.errors import StoreUnavailable

Result = TypeVar("Result")


class TryAgain(StoreUnavailable):
    """A passing fault; `after` is the least wait in seconds that the server asked for."""

    def __init__(self, message: str, *, hint: str | None = None, after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.after = after


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on, in seconds: the first and the longest wait's bounds, and the time since the first failure.

    Until the store has answered once, `before_answer` holds instead: a mistyped endpoint should not take ten minutes to
    say so, an outage in the middle of a long run should not end it.
    """

    first: float = 0.5
    longest: float = 30.0
    deadline: float = 600.0
    before_answer: float = 20.0


class Retrier:
    """Runs requests until they succeed or patience ends.  Safe for several threads."""

    def __init__(
        self,
        patience: Patience = Patience(),
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._answered = False

    def run(self, attempt: Callable[[], Result]) -> Result:
        """What `attempt` returns, once it raises no TryAgain; every other error passes at once.

        Raises StoreUnavailable when the deadline would pass before the next try.
        """
        tries = 0
        began: float | None = None
        while True:
            try:
                result = attempt()
            except TryAgain as fault:
                now = self._clock()
                began = now if began is None else began
                wait = self._wait(tries, fault.after)
                tries += 1
                if now + wait - began > self._limit():
                    raise _given_up(fault, tries, now - began) from fault
                self._sleep(wait)
            else:
                self._answered = True
                return result

    def _limit(self) -> float:
        return self._patience.deadline if self._answered else self._patience.before_answer

    def _wait(self, tries: int, after: float | None) -> float:
        # The exponent is bounded so that thousands of tries stay a float.
        bound = min(self._patience.longest, self._patience.first * 2.0 ** min(tries, 30))
        return max(after or 0.0, self._jitter() * bound)


def _given_up(fault: TryAgain, tries: int, seconds: float) -> StoreUnavailable:
    times = "once" if tries == 1 else f"{tries} times in {seconds:.0f} s"
    return StoreUnavailable(f"{fault.message} (tried {times})", hint=fault.hint)
