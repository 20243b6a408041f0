"""`vaultpy snapshot list`: which there are, and whether they are recent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import DURATION, identity_option, signer_option, source_option
from vaultpy.cli.output import Table
from vaultpy.cli.reading import open_for
from vaultpy.cli.text import format_time, json_time, shorten
from vaultpy.units import Duration, format_duration, format_size

if TYPE_CHECKING:
    from vaultpy.model import SnapshotId
    from vaultpy.ops.reading.catalog import Broken, Catalog, Entry
    from vaultpy.ops.reading.look import Stale

UNKNOWN = "?"
"""Stands for what is encrypted, and cannot be told without an index or an identity."""

LOST_SHOWN = 5


@command(
    "list",
    reads_store=True,
    example="""\
vaultpy snapshot list
vaultpy snapshot list --max-age 26h --quiet
vaultpy snapshot list --store s3://backups/laptop --identity key.txt""",
    document="""\
A list of objects, oldest first: `id`, `host`, `source` (names), `host_id`, `source_id`, `started`, `completed`, `state`
(`complete`, or `broken` where no manifest can be believed), `tags`, `files` (all its paths, folders too), `bytes`,
`new_bytes`, `stored_bytes`, `problems` (a number), `signed` (whether a known signer's signature was seen; null where the
index vouches, or nothing says whose to believe) and `flag` (what is odd about it, else null). What cannot be told without
an index or an identity is null.""",
)
@source_option
@click.option("--max-age", metavar="D", type=DURATION, help="Exit 1 when a source has nothing newer than this.")
@identity_option
@signer_option
def list_snapshots(
    run: Run, source: str | None, max_age: Duration | None, identities: tuple[Path, ...], signers: tuple[str, ...]
) -> int | None:
    """List the snapshots in the store, oldest first.

    Without an index or an identity, names and tags cannot be told, and signatures are not checked: the list says so.
    With --max-age, the sources that have nothing newer are named on standard error, and --quiet leaves out the list.
    """
    from vaultpy.ops.reading.catalog import read_catalog
    from vaultpy.ops.reading.look import broken_snapshots, lost_snapshots, never_made, of_source, stale_sources

    with open_for(run, identities, signers) as reader:
        catalog = read_catalog(reader)
        entries = of_source(catalog, source)
        stale = stale_sources(reader, entries, max_age, time.time_ns()) if max_age else []
        if max_age and source is None:
            stale += never_made(reader, entries)
        checked = reader.trust is not None
        lost, broken = lost_snapshots(reader, catalog), broken_snapshots(reader, catalog)
    show = run.output.show if max_age is None else run.output.done
    show([*map(entry_document, entries), *map(_broken_document, broken)], _table(entries, broken))
    _warn(run, catalog, entries, checked=checked, opened=reader.identities is not None)
    _warn_broken(run, broken, lost)
    for one in stale:
        run.output.warn(f"{one.source}: {_age(one, time.time_ns())}")
    if max_age and not entries:
        run.output.warn("the store has no snapshots")
    return 1 if max_age and (stale or not entries) else None


def _warn(run: Run, catalog: Catalog, entries: Sequence[Entry], *, checked: bool, opened: bool) -> None:
    """`opened`: whether there was an identity to open names with."""
    closed = sum(one.source_name is None for one in catalog.entries)
    if closed and opened:
        run.output.warn(
            f"the identity does not open {closed} of {len(catalog.entries)} snapshots: their names stay (?)"
        )
    elif closed:
        run.output.note("names, tags and counts (?) are encrypted: an index or --identity FILE shows them")
    if not checked and entries:
        run.output.note("signatures were not checked: nothing here says whom to believe (--signer, or a configuration)")


def _warn_broken(run: Run, broken: Sequence[Broken], lost: Sequence[SnapshotId]) -> None:
    for one in broken:
        run.output.warn(f"snapshot {one.id} is broken: {one.why}")
    for id in lost[:LOST_SHOWN]:
        run.output.warn(f"snapshot {id} is in the index and not in the store")
    if len(lost) > LOST_SHOWN:
        run.output.warn(f"and {len(lost) - LOST_SHOWN} more that are not in the store")


def _age(one: Stale, now: int) -> str:
    if one.newest is None:
        return "no snapshot"
    return f"the newest snapshot is {format_duration((now - one.newest) / 1e9)} old"


def _table(entries: Sequence[Entry], broken: Sequence[Broken]) -> Table:
    ids = shorten([*(one.id for one in entries), *(one.id for one in broken)])
    hosts = shorten(one.host for one in entries)
    sources = shorten(one.source for one in entries)
    rows: list[tuple[str, ...]] = [
        (
            ids[one.id],
            one.host_name or hosts[one.host],
            one.source_name or sources[one.source],
            format_time(one.started),
            str(one.counts.files) if one.counts else UNKNOWN,
            *(_sizes(one)),
            " ".join(one.tags) if one.tags is not None else UNKNOWN,
            _remarks(one),
        )
        for one in entries
    ]
    rows += [(ids[one.id], *[UNKNOWN] * 7, f"broken: {one.why}") for one in broken]
    return Table(
        ("id", "host", "source", "started", "paths", "size", "stored", "tags", "problems"),
        rows,
        frozenset({"paths", "size", "stored"}),
    )


def _sizes(one: Entry) -> tuple[str, str]:
    if one.counts is None:
        return UNKNOWN, UNKNOWN
    return format_size(one.counts.bytes), format_size(one.counts.stored_bytes)


def _remarks(one: Entry) -> str:
    problems = str(one.problems) if one.problems else UNKNOWN if one.problems is None else ""
    return "; ".join(filter(None, (problems, one.flag)))


def entry_document(one: Entry) -> dict[str, object]:
    """A snapshot as --json shows it."""
    counts = one.counts
    return {
        "id": one.id,
        "host": one.host_name,
        "source": one.source_name,
        "host_id": one.host,
        "source_id": one.source,
        "started": json_time(one.started),
        "completed": json_time(one.completed),
        "state": one.state.value,
        "tags": one.tags,
        "files": counts.files if counts else None,
        "bytes": counts.bytes if counts else None,
        "new_bytes": counts.new_bytes if counts else None,
        "stored_bytes": counts.stored_bytes if counts else None,
        "problems": one.problems,
        "signed": one.signed,
        "flag": one.flag,
    }


_UNTOLD = (
    *("host", "source", "host_id", "source_id", "started", "completed", "tags", "files", "bytes", "new_bytes"),
    *("stored_bytes", "problems", "signed"),
)


def _broken_document(one: Broken) -> dict[str, object]:
    return {"id": one.id, "state": "broken", "flag": one.why, **dict.fromkeys(_UNTOLD)}
