"""`vaultpy store info` and `prune`."""

from __future__ import annotations

import uuid

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import DURATION, UUID, dry_run_option, not_built, signer_option
from vaultpy.units import Duration


@command("info", reads_store=True, example="vaultpy store info --store s3://backups/laptop --json")
def info(run: Run) -> int | None:
    """Show the store: its id and settings, whether it answers, its objects and their bytes. No secrets."""
    raise not_built("store info")


@command(
    "prune",
    reads_store=True,
    example="""\
vaultpy store prune --dry-run
vaultpy store prune""",
)
@click.option("--grace", metavar="D", type=DURATION, help="Wait longer than the store asks before deleting.")
@click.option("--trust", metavar="UUID", type=UUID, multiple=True, help="Go on although this manifest is unknown.")
@click.option("--retire", metavar="UUID", type=UUID, multiple=True, help="Give this manifest up as lost.")
@dry_run_option
@signer_option
def prune(
    run: Run,
    grace: Duration | None,
    trust: tuple[uuid.UUID, ...],
    retire: tuple[uuid.UUID, ...],
    dry_run: bool,
    signers: tuple[str, ...],
) -> int | None:
    """Delete the objects that no snapshot needs.

    In two steps: a run records what it means to delete, and one at least a grace later (24 h, or what the store asks)
    deletes what still nobody needs. Snapshots may be made meanwhile. Run it daily.
    """
    raise not_built("store prune")
