"""`vaultpy snapshot verify`."""

from __future__ import annotations

from pathlib import Path

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import identity_option, not_built, signer_option, snapshots_argument, source_option
from vaultpy.errors import UsageError


@command(
    "verify",
    reads_store=True,
    example="""\
vaultpy snapshot verify
vaultpy snapshot verify --all --blobs
vaultpy snapshot verify latest --deep --identity key.txt""",
)
@snapshots_argument
@click.option("--all", "every", is_flag=True, help="Verify every snapshot.")
@click.option("--blobs", is_flag=True, help="Fetch and hash every object, too. Needs no key.")
@click.option("--deep", is_flag=True, help="Open every object and check every chunk and file, too. Needs an identity.")
@source_option
@identity_option
@signer_option
def verify(
    run: Run,
    snapshots: tuple[str, ...],
    every: bool,
    blobs: bool,
    deep: bool,
    source: str | None,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
) -> int | None:
    """Check that each SNAPSHOT is there and whole; without one, the newest of each source.

    By default: the manifest's signature, and that every object it names is there with the right size (one listing).
    Damage found is exit code 4.
    """
    if every and snapshots:
        raise UsageError("snapshot verify: SNAPSHOT and --all were both given", hint="leave one out")
    raise not_built("snapshot verify")
