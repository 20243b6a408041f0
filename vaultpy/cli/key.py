"""`vaultpy key list`, `add-recipient`, `new` and `test`."""

from __future__ import annotations

from pathlib import Path

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import FILE, identity_option, not_built
from vaultpy.errors import UsageError


@command("list", reads_store=True, example="vaultpy key list")
def list_keys(run: Run) -> int | None:
    """List the store's keys, how many recipients each has, and which one this host uses."""
    raise not_built("key list")


@command("add-recipient", reads_store=True, example="vaultpy key add-recipient age1… --identity key.txt")
@click.argument("recipient")
@identity_option
def add_recipient(run: Run, recipient: str, identities: tuple[Path, ...]) -> int | None:
    """Let RECIPIENT restore, too: the past and the future of this host's store key. Touches no data."""
    raise not_built("key add-recipient")


@command("new", example="vaultpy key new --recipient age1…")
@click.option("--recipient", "recipients", metavar="R", multiple=True, help="Who can restore from now on. Repeatable.")
@click.option("--new-identity", metavar="FILE", type=FILE, help="Make an age identity, and write it to FILE.")
def new(run: Run, recipients: tuple[str, ...], new_identity: Path | None) -> int | None:
    """Make a new store key for the snapshots to come.

    Nothing older is reused, so the next snapshot uploads everything again. Whoever could open the old key can still open
    what was stored under it.
    """
    if not recipients and not new_identity:
        raise UsageError("key new: nobody could restore", hint="name who can by --recipient R or --new-identity FILE")
    raise not_built("key new")


@command("test", reads_store=True, example="vaultpy key test --identity key.txt")
@identity_option
def test(run: Run, identities: tuple[Path, ...]) -> int | None:
    """Try which of the store's keys an identity opens. Exit code 12: none."""
    raise not_built("key test")
