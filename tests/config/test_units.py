"""Sizes and durations: what is read, what is refused, and how they are shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.errors import UsageError
from vaultpy.units import Duration, before, format_duration, format_size, parse_duration, parse_size


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("4096", 4096),
        ("1B", 1),
        ("32MiB", 32 << 20),
        ("32 MiB", 32 << 20),
        ("1.5KiB", 1536),
        ("1kB", 1000),
        ("2MB", 2_000_000),
        ("0.5GiB", 1 << 29),
        ("1TiB", 1 << 40),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1M", "1 mib", "1e3", "1.MiB", "٣MiB", "1MiB1", "0x10", "9" * 20])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="not a size") as caught:
        parse_size(text)
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (1 << 20, "1.0 MiB"),
        (5 << 50, "5.0 PiB"),
        (5 << 60, "5120.0 PiB"),
    ],
)
def test_a_size_is_shown(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 1 << 59))
@settings(max_examples=100)
def test_a_shown_size_reads_back_within_its_rounding(size: int) -> None:
    assert abs(parse_size(format_size(size)) - size) <= max(size * 0.051, 0)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("36h", Duration(seconds=36 * 3600)),
        ("30d", Duration(seconds=30 * 86400)),
        ("8w", Duration(seconds=56 * 86400)),
        ("6mo", Duration(months=6)),
        ("1y", Duration(months=12)),
        ("90min", Duration(seconds=5400)),
        ("0s", Duration()),
        ("1y6mo2d", Duration(months=18, seconds=2 * 86400)),
    ],
)
def test_a_duration_is_read(text: str, duration: Duration) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "5", "h", "5m", "-1d", "1.5h", "1 d", "5D", "1000000d", "٣d"])
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration") as caught:
        parse_duration(text)
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("start", "duration", "end"),
    [
        ("2024-05-01T10:00:00", Duration(seconds=3600), "2024-05-01T09:00:00"),
        ("2024-03-31T10:00:00", Duration(months=1), "2024-02-29T10:00:00"),
        ("2023-03-31T10:00:00", Duration(months=1), "2023-02-28T10:00:00"),
        ("2024-02-29T10:00:00", Duration(months=12), "2023-02-28T10:00:00"),
        ("2024-01-15T10:00:00", Duration(months=1), "2023-12-15T10:00:00"),
        ("2024-01-15T10:00:00", Duration(months=13, seconds=86400), "2022-12-14T10:00:00"),
        ("1970-01-01T00:00:00", Duration(seconds=1), "1969-12-31T23:59:59"),
    ],
)
def test_months_go_back_by_the_calendar(start: str, duration: Duration, end: str) -> None:
    assert before(at(start) + 7, duration) == at(end) + 7


def test_before_the_year_one_is_the_year_one() -> None:
    assert before(at("2024-01-01T00:00:00"), Duration(months=12 * 9999)) == at("0001-01-01T00:00:00")
    assert before(at("2024-01-01T00:00:00"), Duration(seconds=999_999 * 604_800)) == at("0001-01-01T00:00:00")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59, "59 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3601, "1 h"),
        (90_061, "1 d 1 h"),
    ],
)
def test_a_duration_is_shown(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
