"""`vaultpy snapshot list`, `ls` and `show`: looking, changing nothing."""

from __future__ import annotations

from pathlib import Path

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import (
    DURATION,
    RAW_PATH,
    identity_option,
    not_built,
    signer_option,
    snapshot_argument,
    source_option,
)
from vaultpy.units import Duration


@command(
    "list",
    reads_store=True,
    example="""\
vaultpy snapshot list
vaultpy snapshot list --max-age 26h --quiet
vaultpy snapshot list --store s3://backups/laptop --identity key.txt""",
    document="""\
A list of objects, oldest first: `id`, `host`, `source`, `started`, `completed`, `state`, `tags`, `files`, `bytes`,
`new_bytes`, `stored_bytes`, `problems` (a number). What cannot be told without an index or an identity is null.""",
)
@source_option
@click.option("--max-age", metavar="D", type=DURATION, help="Exit 1 when a source has nothing newer than this.")
@identity_option
@signer_option
def list_snapshots(
    run: Run, source: str | None, max_age: Duration | None, identities: tuple[Path, ...], signers: tuple[str, ...]
) -> int | None:
    """List the snapshots in the store, oldest first.

    Without an index or an identity, names and tags cannot be told, and signatures are not checked: the list says so.
    """
    raise not_built("snapshot list")


@command(
    "ls",
    reads_store=True,
    example="""\
vaultpy snapshot ls latest /home/ada
vaultpy snapshot ls home@2024-05-01 --json""",
)
@snapshot_argument
@click.argument("path", required=False, type=RAW_PATH)
@source_option
@identity_option
@signer_option
def list_files(
    run: Run,
    snapshot: str,
    path: bytes | None,
    source: str | None,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
) -> int | None:
    """List the files of SNAPSHOT, all or those below PATH (absolute, or a glob).

    SNAPSHOT is the beginning of an id, `latest`, or SOURCE@TIME.
    """
    raise not_built("snapshot ls")


@command("show", reads_store=True, example="vaultpy snapshot show latest --source home")
@snapshot_argument
@source_option
@identity_option
@signer_option
def show(
    run: Run, snapshot: str, source: str | None, identities: tuple[Path, ...], signers: tuple[str, ...]
) -> int | None:
    """Show what a snapshot is: times, counts, sizes, problems, and what it stands on."""
    raise not_built("snapshot show")
