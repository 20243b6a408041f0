"""The single values of a configuration: text in, checked value out.  The command line uses the same checks.

Each raises UsageError for a text that is no such value.
"""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import get_args

from vaultpy.config.values import Compare, Sqlite
from vaultpy.errors import UsageError
from vaultpy.units import parse_duration, parse_size

LEAST_RATE = 16 * 1024
"""Bytes a second: slower, and servers end a connection on which nothing seems to move."""

LONGEST_TIMEOUT = 7 * 86_400

_SOURCE_NAME = re.compile(r"\w[\w.+-]{0,63}")


def check_source_name(name: str) -> str:
    """`name`, when it can stand in `SOURCE@TIME` and in a table's header.  Raises UsageError."""
    if not _SOURCE_NAME.fullmatch(name) or name == "latest":
        raise UsageError(
            f"source name {name!r}: not a name", hint="1 to 64 letters, digits, `_`, `-`, `.`, `+`; `latest` is taken"
        )
    return name


def check_source_path(text: str) -> bytes:
    """A source's path as bytes, without doubled or trailing slashes.  Raises UsageError unless absolute and plain."""
    parts = [part for part in text.split("/") if part]
    if not text.startswith("/") or "\0" in text or {".", ".."} & set(parts):
        raise UsageError(f"path {text!r}: not an absolute path", hint="write it from `/` on, without `.` and `..`")
    return os.fsencode("/" + "/".join(parts))


def check_tag(text: str) -> str:
    """A tag as it is.  Raises UsageError for one that is empty or has a comma, a space or a control character."""
    if not text or "," in text or not text.isprintable() or " " in text:
        raise UsageError(f"tag {text!r}: not a tag", hint="write visible characters, no spaces and no commas")
    return text


def check_store_url(text: str) -> str:
    """Has the form of a URL; which schemes there are is known to the stores."""
    if not re.fullmatch(r"[a-z][a-z0-9]*://.+", text):
        raise UsageError(f"{text!r} is not a store's URL", hint="write file:///absolute/path or s3://bucket/prefix")
    return text


def check_state(text: str) -> Path:
    """An absolute path."""
    if not os.path.isabs(text) or "\0" in text:
        raise UsageError(f"{text!r} is not an absolute path")
    return Path(text)


def check_uuid(text: str) -> uuid.UUID:
    """A UUID in its usual form of 36 characters."""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != text.lower():
        raise UsageError(f"{text!r} is not a UUID")
    return parsed


def check_recipient(text: str) -> str:
    """The form of a store key's public half; whether it is a key, `keys` finds when it uses it."""
    if not re.fullmatch(r"age1[0-9a-z]{20,}", text):
        raise UsageError(f"{text!r} is not an age recipient", hint="it begins with `age1`, as `init` wrote it")
    return text


def check_signer(text: str) -> str:
    """A host's signing key, OpenSSH's `ssh-ed25519 AAAA…` with or without a comment, or its fingerprint `SHA256:…`."""
    from vaultpy.signature import check_pin  # cryptography takes its time, and --help need not wait for it

    check_pin(text)
    return text  # with its comment, which says to people whose it is


def check_compare(text: str) -> Compare:
    """One of the ways to tell a changed file."""
    choices: tuple[Compare, ...] = get_args(Compare)
    for choice in choices:
        if text == choice:
            return choice
    raise UsageError(f"{text!r} is not one of {', '.join(choices)}")


def check_sqlite(text: str) -> Sqlite:
    """One of the ways to take a database in use."""
    choices: tuple[Sqlite, ...] = get_args(Sqlite)
    for choice in choices:
        if text == choice:
            return choice
    raise UsageError(f"{text!r} is not one of {', '.join(choices)}")


def check_file_name(text: str) -> str:
    """A name that a file can have, and that is safe to show."""
    if not text.isprintable() or "/" in text or text in ("", ".", "..") or len(os.fsencode(text)) > 200:
        raise UsageError(f"{text!r} is not a file's name", hint="write a name without a slash")
    return text


def check_timeout(text: str) -> int:
    """A length of time of a week at most, in seconds."""
    duration = parse_duration(text)
    if duration.months or not 0 < duration.seconds <= LONGEST_TIMEOUT:
        raise UsageError(f"{text!r} is not from 1s to 7d", hint="write it as 30s, 10min, 6h or 2d")
    return duration.seconds


def check_rate(text: str) -> int:
    """A number of bytes a second."""
    rate = parse_size(text.strip().removesuffix("/s"))
    if rate < LEAST_RATE:
        raise UsageError(f"{text!r} is less than 16KiB a second", hint="write bytes a second as 500KiB or 2MiB")
    return rate


def check_run(words: tuple[str, ...]) -> tuple[str, ...]:
    """A program and its arguments."""
    if not words or not words[0] or any("\0" in word for word in words):
        raise UsageError("names no program", hint='write the program and its arguments: run = ["pg_dump", "shop"]')
    return words
