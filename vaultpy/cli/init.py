"""`vaultpy init`: from nothing to a configuration, a state folder, a store and its key."""

from __future__ import annotations

from pathlib import Path

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import DURATION, FILE, not_built, signer_option
from vaultpy.errors import UsageError
from vaultpy.units import Duration


@command(
    "init",
    reads_store=True,
    example="""\
vaultpy init --store file:///mnt/disk/vault --new-identity ~/vaultpy-identity.txt
vaultpy init --store 's3://backups/laptop?region=eu-central-1' --recipient age1…""",
)
@click.option(
    "--recipient",
    "recipients",
    metavar="R",
    multiple=True,
    help="Who can restore: age1…, ssh-ed25519 …, ssh-rsa …, or a plugin's. Repeatable.",
)
@click.option(
    "--new-identity", metavar="FILE", type=FILE, help="Make an age identity that can restore, and write it to FILE."
)
@click.option("--keeper", is_flag=True, help="For a machine that lists, purges and prunes: no store key.")
@signer_option
@click.option("--grace", metavar="D", type=DURATION, help="How long a new store's prunes wait at least. [default: 24h]")
def init(
    run: Run,
    recipients: tuple[str, ...],
    new_identity: Path | None,
    keeper: bool,
    signers: tuple[str, ...],
    grace: Duration | None,
) -> int | None:
    """Set this host up: its configuration, index and keys, and the store.

    A store that is there is joined; a configuration that is there is refused. Says at the end what to keep safe, and
    where.
    """
    if not run.store:
        raise UsageError("init: --store is missing", hint="name a place: --store file:///absolute/path")
    if keeper and (recipients or new_identity):
        raise UsageError("init: --keeper goes without --recipient and --new-identity", hint="a keeper has no store key")
    if not keeper and not recipients and not new_identity:
        raise UsageError(
            "init: nobody could restore",
            hint="name who can by --recipient R, or make an identity by --new-identity FILE",
        )
    raise not_built("init")
