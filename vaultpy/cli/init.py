"""`vaultpy init`: from nothing to a configuration, a state folder, a store and its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import DURATION, FILE, signer_option
from vaultpy.cli.text import counted
from vaultpy.errors import UsageError
from vaultpy.units import Duration

if TYPE_CHECKING:
    from vaultpy.ops.init import Initialised


@command(
    "init",
    kept="the configuration is written last: where there is none, run it again",
    reads_store=True,
    example="""\
vaultpy init --store file:///mnt/disk/vault --new-identity ~/vaultpy-identity.txt
vaultpy init --store 's3://backups/laptop?region=eu-central-1' --recipient age1…""",
    document="""\
An object with `config`, `store`, `store_id`, `state`, `joined` (the store was there), `key` (the store key's id, null on a
keeper), `signer` and `identity` (the file that was made, or null).""",
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
    from vaultpy.ops.init import DEFAULT_GRACE, InitRequest
    from vaultpy.ops.init import init as operate

    request = InitRequest(
        url=run.store,
        recipients=recipients,
        new_identity=new_identity,
        keeper=keeper,
        signers=signers,
        grace=grace.seconds if grace else DEFAULT_GRACE,
    )
    made = operate(request, run.config_file, run.environment)
    for warning in made.warnings:
        run.output.warn(warning)
    run.output.done(_document(made), *_lines(made))
    return None


def _document(made: Initialised) -> dict[str, object]:
    config = made.config
    return {
        "config": config.path,
        "store": config.store,
        "store_id": config.store_id,
        "state": config.state,
        "joined": made.joined,
        "key": config.key.id if config.key else None,
        "signer": made.signer,
        "identity": made.identity,
    }


def _lines(made: Initialised) -> Iterator[str]:
    config = made.config
    yield f"{'joined' if made.joined else 'made'} store {config.store} ({config.store_id})"
    yield f"configuration: {config.path}"
    if made.signer is None:
        yield f"keeper of {counted(len(config.signers), 'signer')}; state: {config.state}"
        return
    copy = f"a copy of the keys: {made.host_copy}" if made.host_copy else "no copy of the keys could be written"
    yield f"state: {config.state} (index, lock, keys of this host; {copy})"
    yield f"this host signs with {made.signer}"
    yield "keep safe, and away from this machine:"
    if made.identity is not None:
        yield f"  {made.identity}: without it nothing can ever be restored"
    else:
        yield "  the identities of the recipients: without one of them nothing can ever be restored"
    yield "  the line `this host signs with` above: it proves at a restore that the snapshots are this host's"
