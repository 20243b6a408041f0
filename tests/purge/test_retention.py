"""Retention is pure: signed start times in, a verdict and its reasons out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.model import HostId, KeyId, SnapshotId, SnapshotState, SourceId
from vaultpy.ops.reading.catalog import Entry
from vaultpy.ops.removing.retention import NEWEST, Rules, decide
from vaultpy.units import Duration, before

SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND
NOW = int(datetime(2024, 6, 15, 12, tzinfo=UTC).timestamp()) * SECOND


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def entry(started: int, number: int = 0, **changes: object) -> Entry:
    made = Entry(
        id=SnapshotId(uuid.UUID(int=started % (1 << 64) << 32 | number)),
        source=SourceId(uuid.UUID(int=3)),
        host=HostId(uuid.UUID(int=2)),
        seq=started // 1_000_000 + number,
        started=started,
        completed=started,
        state=SnapshotState.COMPLETE,
        key_id=KeyId(uuid.UUID(int=4)),
        repairs=None,
        pinned=False,
        signer=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def days(count: int) -> list[Entry]:
    """One a day, the last of them now."""
    return [entry(NOW - age * DAY) for age in reversed(range(count))]


def kept(entries: Sequence[Entry], rules: Rules) -> list[int]:
    """Which of them stay, counted from the newest."""
    verdicts = decide(entries, rules, NOW)
    assert [one.entry for one in verdicts] == list(entries)
    return [place for place, one in enumerate(reversed(verdicts)) if one.keep]


@pytest.mark.parametrize(("last", "stay"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (4, [0, 1, 2])])
def test_keep_last_keeps_that_many(last: int, stay: list[int]) -> None:
    assert kept(days(3), Rules(last=last)) == stay


def test_keep_latest_keeps_one() -> None:
    assert kept(days(3), Rules(latest=True)) == [0]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_newest_stays_whatever_the_rules_say(count: int) -> None:
    assert kept(days(count), Rules(older_than=Duration())) == [0][:count]


@pytest.mark.parametrize(
    ("rule", "times"),
    [
        ("hourly", ["T10:00", "T10:59:59", "T11:00", "T12:00"]),
        ("daily", ["06-12T00:00", "06-12T23:59:59", "06-13T00:00", "06-14T00:00"]),
        ("weekly", ["06-02T23:59", "06-03T00:00", "06-09T23:59", "06-10T00:00"]),
        ("monthly", ["04-30T23:59", "05-01T00:00", "05-31T23:59", "06-01T00:00"]),
    ],
)
def test_each_period_keeps_its_newest(rule: str, times: list[str]) -> None:
    full = [f"2024-06-15{time}" if time.startswith("T") else f"2024-{time}" for time in times]
    entries = [entry(at(time)) for time in full]
    two = {"hourly": [0, 1], "daily": [0, 1], "weekly": [0, 1], "monthly": [0, 1]}
    assert kept(entries, Rules(**{rule: 1})) == [0]  # type: ignore[arg-type]
    assert kept(entries, Rules(**{rule: 2})) == two[rule]  # type: ignore[arg-type]
    third = {"hourly": [0, 1, 2], "daily": [0, 1, 2], "weekly": [0, 1, 3], "monthly": [0, 1, 3]}
    assert kept(entries, Rules(**{rule: 3})) == third[rule]  # type: ignore[arg-type]


def test_a_week_may_begin_in_the_year_before() -> None:
    entries = [entry(at("2024-12-29T12:00")), entry(at("2024-12-30T12:00")), entry(at("2025-01-01T12:00"))]
    assert kept(entries, Rules(weekly=2)) == [0, 2]


def test_years_before_1970_are_years_too() -> None:
    entries = [entry(at("1968-12-31T23:59:59")), entry(at("1969-01-01T00:00")), entry(at("1969-12-31T23:59:59"))]
    assert kept(entries, Rules(yearly=2)) == [0, 2]


def test_periods_without_a_snapshot_do_not_count() -> None:
    assert kept([entry(NOW - age * DAY) for age in (400, 300, 200, 0)], Rules(daily=3)) == [0, 1, 2]


def test_days_are_counted_in_utc_wherever_the_keeper_is(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [entry(at("2024-06-14T11:00")), entry(at("2024-06-14T13:00"))]
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert kept(entries, Rules(daily=2)) == [0]
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("rule", ["within", "older_than"])
def test_durations_keep_what_is_not_older_to_the_nanosecond(rule: str) -> None:
    limit = before(NOW, Duration(months=1))
    entries = [entry(limit - 1), entry(limit), entry(limit + 1), entry(NOW)]
    assert kept(entries, Rules(**{rule: Duration(months=1)})) == [0, 1, 2]  # type: ignore[arg-type]


def test_older_than_narrows_what_another_rule_would_remove() -> None:
    assert kept(days(10), Rules(last=1, older_than=Duration(seconds=5 * 86_400))) == [0, 1, 2, 3, 4, 5]


def test_tagged_ones_stay() -> None:
    entries = [entry(NOW - 2, tags=("a", "b")), entry(NOW - 1, tags=("c",)), entry(NOW, tags=())]
    assert kept(entries, Rules(tags=("b",))) == [0, 2]
    assert kept(entries, Rules(tags=("b", "c"))) == [0, 1, 2]


def test_pinned_ones_stay() -> None:
    assert kept([entry(NOW - 2, pinned=True), entry(NOW - 1), entry(NOW)], Rules(latest=True)) == [0, 2]


def test_flagged_ones_neither_count_nor_go() -> None:
    good = days(4)
    future = [entry(NOW + age * DAY, flag="signed later") for age in (1, 2, 3)]
    assert kept([*good, *future], Rules(last=2)) == [0, 1, 2, 3, 4]
    assert [one.reasons for one in decide(future, Rules(last=2), NOW)] == [("left alone: signed later",)] * 3


def test_every_reason_is_told() -> None:
    verdicts = decide(days(3), Rules(last=2, daily=1, tags=()), NOW)
    assert [one.reasons for one in verdicts] == [("no rule keeps it",), ("last",), (NEWEST, "last", "daily")]


def test_rules_know_whether_there_is_one() -> None:
    assert not Rules()
    for rules in (Rules(latest=True), Rules(yearly=1), Rules(within=Duration()), Rules(tags=("a",))):
        assert rules


counts = st.integers(0, 4)
durations = st.none() | st.builds(Duration, st.integers(0, 3), st.integers(0, 40 * 86_400))
rule_sets = st.builds(
    Rules,
    st.booleans(),
    *[counts] * 6,
    durations,
    durations,
    st.lists(st.sampled_from("ab"), unique=True, max_size=2).map(tuple),
)
sources = st.lists(
    st.builds(
        lambda started, flagged, pinned, tags: (started, flagged, pinned, tags),
        st.integers(NOW - 800 * DAY, NOW + DAY) | st.integers(0, 30).map(lambda age: NOW - age * DAY),
        st.sampled_from([None, None, None, "odd"]),
        st.booleans(),
        st.sampled_from([(), ("a",), ("a", "b")]),
    ),
    max_size=20,
).map(
    lambda drawn: [
        entry(started, number, flag=flag, pinned=pinned and number % 3 == 0, tags=tags)
        for number, (started, flag, pinned, tags) in enumerate(sorted(drawn, key=lambda one: one[0]))
    ]
)


def staying(entries: Sequence[Entry], rules: Rules) -> set[SnapshotId]:
    return {one.entry.id for one in decide(entries, rules, NOW) if one.keep}


@settings(max_examples=100, deadline=None)
@given(sources, rule_sets)
def test_the_newest_unflagged_and_all_flagged_ones_never_go(entries: list[Entry], rules: Rules) -> None:
    stay = staying(entries, rules)
    good = [one for one in entries if one.flag is None]
    assert not good or max(good, key=lambda one: (one.started, one.seq)).id in stay
    assert {one.id for one in entries if one.flag} <= stay


@settings(max_examples=100, deadline=None)
@given(sources, rule_sets, rule_sets)
def test_more_rules_never_remove_more(entries: list[Entry], some: Rules, more: Rules) -> None:
    both = Rules(
        some.latest or more.latest,
        *(max(getattr(some, name), getattr(more, name)) for name in ("last", "hourly", "daily", "weekly", "monthly")),
        max(some.yearly, more.yearly),
        some.within or more.within,
        some.older_than or more.older_than,
        (*some.tags, *more.tags),
    )
    assert staying(entries, some) <= staying(entries, both)


@settings(max_examples=50, deadline=None)
@given(sources, rule_sets, st.randoms())
def test_the_order_of_listing_and_odd_ones_change_no_verdict(
    entries: list[Entry], rules: Rules, random: object
) -> None:
    good = [one for one in entries if one.flag is None]
    mixed = list(entries)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert staying(mixed, rules) - {one.id for one in entries if one.flag} == staying(good, rules)
