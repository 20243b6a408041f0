"""Which snapshots of one source stay: pure rules over signed start times.

Every rule keeps, none removes: a snapshot goes when no rule keeps it.  So another rule never makes more go, and no rule at
all is not a way to say "everything".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta

from vaultpy.model import SnapshotId
from vaultpy.ops.reading.catalog import Entry
from vaultpy.units import Duration, before

NEWEST = "newest of its source"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rules:
    """What to keep of each source.  `last`: that many of the newest; `hourly` to `yearly`: the newest of each of that many
    hours (days, …) that have one; `within` and `older_than`: all that are not older; `tags`: all that bear one of them."""

    latest: bool = False
    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: Duration | None = None
    older_than: Duration | None = None
    tags: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return any(value is not None and value != () and value != 0 for value in astuple(self))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a snapshot, and why; all the rules that keep it are named."""

    entry: Entry
    keep: bool
    reasons: tuple[str, ...]


def decide(entries: Sequence[Entry], rules: Rules, now: int) -> tuple[Verdict, ...]:
    """The verdicts on one source's snapshots, in the order given; `now` in nanoseconds since 1970.

    What is flagged (a start that the store's clock contradicts, an unknown signer) neither takes a place that another
    would have had nor goes: else whoever can add snapshots with false times could push the good ones out.  The newest of
    the others always stays.
    """
    counted = sorted(
        (one for one in entries if one.flag is None), key=lambda one: (one.started, one.seq, one.id), reverse=True
    )
    reasons: dict[SnapshotId, list[str]] = {one.id: [] for one in counted}
    for reason, kept in _apply(counted, rules, now):
        for one in kept:
            reasons[one.id].append(reason)
    return tuple(_verdict(one, reasons.get(one.id, [])) for one in entries)


def _verdict(entry: Entry, reasons: Sequence[str]) -> Verdict:
    if entry.flag is not None:
        return Verdict(entry, True, (f"left alone: {entry.flag}",))
    return Verdict(entry, bool(reasons), tuple(reasons) or ("no rule keeps it",))


def _apply(newest_first: Sequence[Entry], rules: Rules, now: int) -> Iterator[tuple[str, Sequence[Entry]]]:
    """Each rule's name, with what it keeps."""
    yield NEWEST, newest_first[:1]
    yield "pinned", [one for one in newest_first if one.pinned]
    yield "latest", newest_first[: int(rules.latest)]
    yield "last", newest_first[: rules.last]
    for reason, count, period in (
        ("hourly", rules.hourly, _hour),
        ("daily", rules.daily, _day),
        ("weekly", rules.weekly, _week),
        ("monthly", rules.monthly, _month),
        ("yearly", rules.yearly, _year),
    ):
        yield reason, _newest_of_each(newest_first, count, period)
    for reason, length in (("within", rules.within), ("not older", rules.older_than)):
        if length is not None:
            limit = before(now, length)
            yield reason, [one for one in newest_first if one.started >= limit]
    for tag in rules.tags:
        yield f"tag {tag}", [one for one in newest_first if tag in (one.tags or ())]


def _newest_of_each(
    newest_first: Sequence[Entry], count: int, period: Callable[[datetime], tuple[int, ...]]
) -> list[Entry]:
    found: dict[tuple[int, ...], Entry] = {}
    for one in newest_first:
        if len(found) == count:
            break
        # Once a period was passed it does not come again, so stopping at the count drops no later member of it.
        found.setdefault(period(_time(one.started)), one)
    return list(found.values())


def _time(moment: int) -> datetime:
    """In UTC, so that a keeper and every host of it count the same days."""
    return _EPOCH + timedelta(microseconds=moment // 1000)


def _hour(time: datetime) -> tuple[int, ...]:
    return time.year, time.month, time.day, time.hour


def _day(time: datetime) -> tuple[int, ...]:
    return time.year, time.month, time.day


def _week(time: datetime) -> tuple[int, ...]:
    """ISO 8601's weeks: from Monday, and the first of a year holds its first Thursday."""
    return tuple(time.isocalendar()[:2])


def _month(time: datetime) -> tuple[int, ...]:
    return time.year, time.month


def _year(time: datetime) -> tuple[int, ...]:
    return (time.year,)
