"""What a long operation tells while it works: frozen events, handed to a function that the caller gave.

Nothing below the command line prints; it calls `on_event`, from any thread, a few times a second and not once per file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vaultpy.model import Problem


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A piece of work begins, and ends the one before it; totals that are not known (yet) are None."""

    name: str
    files_total: int | None = None
    bytes_total: int | None = None


@dataclass(frozen=True, slots=True)
class StepAdvanced:
    """How far the current step is: sums since it began, not differences, so that a skipped event costs nothing."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ProblemMet:
    """A path that could not be taken, or given back, as it should."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Noticed:
    """One line that a person should see; `warning` when it must be said even where silence was asked for."""

    text: str
    warning: bool = False


Event = StepBegan | StepAdvanced | ProblemMet | Noticed
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """For callers who do not want to know."""
