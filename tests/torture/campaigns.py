"""What a campaign is, and the list of all: each `campaign_*.py` in this folder registers its own.

A campaign names its cases before it runs any, so that they can be counted, sampled, shared out and repeated by name.  A
case that meets nothing (a hit that does not come this time) is told apart from one that held.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from invariants import Report, Violation

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One case: what is done, where something happens to it, and at which time it gets there."""

    operation: str
    point: str
    hit: str

    @property
    def name(self) -> str:
        return f"{self.operation}/{self.point}/{self.hit}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case that held says: by its invariants, or in figures; `met`: whether what was to happen happened at all;
    `count`: distinct cases inside this one (a state machine's steps, bits flipped in one go)."""

    report: Report | None = None
    met: bool = True
    count: int = 1
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Room:
    """Where a campaign works: a folder that is its own and gone afterwards, the seed, whether this is only the sample of
    `make test`, and seconds to spend (None: until all is done).  `only`: the operation of the cases that were asked for by
    name.  `kept` is for what cases share, such as vaults."""

    folder: Path
    seed: int
    sample: bool
    budget: float | None
    only: str | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    def random(self, *words: object) -> random.Random:
        """Chance that is the same for the same seed and words."""
        return random.Random("/".join(map(str, (self.seed, *words))))


@dataclass(frozen=True, slots=True)
class Campaign:
    """`cases` lists them (and may try things out to find them); `run` runs one, and raises Violation (or any other
    AssertionError).  `wanted`: how many cases `make torture` runs (None: all); `sample`: how many `make test` does;
    `in_order`: they are run as listed, not shuffled; `needs` says what is missing here, or None; `close` clears up what
    `kept` holds."""

    number: int
    name: str
    promise: str
    cases: Callable[[Room], Iterable[Case]]
    run: Callable[[Room, Case], Outcome]
    wanted: int | None = None
    sample: int = 20
    in_order: bool = False
    needs: Callable[[], str | None] = lambda: None
    close: Callable[[Room], None] = lambda room: None


_ALL: dict[str, Campaign] = {}


def register(campaign: Campaign) -> Campaign:
    """Make a campaign known; called by its module when it is imported."""
    assert campaign.name not in _ALL, campaign.name
    _ALL[campaign.name] = campaign
    return campaign


def all_campaigns() -> list[Campaign]:
    """Every campaign of this folder, by number."""
    for path in sorted(HERE.glob("campaign_*.py")):
        importlib.import_module(path.stem)
    return sorted(_ALL.values(), key=lambda one: (one.number, one.name))


def find_campaigns(names: Sequence[str]) -> list[Campaign]:
    """The campaigns of these names (of none: all), each from `campaign_NAME.py`.  Raises KeyError for one that is not."""
    if not names:
        return all_campaigns()
    for name in names:
        module = f"campaign_{name.replace('-', '_')}"
        if not (HERE / f"{module}.py").exists():
            raise KeyError(name)
        importlib.import_module(module)
    return [_ALL[name] for name in names]


def spread(cases: Iterable[Case], chance: random.Random, wanted: int | None = None) -> list[Case]:
    """Cases in an order that takes from every operation and point in turn, so that any beginning of it is a fair sample."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.operation, case.point), []).append(case)
    order = list(groups)
    chance.shuffle(order)
    for group in groups.values():
        chance.shuffle(group)
    found: list[Case] = []
    while order:
        order = [key for key in order if groups[key]]
        found += [groups[key].pop() for key in order]
    return found[:wanted]


__all__ = ["Campaign", "Case", "Outcome", "Room", "Violation", "all_campaigns", "find_campaigns", "register", "spread"]
