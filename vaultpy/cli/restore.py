"""`vaultpy snapshot restore`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaultpy.cli.frame import NamedPath, Run, command
from vaultpy.cli.options import (
    RAW_PATH,
    identity_option,
    limit_download_option,
    signer_option,
    snapshot_argument,
    source_option,
)
from vaultpy.cli.reading import open_snapshot
from vaultpy.cli.text import json_bytes, printable
from vaultpy.units import format_size

if TYPE_CHECKING:
    from vaultpy.ops.restoring.restore import Restored, RestoreOptions

SHOWN = 100
"""Paths of each kind that are named; --json names all."""

_PLANNED = (
    ("create", "to make"),
    ("replace", "to replace"),
    ("mend", "to get other metadata"),
    ("keep", "right as they are"),
    ("leave", "to be left alone"),
)
_HINTS = {"privilege": " (as root, --privileged does)"}


@command(
    "restore",
    kept="what was restored so far is whole; for the rest run it again",
    reads_store=True,
    example="""\
vaultpy snapshot restore latest /tmp/back --identity key.txt
vaultpy snapshot restore home@2024-05-01 /tmp/back '/home/ada/*.txt' --identity key.txt
vaultpy snapshot restore latest / /home/ada/work --delete --dry-run
vaultpy snapshot restore latest --to-tar ada.tar /home/ada
vaultpy snapshot restore latest / --store s3://backups/laptop --identity key.txt""",
    document="""\
An object: `snapshot`, `files` and `bytes` written, `failed` (objects of `path` and `why`), `missed` (metadata that the target
did not take: kind to count), `fates` (what was, or with --dry-run would be, done with paths where something was: `create`,
`replace`, `mend`, `keep`, `leave` to count), `deleted` (paths) and `dry_run`.""",
)
@snapshot_argument
@click.argument("target", type=RAW_PATH, required=False)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=RAW_PATH)
@source_option
@click.option(
    "--overwrite",
    type=click.Choice(["always", "if-changed", "if-newer", "never"]),
    default="if-changed",
    show_default=True,
    help="What to do with a file that is there: `if-changed` believes size and time, `always` reads it.",
)
@click.option("--delete", is_flag=True, help="Remove from restored folders what the snapshot does not have.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--verify", is_flag=True, help="Read everything back afterwards.")
@click.option(
    "--owner",
    type=click.Choice(["name", "number", "none"]),
    default="name",
    show_default=True,
    help="Whose the files shall be: who has the owner's name here, the number, or ours.",
)
@click.option(
    "--xattr", "include", metavar="PATTERN", multiple=True, help="Only extended attributes named so; repeatable."
)
@click.option("--no-xattr", "exclude", metavar="PATTERN", multiple=True, help="None that are named so; repeatable.")
@click.option("--sparse", is_flag=True, help="Make holes of blocks of zeros.")
@click.option(
    "--to-tar",
    metavar="FILE",
    type=NamedPath(),
    help="Write a tar archive instead (`-`: standard output); no TARGET then.",
)
@click.option("--privileged", is_flag=True, help="Give setuid, setgid, capabilities and devices back, too (as root).")
@identity_option
@signer_option
@limit_download_option
def restore(
    run: Run,
    snapshot: str,
    target: bytes | None,
    paths: tuple[bytes, ...],
    source: str | None,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
    dry_run: bool,
    to_tar: str | None,
    **how: Any,
) -> int | None:
    """Write the files of SNAPSHOT below TARGET, all or those that PATHs name.

    A file lies at TARGET/its absolute path afterwards; TARGET `/` is in place. PATH is an original absolute path (a
    folder stands for all below it), or a glob. What is right already is not fetched, so a restore that was interrupted is
    simply run again. Needs no configuration and no index where --store is given. Exit code 4: something could not be
    brought back.
    """
    from vaultpy.ops.restoring.restore import restore as operate

    if to_tar is not None:
        from vaultpy.cli.stream import to_tar as stream

        named = paths if target is None else (target, *paths)
        return stream(run, to_tar, named, (snapshot, source), (identities, signers))
    if target is None:
        raise click.UsageError("Missing argument 'TARGET'.")
    options = _options(paths, dry_run, how)
    with (
        open_snapshot(run, snapshot, source, identities, signers) as (reader, entry),
        run.output.following() as on_event,
    ):
        back = operate(reader, entry, target, options, on_event)
    _show(run, back, dry_run, privileged=how["privileged"])
    return 4 if back.failed else None


def _options(paths: tuple[bytes, ...], dry_run: bool, how: dict[str, Any]) -> RestoreOptions:
    from vaultpy.ops.restoring.present import Overwrite
    from vaultpy.ops.restoring.restore import RestoreOptions
    from vaultpy.source.apply import ApplyOptions, OwnerPolicy

    apply = ApplyOptions(
        OwnerPolicy(how["owner"]),
        privileges=how["privileged"],
        include=tuple(map(os.fsencode, how["include"])),
        exclude=tuple(map(os.fsencode, how["exclude"])),
        sparse=how["sparse"],
    )
    return RestoreOptions(paths, apply, Overwrite(how["overwrite"]), how["delete"], dry_run, how["verify"])


def _show(run: Run, back: Restored, dry_run: bool, *, privileged: bool) -> None:
    _name([f"{printable(path)}: {why}" for path, why in back.failed], run.output.warn)
    for kind, count in sorted(back.missed.items()):
        hint = "" if privileged else _HINTS.get(kind, "")
        run.output.warn(f"{kind}: could not be given back to {count} files here{hint}")
    if dry_run:
        _name([f"would be deleted: {printable(path)}" for path in back.deleted], run.output.note)
    gone = f", {len(back.deleted)} deleted" if back.deleted else ""
    if dry_run:
        plan = _say_plan({str(fate): count for fate, count in back.fates.items()})
        run.output.done(_document(back, dry_run), f"would restore {back.snapshot}: {plan or 'nothing'}{gone}")
    else:
        done = f"{back.files} files, {format_size(back.bytes)} from {back.snapshot}{gone}"
        run.output.done(_document(back, dry_run), done)


def _say_plan(fates: dict[str, int]) -> str:
    return ", ".join(f"{fates[fate]} {said}" for fate, said in _PLANNED if fates.get(fate))


def _name(lines: list[str], say: Callable[[str], None]) -> None:
    for line in lines[:SHOWN]:
        say(line)
    if len(lines) > SHOWN:
        say(f"and {len(lines) - SHOWN} more")


def _document(back: Restored, dry_run: bool) -> dict[str, object]:
    return {
        "snapshot": back.snapshot,
        "files": back.files,
        "bytes": back.bytes,
        "failed": [{"path": json_bytes(path), "why": printable(why)} for path, why in back.failed],
        "missed": back.missed,
        "fates": back.fates,
        "deleted": [json_bytes(path) for path in back.deleted],
        "dry_run": dry_run,
    }
