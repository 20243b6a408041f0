"""`vaultpy snapshot restore`."""

from __future__ import annotations

from pathlib import Path

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import (
    RAW_PATH,
    identity_option,
    not_built,
    signer_option,
    snapshot_argument,
    source_option,
)


@command(
    "restore",
    reads_store=True,
    example="""\
vaultpy snapshot restore latest /tmp/back --identity key.txt
vaultpy snapshot restore home@2024-05-01 /tmp/back '/home/ada/*.txt' --identity key.txt
vaultpy snapshot restore latest / --store s3://backups/laptop --identity key.txt""",
)
@snapshot_argument
@click.argument("target", type=RAW_PATH)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=RAW_PATH)
@source_option
@identity_option
@signer_option
def restore(
    run: Run,
    snapshot: str,
    target: bytes,
    paths: tuple[bytes, ...],
    source: str | None,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
) -> int | None:
    """Write the files of SNAPSHOT below TARGET, all or those that PATHs name.

    A file lies at TARGET/its absolute path afterwards; TARGET `/` is in place. PATH is an original absolute path (a
    folder stands for all below it), or a glob. Needs no configuration and no index where --store is given. Exit code 4:
    something could not be brought back.
    """
    raise not_built("snapshot restore")
