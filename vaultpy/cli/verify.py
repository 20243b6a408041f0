"""`vaultpy snapshot verify`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import (
    DURATION,
    SHARE,
    identity_option,
    limit_download_option,
    signer_option,
    snapshots_argument,
    source_option,
)
from vaultpy.cli.reading import open_for
from vaultpy.cli.text import counted, json_bytes
from vaultpy.errors import UsageError
from vaultpy.units import Duration, before, format_size

if TYPE_CHECKING:
    from vaultpy.ops.reading.findings import Finding, Verified

SNAPSHOTS_SHOWN = 5


@command(
    "verify",
    kept="nothing was changed",
    reads_store=True,
    example="""\
vaultpy snapshot verify
vaultpy snapshot verify --all --sample 1/30 --quiet
vaultpy snapshot verify --all --blobs --since 30d
vaultpy snapshot verify latest --deep --identity key.txt""",
    document="""\
An object with `depth` (`listed`, `hashed` or `opened`), `snapshots` (ids), `objects` and `bytes` (that they name, each
once), `fetched` (objects), `files` and `chunks` (checked by --deep), `unchecked` (snapshots whose signers nothing vouches
for), `unopened` (that no identity opens), `notes`, and `damage`: a list of objects with `kind` (`manifest`, `signer`,
`settings`, `key`, `missing`, `size`, `changed`, `content`), `object` (its name in the store), `detail`, `snapshots`,
`files` (how many cannot be had whole because of it; null where that cannot be told), `paths` (the first of them) and
`advice`.""",
)
@snapshots_argument
@click.option("--all", "every", is_flag=True, help="Verify every snapshot.")
@click.option("--blobs", is_flag=True, help="Fetch and hash every object, too. Needs no key.")
@click.option("--deep", is_flag=True, help="Open every object and check every chunk and file, too. Needs an identity.")
@click.option("--since", metavar="D", type=DURATION, help="Fetch only what was not found right within that time.")
@click.option(
    "--sample",
    metavar="1/N",
    type=SHARE,
    help="Fetch one object in N, another share each time: 1/30 daily fetches each once in 30 days.",
)
@source_option
@identity_option
@signer_option
@limit_download_option
def verify(
    run: Run,
    snapshots: tuple[str, ...],
    every: bool,
    blobs: bool,
    deep: bool,
    since: Duration | None,
    sample: int | None,
    source: str | None,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
) -> int | None:
    """Check that each SNAPSHOT is there and whole; without one, the newest of each source.

    By default: the manifest's signature, and that every object it names is there with the right size (one listing).
    --since and --sample are for --deep and --blobs, and mean --blobs alone. On a host, what was found is remembered:
    lists mark what is damaged, and the next snapshot stores anew what the source still has. Damage found is exit code 4.
    """
    if every and snapshots:
        raise UsageError("snapshot verify: SNAPSHOT and --all were both given", hint="leave one out")
    if since and sample:
        raise UsageError("snapshot verify: --since and --sample were both given", hint="leave one out")
    from vaultpy.ops.checking.verify import VerifyRequest
    from vaultpy.ops.checking.verify import verify as operate
    from vaultpy.ops.reading.checked import Share
    from vaultpy.ops.reading.findings import Depth

    depth = Depth.OPENED if deep else Depth.HASHED if blobs or since or sample else Depth.LISTED
    now = time.time_ns()
    share = Share(now - before(now, since) if since else None, sample)
    with (
        open_for(run, identities, signers) as reader,
        run.output.following() as on_event,
    ):
        verified = operate(reader, VerifyRequest(snapshots, every, source, depth, share), on_event)
    _warn(run, verified)
    if verified.findings:
        run.output.show(_document(verified), (line for one in verified.findings for line in _finding_lines(one)))
    else:
        run.output.done(_document(verified), _summary(verified))
    return verified.exit_code


def _warn(run: Run, verified: Verified) -> None:
    for note in verified.notes:
        run.output.warn(note)
    if verified.unchecked:
        run.output.warn(
            f"{counted(len(verified.unchecked), 'snapshot')}: who signed was not checked, as nothing here says whom to"
            " believe (--signer, --identity, or signers in the config)"
        )
    if verified.unopened:
        run.output.warn(f"opened by none of the identities given: {', '.join(map(str, verified.unopened))}")


def _summary(verified: Verified) -> str:
    said = (
        f"{counted(len(verified.snapshots), 'snapshot')}: {counted(verified.objects, 'object')},"
        f" {format_size(verified.bytes)}, all there"
    )
    if verified.fetched:
        said += f"; {verified.fetched} fetched and hashed"
    if verified.chunks or verified.files:
        said += f"; {counted(verified.files, 'path')} covered, {counted(verified.chunks, 'chunk')} opened"
    return said


def _finding_lines(one: Finding) -> Iterator[str]:
    yield f"damage: {one.object}: {one.kind}: {one.detail}"
    more = len(one.snapshots) - SNAPSHOTS_SHOWN
    shown = ", ".join(map(str, one.snapshots[:SNAPSHOTS_SHOWN]))
    yield f"  {'snapshots' if more > -SNAPSHOTS_SHOWN + 1 else 'snapshot'} {shown}{f' and {more} more' if more > 0 else ''}"
    if one.files is not None:
        yield f"  {counted(one.files, 'file')} cannot be had whole" + (", the first:" if one.paths else "")
        yield from (f"    {os.fsdecode(path)}" for path in one.paths)
    yield f"  {one.advice}"


def _document(verified: Verified) -> dict[str, object]:
    return {
        "depth": verified.depth.name.lower(),
        "snapshots": verified.snapshots,
        "objects": verified.objects,
        "bytes": verified.bytes,
        "fetched": verified.fetched,
        "files": verified.files,
        "chunks": verified.chunks,
        "unchecked": verified.unchecked,
        "unopened": verified.unopened,
        "notes": verified.notes,
        # Last, and one by one: of a store that is gone there are as many as it had objects.
        "damage": map(_finding_document, verified.findings),
    }


def _finding_document(one: Finding) -> dict[str, object]:
    return {
        "kind": one.kind,
        "object": one.object,
        "detail": one.detail,
        "snapshots": one.snapshots,
        "files": one.files,
        "paths": [json_bytes(path) for path in one.paths],
        "advice": one.advice,
    }
