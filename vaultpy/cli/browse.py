"""`vaultpy snapshot ls` and `show`: looking into one, changing nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.list import UNKNOWN, entry_document
from vaultpy.cli.options import (
    RAW_PATH,
    identity_option,
    signer_option,
    snapshot_argument,
    source_option,
)
from vaultpy.cli.reading import open_snapshot
from vaultpy.cli.text import format_time, json_bytes, json_time
from vaultpy.model import Kind
from vaultpy.units import format_size

if TYPE_CHECKING:
    from vaultpy.index.at import FileAt
    from vaultpy.ops.reading.catalog import Entry
    from vaultpy.ops.reading.look import Listed, Shown


@command(
    "ls",
    reads_store=True,
    example="""\
vaultpy snapshot ls latest /home/ada
vaultpy snapshot ls home@2024-05-01 --json""",
    document="""\
A list of objects: `path`, `kind` (`file`, `directory`, `symlink`, `fifo`, `character_device`, `block_device`), `size`,
`mtime`, `mode` (a number, permission bits), `uid`, `gid`, `user`, `group` (names, or null) and `target` (of a symlink, else
null).""",
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
    from vaultpy.ops.reading.look import open_files

    with (
        open_snapshot(run, snapshot, source, identities, signers) as (reader, entry),
        open_files(reader, entry, () if path is None else (path,)) as files,
    ):
        run.output.show((_file_document(one) for one in files), (_file_line(one) for one in files))
    return None


_TYPE_BITS = {
    Kind.FILE: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
}


def _file_line(listed: Listed) -> str:
    path, row = listed
    mode = stat.filemode(_TYPE_BITS[Kind(row.kind)] | row.mode)
    owner = f"{_name(row.user, row.uid)} {_name(row.group, row.gid)}"
    target = f" -> {os.fsdecode(row.link_target)}" if row.link_target is not None else ""
    return f"{mode} {owner:<17} {_extent(row):>12} {_local_time(row.mtime)} {os.fsdecode(path)}{target}"


def _name(name: bytes | None, number: int) -> str:
    return os.fsdecode(name) if name is not None else str(number)


def _extent(row: FileAt) -> str:
    return f"{os.major(row.rdev)}, {os.minor(row.rdev)}" if row.rdev is not None else str(row.size)


def _local_time(moment: int) -> str:
    return f"{format_time(moment):<19}"


def _file_document(listed: Listed) -> dict[str, object]:
    path, row = listed
    return {
        "path": json_bytes(path),
        "kind": Kind(row.kind).name.lower(),
        "size": row.size,
        "mtime": json_time(row.mtime),
        "mode": row.mode,
        "uid": row.uid,
        "gid": row.gid,
        "user": json_bytes(row.user) if row.user is not None else None,
        "group": json_bytes(row.group) if row.group is not None else None,
        "target": json_bytes(row.link_target) if row.link_target is not None else None,
    }


@command(
    "show",
    reads_store=True,
    example="vaultpy snapshot show latest --source home",
    document="""\
An object with what `snapshot list` says of it, and `seq`, `paths`, `version`, `parent`, `repairs`, `pinned`, `signer`
(a fingerprint), `trusted` (null where nothing says whom to believe), `key` (the store key's id), `recipients` (forms of it
in the store), `blobs` and `blob_bytes`, `exports` (a list of objects with `id` and `size`, the base first) and
`problem_list` (objects with `path`, `kind` and `detail`; null where it cannot be told).""",
)
@snapshot_argument
@source_option
@identity_option
@signer_option
def show(
    run: Run, snapshot: str, source: str | None, identities: tuple[Path, ...], signers: tuple[str, ...]
) -> int | None:
    """Show what a snapshot is: times, counts, sizes, problems, and what it stands on."""
    from vaultpy.ops.reading.look import show_snapshot

    with open_snapshot(run, snapshot, source, identities, signers) as (reader, entry):
        shown = show_snapshot(reader, entry)
    run.output.show(_shown_document(shown), _shown_lines(shown))
    return None


def _shown_document(shown: Shown) -> dict[str, object]:
    entry, manifest, about = shown.entry, shown.manifest, shown.about
    return entry_document(entry) | {
        "seq": manifest.sequence,
        "paths": [json_bytes(path) for path in about.paths] if about else None,
        "version": about.version if about else None,
        "parent": manifest.parent,
        "repairs": manifest.repairs,
        "pinned": manifest.pinned,
        "signer": shown.fingerprint,
        "trusted": shown.trusted,
        "key": manifest.key,
        "recipients": shown.recipients,
        "blobs": len(manifest.blobs),
        "blob_bytes": sum(blob.size for blob in manifest.blobs),
        "exports": [{"id": ref.id, "size": ref.size} for ref in manifest.exports],
        "problem_list": None
        if shown.problems is None
        else [{"path": json_bytes(one.path), "kind": one.kind, "detail": one.detail} for one in shown.problems],
    }


def _shown_lines(shown: Shown) -> Iterator[str]:
    for name, value in _facts(shown):
        if value:
            yield f"{name + ':' if name else '':<12} {value}"
    for one in shown.problems or ():
        yield f"  {os.fsdecode(one.path)}: {one.kind}: {one.detail}"


def _facts(shown: Shown) -> Iterator[tuple[str, str]]:
    entry, manifest, about = shown.entry, shown.manifest, shown.about
    yield "snapshot", str(entry.id)
    yield "host", f"{entry.host_name or UNKNOWN} ({entry.host})"
    yield "source", f"{entry.source_name or UNKNOWN} ({entry.source})"
    yield "paths", ", ".join(os.fsdecode(path) for path in about.paths) if about else UNKNOWN
    yield "tags", " ".join(about.tags) if about else UNKNOWN
    yield "started", format_time(entry.started)
    yield "completed", format_time(entry.completed)
    yield "made by", f"vaultpy {about.version}" if about else UNKNOWN
    yield "holds", _holds(entry)
    yield "parent", str(manifest.parent or "")
    yield "repairs", str(manifest.repairs or "")
    yield "pinned", "yes" if manifest.pinned else ""
    yield "signer", f"{shown.fingerprint} ({_trusted(shown.trusted)})"
    yield "store key", f"{manifest.key}, for {shown.recipients} recipient{'' if shown.recipients == 1 else 's'}"
    yield "blobs", f"{len(manifest.blobs)}, {format_size(sum(blob.size for blob in manifest.blobs))}"
    yield (
        "exports",
        f"{len(manifest.exports)}, {format_size(sum(ref.size for ref in manifest.exports))}; the first whole",
    )
    yield from (("", f"{ref.id} {format_size(ref.size)}") for ref in manifest.exports)
    yield "flag", entry.flag or ""
    yield "problems", UNKNOWN if shown.problems is None else str(len(shown.problems))


def _holds(entry: Entry) -> str:
    if entry.counts is None:
        return UNKNOWN
    counts = entry.counts
    return (
        f"{counts.files} paths, {format_size(counts.bytes)}; new {format_size(counts.new_bytes)}, stored"
        f" {format_size(counts.stored_bytes)}"
    )


def _trusted(trusted: bool | None) -> str:
    return "not checked: nothing here says whom to believe" if trusted is None else "known" if trusted else "UNKNOWN"
