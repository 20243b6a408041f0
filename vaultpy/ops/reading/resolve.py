"""What people call a snapshot: a UUID prefix, `latest`, or SOURCE@TIME."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

from vaultpy.errors import UsageError
from vaultpy.ops.reading.catalog import Catalog, Entry, describe_source, only_source

LATEST = "latest"
"""Names the newest snapshot of a source."""

SHOWN = 5
"""Ids that are named where one was meant."""

_PREFIX = re.compile(r"[0-9a-f]{4,8}(-[0-9a-f]{0,4}){0,3}(-[0-9a-f]{0,12})?")


def resolve_snapshot(catalog: Catalog, text: str, source: str | None = None) -> Entry:
    """The one snapshot that `text` names.  Raises UsageError where it names none or several: nothing is guessed."""
    if text == LATEST:
        return max(only_source(catalog, source), key=lambda entry: (entry.seq, entry.id))
    name, _, time = text.rpartition("@")
    if name:
        return _at_time(only_source(catalog, name), time, text)
    return _by_prefix(catalog, text.lower())


def passed_over(catalog: Catalog, entry: Entry) -> int:
    """How many snapshots of unknown signers say that they are newer than `entry`, and may be of a source of its name: another
    host's that has taken its place, or a stranger's."""
    if entry.signed is False:
        return 0  # nobody is known here, and all were looked at
    names = (None, entry.source_name)
    return sum(
        one.signed is False and one.started > entry.started and one.source_name in names for one in catalog.entries
    )


def _by_prefix(catalog: Catalog, text: str) -> Entry:
    """By the beginning of an id; that of a snapshot that was repaired since names what stands for it now."""
    if _PREFIX.fullmatch(text) is None:
        raise UsageError(
            f"snapshot '{text}': not a name of one",
            hint="give the beginning of an id (4 letters or more), latest, or SOURCE@TIME",
        )
    found = [one for one in catalog.entries if str(one.id).startswith(text)]
    if not found:
        standing = {now for before, now in catalog.mended.items() if str(before).startswith(text)}
        found = [one for one in catalog.entries if one.id in standing]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"snapshot {text}: there is none", hint="`vaultpy snapshot list` shows what there is")
    shown = ", ".join([*(str(one.id) for one in found[:SHOWN]), *(["…"] if len(found) > SHOWN else [])])
    raise UsageError(f"snapshot {text}: {len(found)} snapshots begin like that ({shown})", hint="give more of the id")


def _at_time(entries: Sequence[Entry], time: str, text: str) -> Entry:
    """The newest snapshot that began at or before a time; a time that names a day, hour or minute means its end."""
    limit = _end_of(time, text)
    found = [one for one in entries if one.started < limit]
    if not found:
        raise UsageError(f"snapshot {text}: {describe_source(entries[0])} has none that old")
    return max(found, key=lambda entry: (entry.seq, entry.id))


_FORMS = (
    ("%Y-%m-%d", datetime.timedelta(days=1)),
    ("%Y-%m-%dT%H", datetime.timedelta(hours=1)),
    ("%Y-%m-%dT%H:%M", datetime.timedelta(minutes=1)),
    ("%Y-%m-%dT%H:%M:%S", datetime.timedelta(seconds=1)),
)


def _end_of(time: str, text: str) -> int:
    """A time's end in nanoseconds; local time unless it ends with Z."""
    zone = datetime.UTC if time.endswith("Z") else None
    for form, length in _FORMS:
        try:
            begin = datetime.datetime.strptime(time.removesuffix("Z").replace(" ", "T"), form)
        except ValueError:
            continue
        moment = (begin.replace(tzinfo=zone) if zone else begin.astimezone()) + length
        return round(moment.timestamp()) * 1_000_000_000
    raise UsageError(
        f"snapshot {text}: {time!r} is not a time", hint="for example home@2024-05-01 or home@2024-05-01T12:30"
    )
