"""From samples to figures: medians, ratios to the best peer, and the goals that they are held against.  Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rounds import Sample

OURS = "vaultpy"


@dataclass(frozen=True, slots=True)
class Figure:
    """A program's medians in a row; `runs` samples went into them, of which `failed` did not do what was asked."""

    wall: float
    cpu: float
    peak: float
    stored: float
    runs: int
    failed: int


Key = tuple[str, str, str]
"""Section, step, program."""


@dataclass(frozen=True, slots=True)
class Results:
    """All that a benchmark found.  `trees`: files and bytes of each; `skipped`: what was left out, and why."""

    samples: Sequence[Sample]
    trees: dict[str, tuple[int, int]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    skipped: tuple[tuple[str, str, str], ...] = ()

    @property
    def programs(self) -> list[str]:
        return list(dict.fromkeys(one.program for one in self.samples))


def medians(samples: Iterable[Sample]) -> dict[Key, Figure]:
    """The median of each measure of each row and program, over the samples that did what was asked (all, where none did)."""
    groups: dict[Key, list[Sample]] = {}
    for one in samples:
        groups.setdefault((one.section, one.step, one.program), []).append(one)
    return {key: _figure(group) for key, group in groups.items()}


def _figure(group: Sequence[Sample]) -> Figure:
    good = [one for one in group if did_it(one)]
    used = good or group
    return Figure(
        statistics.median(one.cost.wall for one in used),
        statistics.median(one.cost.cpu for one in used),
        statistics.median(one.cost.peak for one in used),
        statistics.median(one.stored for one in used),
        len(group),
        len(group) - len(good),
    )


def did_it(sample: Sample) -> bool:
    """Whether a program did what was asked: its exit code, and for a restore every path and all content.

    Times and modes that differ are told and not held against it: some programs do not keep them.
    """
    lost = {"missing", "content", "kind", "target", "unexpected"} & sample.more.get("differences", {}).keys()
    return sample.cost.code == 0 and not lost and sample.more.get("content", True) is True


def best_peer(figures: dict[Key, Figure], section: str, step: str, measure: str) -> tuple[str, float] | None:
    """The peer with the least of a measure in a row, and how much; those that failed do not count."""
    found = [
        (float(getattr(figure, measure)), program)
        for (where, what, program), figure in figures.items()
        if (where, what) == (section, step) and program != OURS and not figure.failed
    ]
    if not found:
        return None
    least = min(found)
    return least[1], least[0]


def ratio(figures: dict[Key, Figure], section: str, step: str, measure: str) -> float | None:
    """vaultpy's part of the best peer's; None where one of the two is missing."""
    ours, best = figures.get((section, step, OURS)), best_peer(figures, section, step, measure)
    if ours is None or best is None or best[1] == 0:
        return None
    return float(getattr(ours, measure)) / best[1]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal beside what was measured.  `reached` is None where it was not measured."""

    what: str
    goal: str
    measured: str
    reached: bool | None


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a value: at most `most` of `unit`, or at least, where `is_floor`."""

    what: str
    most: float
    unit: str
    value: Callable[[Results, dict[Key, Figure]], float | None]
    is_floor: bool = False


def judge(results: Results, goals: Sequence[Goal]) -> list[Verdict]:
    figures = medians(results.samples)
    return [_verdict(goal, goal.value(results, figures)) for goal in goals]


def _verdict(goal: Goal, value: float | None) -> Verdict:
    bound = f"{'≥' if goal.is_floor else '≤'} {_number(goal.most)}{goal.unit}"
    if value is None:
        return Verdict(goal.what, bound, "not measured", None)
    reached = value >= goal.most if goal.is_floor else value <= goal.most
    return Verdict(goal.what, bound, f"{_number(value)}{goal.unit}", reached)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"
