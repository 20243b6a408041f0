"""`vaultpy snapshot restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import (
    RAW_PATH,
    ask_passphrase,
    identity_option,
    signer_option,
    snapshot_argument,
    source_option,
)
from vaultpy.cli.text import json_bytes, printable
from vaultpy.units import format_size

if TYPE_CHECKING:
    from vaultpy.ops.restore import Restored

FAILURES_SHOWN = 100


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
@click.option("--privileged", is_flag=True, help="Give setuid, setgid, capabilities and devices back, too (as root).")
@identity_option
@signer_option
def restore(
    run: Run,
    snapshot: str,
    target: bytes,
    paths: tuple[bytes, ...],
    source: str | None,
    privileged: bool,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
) -> int | None:
    """Write the files of SNAPSHOT below TARGET, all or those that PATHs name.

    A file lies at TARGET/its absolute path afterwards; TARGET `/` is in place. PATH is an original absolute path (a
    folder stands for all below it), or a glob. Needs no configuration and no index where --store is given. Exit code 4:
    something could not be brought back.
    """
    from vaultpy.ops.catalog import read_catalog
    from vaultpy.ops.reader import open_reader
    from vaultpy.ops.resolve import resolve_snapshot
    from vaultpy.ops.restore import RestoreOptions
    from vaultpy.ops.restore import restore as operate
    from vaultpy.source.apply import ApplyOptions

    with open_reader(
        run.config_or_store(),
        identity_files=identities,
        signers=signers,
        ask_passphrase=ask_passphrase,
        tell=run.output.tell,
    ) as reader:
        entry = resolve_snapshot(read_catalog(reader), snapshot, source)
        with run.output.following() as on_event:
            back = operate(reader, entry, target, RestoreOptions(paths, ApplyOptions(privileges=privileged)), on_event)
    for path, why in back.failed[:FAILURES_SHOWN]:
        run.output.warn(f"{printable(path)}: {why}")
    if len(back.failed) > FAILURES_SHOWN:
        run.output.warn(f"and {len(back.failed) - FAILURES_SHOWN} more")
    for kind, count in sorted(back.missed.items()):
        hint = " (as root, --privileged does)" if kind == "privilege" and not privileged else ""
        run.output.warn(f"{kind}: could not be given back to {count} files here{hint}")
    run.output.done(_document(back), f"{back.files} files, {format_size(back.bytes)} from {back.snapshot}")
    return 4 if back.failed else None


def _document(back: Restored) -> dict[str, object]:
    return {
        "snapshot": back.snapshot,
        "files": back.files,
        "bytes": back.bytes,
        "failed": [{"path": json_bytes(path), "why": why} for path, why in back.failed],
        "missed": back.missed,
    }
