"""`vaultpy snapshot cat`, and `snapshot restore --to-tar`: what a snapshot has, as one stream."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from vaultpy.cli.frame import Run, command
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
from vaultpy.errors import TargetError, VaultpyError
from vaultpy.units import format_size

STDOUT = "-"


@command(
    "cat",
    reads_store=True,
    example="""\
vaultpy snapshot cat latest /home/ada/notes.txt --identity key.txt
vaultpy snapshot cat home@2024-05-01 /var/backups/shop.sql""",
    document="Nothing: what comes out is the file.",
)
@snapshot_argument
@click.argument("path", type=RAW_PATH)
@source_option
@identity_option
@signer_option
@limit_download_option
def cat(
    run: Run,
    snapshot: str,
    path: bytes,
    source: str | None,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
) -> int | None:
    """Write the bytes of one file of SNAPSHOT, the one at PATH (absolute), to standard output.

    Exit code 4: the store has not all of it; what was written before that is right.
    """
    from vaultpy.ops.restoring.archive import write_file

    with open_snapshot(run, snapshot, source, identities, signers) as (reader, entry), _standard_output() as out:
        write_file(reader, entry, path, out)
    return None


def to_tar(
    run: Run,
    place: str,
    paths: tuple[bytes, ...],
    which: tuple[str, str | None],
    access: tuple[tuple[Path, ...], tuple[str, ...]],
) -> int | None:
    """Write a snapshot (a name and a source) as a tar archive to a new file, or standard output; exit code as of restore."""
    from vaultpy.ops.restoring.archive import write_tar

    with open_snapshot(run, *which, *access) as (reader, entry), _open_output(place) as out:
        with run.output.following() as on_event:
            done = write_tar(reader, entry, paths, out, on_event)
        out.flush()
    for path, why in done.failed:
        run.output.warn(f"{printable(path)}: {why}")
    if place != STDOUT:
        document = {
            "snapshot": entry.id,
            "files": done.files,
            "bytes": done.size,
            "failed": [{"path": json_bytes(path), "why": printable(why)} for path, why in done.failed],
        }
        run.output.done(document, f"{done.files} files, {format_size(done.size)} from {entry.id} in {place}")
    return 4 if done.failed else None


@contextlib.contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # whoever read along has seen enough: main ends quietly
    except OSError as error:  # the store's and the index's own are errors of ours by now
        raise VaultpyError(f"standard output: {(error.strerror or str(error)).lower()}") from error


@contextlib.contextmanager
def _open_output(place: str) -> Iterator[BinaryIO]:
    if place == STDOUT:
        with _standard_output() as out:
            yield out
        return
    try:
        # For its owner alone: what it holds was not everybody's to read.
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
            try:
                yield out
                out.flush()
            except BaseException:
                os.unlink(place)  # half an archive would pass for a whole one
                raise
    except FileExistsError as error:
        raise TargetError(f"archive {place} exists", hint="name a file that does not, or remove it") from error
    except OSError as error:
        raise TargetError(f"archive {place}: {(error.strerror or str(error)).lower()}") from error
