"""Names, ids, times and numbers as text: safe on a terminal, or exact in JSON."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

LEAST_PREFIX = 8
"""Letters of an id that a list shows at least; more where they would not tell it from another."""

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NANOSECONDS = 1_000_000_000


def printable(name: bytes | str) -> str:
    """`name` so that no byte of it can steer a terminal, nor turn the reading direction, nor begin a new line.

    Control characters and bytes that are not UTF-8 become `\\xNN`, other unsafe characters `\\uNNNN`.  A str may hold
    surrogates as `os.fsdecode` makes them.
    """
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def counted(number: int, what: str) -> str:
    """`1 blob`, `2 blobs`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shorten(ids: Iterable[UUID]) -> dict[UUID, str]:
    """The beginning of each id, as long for all of them as it takes to tell them apart, and LEAST_PREFIX at least."""
    texts = {one: str(one) for one in ids}
    length = LEAST_PREFIX
    while length < 36 and len({text[:length] for text in texts.values()}) < len(texts):
        length += 1
    return {one: text[:length].rstrip("-") for one, text in texts.items()}


def json_bytes(name: bytes) -> str | dict[str, str]:
    """`name` for a JSON document, exactly: a string where it is UTF-8, else `{"base64": …}`."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(name).decode("ascii")}


def json_time(moment: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC with all nine digits; `@SECONDS.NANOSECONDS` outside the years 1 to 9999."""
    seconds, rest = divmod(moment, _NANOSECONDS)
    try:
        whole = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"@{seconds}.{rest:09}"
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{rest:09}Z".rjust(30, "0")


def format_time(moment: int) -> str:
    """Nanoseconds since 1970 as local time to the second, for people; `@SECONDS` where the calendar ends."""
    seconds = moment // _NANOSECONDS
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ")
    except (ValueError, OverflowError, OSError):
        return f"@{seconds}"
