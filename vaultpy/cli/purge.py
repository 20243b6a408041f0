"""`vaultpy snapshot purge` and `remove`: which snapshots go.  What only they needed goes with `store prune`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import (
    DURATION,
    TAG,
    dry_run_option,
    force_option,
    identity_option,
    not_built,
    signer_option,
    snapshots_argument,
    source_option,
)
from vaultpy.errors import UsageError

_PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")


def _keep_options(function: Callable[..., Any]) -> Callable[..., Any]:
    count = click.IntRange(min=1)
    options = [
        click.option("--keep-latest", is_flag=True, help="Keep the newest one."),
        click.option("--keep-last", metavar="N", type=count, help="Keep the newest N."),
        *(
            click.option(
                f"--keep-{period}", metavar="N", type=count, help=f"Keep the newest of each of the last N {name}."
            )
            for period, name in zip(_PERIODS, ("hours", "days", "weeks", "months", "years"), strict=True)
        ),
        click.option("--keep-within", metavar="D", type=DURATION, help="Keep all that are younger than D."),
        click.option("--older-than", metavar="D", type=DURATION, help="Remove only what is older than D."),
        click.option(
            "--keep-tag", "keep_tags", metavar="T", type=TAG, multiple=True, help="Keep tagged ones. Repeatable."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@command(
    "purge",
    reads_store=True,
    example="""\
vaultpy snapshot purge --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
vaultpy snapshot purge --older-than 1y --source home""",
)
@_keep_options
@source_option
@dry_run_option
@force_option
@identity_option
@signer_option
def purge(
    run: Run,
    source: str | None,
    dry_run: bool,
    force: bool,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
    **rules: Any,
) -> int | None:
    """Remove the snapshots that no rule keeps, source by source, and say why each stays or goes.

    Durations are written 36h, 30d, 8w, 6mo or 1y. The newest snapshot of a source is always kept, and where more than
    half would go, nothing does without --force. The space comes back with `vaultpy store prune`.
    """
    if not any(rules.values()):
        raise UsageError("snapshot purge: no rule was given", hint="for example --keep-daily 7, or --older-than 1y")
    raise not_built("snapshot purge")


@command("remove", reads_store=True, example="vaultpy snapshot remove 0192e4a1 --dry-run")
@snapshots_argument
@source_option
@dry_run_option
@force_option
@identity_option
@signer_option
def remove(
    run: Run,
    snapshots: tuple[str, ...],
    source: str | None,
    dry_run: bool,
    force: bool,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
) -> int | None:
    """Remove each SNAPSHOT. The space comes back with `vaultpy store prune`."""
    if not snapshots:
        raise UsageError("snapshot remove: no SNAPSHOT was named", hint="`vaultpy snapshot list` shows them")
    raise not_built("snapshot remove")
