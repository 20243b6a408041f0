"""`vaultpy key list`, `add-recipient`, `new` and `test`."""

from __future__ import annotations

from pathlib import Path

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import FILE, identity_option
from vaultpy.cli.output import Table
from vaultpy.cli.reading import open_for
from vaultpy.errors import UsageError


@command(
    "list",
    reads_store=True,
    example="vaultpy key list",
    document="A list of objects: `id`, `recipients` (a number), `in_use` (whether this host encrypts to it).",
)
def list_keys(run: Run) -> int | None:
    """List the store's keys, how many recipients each has, and which one this host uses."""
    from vaultpy.ops.keys import list_keys as operate

    with open_for(run) as reader:
        found = operate(reader)
    document = [{"id": one.id, "recipients": one.recipients, "in_use": one.in_use} for one in found]
    rows = [(str(one.id), str(one.recipients), "this host's" if one.in_use else "") for one in found]
    run.output.show(document, Table(("key", "recipients", ""), rows, frozenset({"recipients"})))
    return None


@command(
    "add-recipient",
    reads_store=True,
    example="vaultpy key add-recipient age1… --identity key.txt",
    document="An object with `key` and `recipient`.",
)
@click.argument("recipient")
@identity_option
def add_recipient(run: Run, recipient: str, identities: tuple[Path, ...]) -> int | None:
    """Let RECIPIENT restore, too: the past and the future of this host's store key. Touches no data."""
    from vaultpy.ops.keys import add_recipient as operate

    with open_for(run, identities) as reader:
        key_id = operate(reader, recipient)
    run.output.done({"key": key_id, "recipient": recipient}, f"key {key_id}: can be opened by {recipient}, too")
    return None


@command(
    "new",
    example="vaultpy key new --recipient age1…",
    document="An object with `key` (its id) and `recipient` (its public half).",
)
@click.option("--recipient", "recipients", metavar="R", multiple=True, help="Who can restore from now on. Repeatable.")
@click.option("--new-identity", metavar="FILE", type=FILE, help="Make an age identity, and write it to FILE.")
def new(run: Run, recipients: tuple[str, ...], new_identity: Path | None) -> int | None:
    """Make a new store key for the snapshots to come.

    Nothing older is reused, so the next snapshot uploads everything again. Whoever could open the old key can still open
    what was stored under it.
    """
    if not recipients and not new_identity:
        raise UsageError("key new: nobody could restore", hint="name who can by --recipient R or --new-identity FILE")
    from vaultpy.ops.keys import new_key

    made = new_key(run.open_vault(run.config()), recipients, new_identity)
    run.output.done(
        {"key": made.id, "recipient": made.recipient},
        f"key {made.id}: from the next snapshot on, which uploads everything again",
        "what is stored already can still be opened by whoever could open it before",
    )
    return None


@command(
    "test",
    reads_store=True,
    example="vaultpy key test --identity key.txt",
    document="A list of objects: `id`, `opened`, `why` (null where it opened).",
)
@identity_option
def test(run: Run, identities: tuple[Path, ...]) -> int | None:
    """Try which of the store's keys an identity opens. Exit code 12: none."""
    from vaultpy.ops.keys import try_keys

    with open_for(run, identities) as reader:
        tried = try_keys(reader)
    document = [{"id": one.id, "opened": one.opened, "why": one.why} for one in tried]
    rows = [(str(one.id), "opened" if one.opened else f"not opened: {one.why}") for one in tried]
    run.output.show(document, Table(("key", "result"), rows))
    return None if any(one.opened for one in tried) else 12
