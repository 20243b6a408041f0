"""Sizes and durations as people write them, read and shown side by side."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from vaultpy.errors import UsageError

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SIZES: dict[str, int] = {unit: 1024**power for power, unit in enumerate(_BINARY)} | {
    unit: 1000**power for power, unit in enumerate(("", "kB", "MB", "GB", "TB", "PB")) if unit
}
_SIZE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))? ?([A-Za-z]*)")

_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "min": 60, "s": 1}
_MONTHS = {"y": 12, "mo": 1}
_DURATION = re.compile(r"(?:[0-9]{1,6}(?:y|mo|w|d|h|min|s))+")
_PART = re.compile(r"([0-9]+)([a-z]+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Duration:
    """Calendar months and seconds apart, because a month has no fixed number of seconds."""

    months: int = 0
    seconds: int = 0


def parse_size(text: str) -> int:
    """`32MiB`, `1.5GB` or `4096` in bytes; MB is 1000², MiB 1024².  Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    unit = match[3] or "B" if match else ""
    if not match or unit not in _SIZES:
        raise UsageError(
            f"size {text!r}: not a size", hint="write a number and B, KiB, MiB, GiB, TiB, kB, MB, GB or TB"
        )
    whole, fraction = match[1], match[2] or ""
    scale: int = 10 ** len(fraction)
    return int(whole + fraction) * _SIZES[unit] // scale


def format_size(size: int) -> str:
    """Bytes for people, in binary units: `0 B`, `1023 B`, `1.0 KiB`, `31.9 MiB`."""
    power = 0
    # The next unit is taken where rounding would show 1024.0 of this one.
    while power + 1 < len(_BINARY) and size * 20 >= (1024 * 20 - 1) * 1024**power:
        power += 1
    return f"{size} B" if power == 0 else f"{size / 1024**power:.1f} {_BINARY[power]}"


def parse_duration(text: str) -> Duration:
    """`36h`, `30d`, `8w`, `6mo`, `1y`, `90min`, `5s`, or several end to end (`1y6mo`).  Raises UsageError."""
    stripped = text.strip()
    if not _DURATION.fullmatch(stripped):
        raise UsageError(
            f"duration {text!r}: not a duration", hint="write a number and s, min, h, d, w, mo or y: 36h, 6mo"
        )
    months = seconds = 0
    for number, unit in _PART.findall(stripped):
        months += int(number) * _MONTHS.get(unit, 0)
        seconds += int(number) * _SECONDS.get(unit, 0)
    return Duration(months=months, seconds=seconds)


def before(moment: int, duration: Duration) -> int:
    """The time that lies `duration` before `moment`, both in nanoseconds since 1970 (UTC).

    A month back keeps the day of the month, or takes the month's last one: a month before March 31 is February 28.
    What would lie before the year 1 is the beginning of the year 1.
    """
    whole, rest = divmod(moment, _NANOSECONDS)
    start = _EPOCH + timedelta(seconds=whole)
    year, month = divmod(start.year * 12 + start.month - 1 - duration.months, 12)
    try:
        day = min(start.day, calendar.monthrange(year, month + 1)[1])
        moved = start.replace(year=year, month=month + 1, day=day) - timedelta(seconds=duration.seconds)
    except (ValueError, OverflowError):
        moved, rest = datetime(1, 1, 1, tzinfo=UTC), 0
    since = moved - _EPOCH
    return (since.days * 86_400 + since.seconds) * _NANOSECONDS + rest


def format_duration(seconds: float) -> str:
    """A length of time for people, two units at most: `0.4 s`, `59 s`, `3 min 20 s`, `5 h`, `12 d 3 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number:
            parts.append(f"{number} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])
