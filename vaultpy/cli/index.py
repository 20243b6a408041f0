"""`vaultpy index rebuild`."""

from __future__ import annotations

from pathlib import Path

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import identity_option, not_built, signer_option


@command("rebuild", reads_store=True, example="vaultpy index rebuild")
@identity_option
@signer_option
def rebuild(run: Run, identities: tuple[Path, ...], signers: tuple[str, ...]) -> int | None:
    """Make the index anew from the store.

    The host's own index key opens its exports; --identity does where that key is lost, too.
    """
    raise not_built("index rebuild")
