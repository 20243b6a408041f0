"""`vaultpy index rebuild`."""

from __future__ import annotations

from pathlib import Path

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import DURATION, ask_passphrase, identity_option, limit_download_option
from vaultpy.cli.text import counted
from vaultpy.units import Duration


@command(
    "rebuild",
    kept="the index is as it was",
    example="vaultpy index rebuild",
    document="An object with `index` (the file), `snapshots` (a number) and `unreadable` (objects with `snapshot` and `why`).",
)
@click.option("--wait", metavar="D", type=DURATION, help="Wait that long for another run to end.")
@identity_option
@limit_download_option
def rebuild(run: Run, wait: Duration | None, identities: tuple[Path, ...]) -> int | None:
    """Make the index anew from the store.

    The host's own index key opens its exports; --identity does where that key is lost, too.
    """
    from vaultpy.lock import hold_lock
    from vaultpy.ops.reading.reader import file_identities
    from vaultpy.ops.rebuild import rebuild_index

    vault = run.open_vault(run.config())
    extra = file_identities(vault, identities, ask_passphrase, run.output.tell)
    with (
        hold_lock(vault.paths.lock, "index rebuild", clock=vault.clock, wait_seconds=wait.seconds if wait else 0),
        run.output.following() as on_event,
    ):
        rebuilt = rebuild_index(vault, extra, on_event)
    for snapshot, why in rebuilt.unreadable:
        run.output.warn(f"snapshot {snapshot}: {why}")
    document = {
        "index": vault.paths.index,
        "snapshots": rebuilt.snapshots,
        "unreadable": [{"snapshot": snapshot, "why": why} for snapshot, why in rebuilt.unreadable],
    }
    run.output.done(document, f"{vault.paths.index}: {counted(rebuilt.snapshots, 'snapshot')}")
    return 4 if rebuilt.unreadable else None
