"""Option types, and the options that several commands share."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vaultpy.cli.frame import NamedPath, remember
from vaultpy.errors import UsageError

NO_LIMIT = 0
"""What --limit-upload and --limit-download make of `none`."""

MOST_PARTS = 100_000
"""Parts of which one can be asked for."""


class Checked(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """A type whose values a function of ours reads from text; its UsageError becomes click's, with the hint."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except UsageError as error:
            self.fail(f"{error.message}{f' ({error.hint})' if error.hint else ''}", param, ctx)


def _duration(text: str) -> Any:
    from vaultpy.units import parse_duration

    return parse_duration(text)


def _source_name(text: str) -> str:
    from vaultpy.config import check_source_name

    return check_source_name(text)


def _source_path(text: str) -> bytes:
    import os

    from vaultpy.config import check_source_path

    return check_source_path(os.path.abspath(text) if text else text)


def _tag(text: str) -> str:
    from vaultpy.config import check_tag

    return check_tag(text)


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a UUID") from None


def _rate(text: str) -> int:
    from vaultpy.config import check_rate

    return NO_LIMIT if text == "none" else check_rate(text)


def _share(text: str) -> int:
    one, _, parts = text.partition("/")
    if one != "1" or not parts.isascii() or not parts.isdecimal() or not 1 <= int(parts) <= MOST_PARTS:
        raise UsageError(f"{text!r} is not a share", hint="write it as 1/30")
    return int(parts)


DURATION = Checked("duration", _duration)
RATE = Checked("rate", _rate)
SHARE = Checked("share", _share)
SOURCE_NAME = Checked("name", _source_name)
SOURCE_PATH = Checked("path", _source_path)
TAG = Checked("tag", _tag)
UUID = Checked("uuid", _uuid)
FILE = NamedPath(path_type=Path)
RAW_PATH = NamedPath(path_type=bytes)

identity_option = click.option(
    "--identity",
    "identities",
    metavar="FILE",
    type=FILE,
    multiple=True,
    envvar="VAULTPY_IDENTITY",
    help="An age identity file that opens the store key (else VAULTPY_IDENTITY). Repeatable.",
)
signer_option = click.option(
    "--signer",
    "signers",
    metavar="KEY",
    multiple=True,
    help="Believe this host: its ssh-ed25519 key or SHA256:… fingerprint, or `any`. Repeatable.",
)
source_option = click.option("--source", metavar="NAME", help="Only snapshots of this source (or HOST:NAME).")
snapshot_argument = click.argument("snapshot")
snapshots_argument = click.argument("snapshots", metavar="[SNAPSHOT]...", nargs=-1)
limit_upload_option = click.option(
    "--limit-upload",
    "upload_limit",
    metavar="RATE",
    type=RATE,
    expose_value=False,
    callback=remember,
    help="Send no more than that a second (2MiB; none: no limit), whatever the configuration says.",
)
limit_download_option = click.option(
    "--limit-download",
    "download_limit",
    metavar="RATE",
    type=RATE,
    expose_value=False,
    callback=remember,
    help="Receive no more than that a second (2MiB; none: no limit), whatever the configuration says.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
force_option = click.option("--force", is_flag=True, help="Go on where the plan removes more than half.")


def ask_passphrase() -> str:
    """Ask at the terminal for the passphrase of an identity file; without a terminal that is an error, not a wait."""
    import sys

    if not sys.stdin.isatty():
        raise UsageError("the identity file has a passphrase, and there is no terminal to ask for it")
    return str(click.prompt("passphrase of the identity file", hide_input=True, err=True))
