"""`vaultpy snapshot create`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import (
    DURATION,
    SOURCE_NAME,
    SOURCE_PATH,
    TAG,
    dry_run_option,
    limit_download_option,
    limit_upload_option,
)
from vaultpy.cli.stopping import tidy_patiently
from vaultpy.cli.text import json_bytes, json_time, printable
from vaultpy.config import Config, SourceConfig
from vaultpy.errors import UsageError
from vaultpy.lock import HeldLock
from vaultpy.model import Problem
from vaultpy.units import Duration
from vaultpy.units import format_size as format_bytes

if TYPE_CHECKING:
    from vaultpy.ops.making.create import Created

A_DAY_NS = 24 * 3600 * 1_000_000_000


@command(
    "create",
    kept="what was uploaded is kept: the next run goes on with it",
    example="""\
vaultpy snapshot create
vaultpy snapshot create home --tag before-upgrade
vaultpy snapshot create home --dry-run -v
vaultpy snapshot create --path /srv/www --name www --cron""",
    document="""\
A list of objects, one a source: `source`, `snapshot` (its id; null where none was made), `started`, `completed`, `tags`,
`files` (all its paths, folders too), `bytes`, `new_bytes`, `stored_bytes`, `unchanged` (paths that are as they were),
`skipped` (sockets and the like), `problems` (objects with `path`, `kind` and `detail`) and `error` (why it failed, else null).
With --dry-run: `source`, `files`, `new`, `changed`, `gone`, `bytes_to_read`, `problems`, and with --verbose `paths` (objects
with `path`, `in` and `reason`).""",
)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option(
    "--path", "paths", metavar="P", type=SOURCE_PATH, multiple=True, help="Read this path; needs --name. Repeatable."
)
@click.option("--name", metavar="N", type=SOURCE_NAME, help="The name of the source that the paths make.")
@click.option("--tag", "tags", metavar="T", type=TAG, multiple=True, help="Put a tag on the snapshot. Repeatable.")
@click.option("--cron", is_flag=True, help="Be silent unless something is wrong, and never ask.")
@dry_run_option
@click.option("--wait", metavar="D", type=DURATION, help="Wait that long for another run to end.")
@click.option("--if-changed", is_flag=True, help="Make no snapshot where nothing changed since the last one.")
@limit_upload_option
@limit_download_option
def create(
    run: Run,
    sources: tuple[str, ...],
    paths: tuple[bytes, ...],
    name: str | None,
    tags: tuple[str, ...],
    cron: bool,
    dry_run: bool,
    wait: Duration | None,
    if_changed: bool,
) -> int | None:
    """Make a snapshot of each SOURCE of the configuration, or of all of them.

    A source that fails does not stop the next one; the worst exit code wins. 3: a snapshot was made, but something could
    not be read.

    With --dry-run and --verbose, every path is told with what would become of it: in (new, changed, unchanged), or out, and
    which pattern, file, marker or setting says so.
    """
    if bool(paths) != bool(name):
        raise UsageError("snapshot create: --path and --name go together", hint="--path /srv/www --name www")
    if paths and sources:
        raise UsageError("snapshot create: SOURCE and --path were both given", hint="run it once for each")
    if cron:
        run = run.under_cron()
    from vaultpy.ops.making.create import CreateOptions, create_snapshots

    config = run.config()
    chosen = _chosen(config, sources, paths, name)
    if dry_run:
        return _preview(run, config, chosen)
    if any(one.after or one.on_failure for one in chosen):
        tidy_patiently()
    try:
        with run.output.following() as on_event:
            options = CreateOptions(
                tags=tags,
                if_changed=if_changed,
                wait_seconds=wait.seconds if wait else 0,
                environment=run.environment,
            )
            made = create_snapshots(run.open_vault(config), chosen, options, on_event)
    except HeldLock as error:
        if cron and error.since is not None and time.time_ns() - error.since < A_DAY_NS:
            return None  # the run before is still at work: nothing is wrong yet
        raise
    for one in made:
        _warn(run, one)
    run.output.done([_document(one) for one in made], *(line for one in made for line in _lines(one)))
    return worst_code(one.exit_code for one in made)


def _chosen(config: Config, names: Sequence[str], paths: tuple[bytes, ...], name: str | None) -> list[SourceConfig]:
    if name is not None:
        if name in config.sources:
            raise UsageError(
                f"source {name}: the config has one of that name", hint=f"run: vaultpy snapshot create {name}"
            )
        return [SourceConfig(name, paths)]
    for one in names:
        if one not in config.sources:
            known = ", ".join(config.sources) or "none"
            raise UsageError(f"source {one}: {config.path} has none of that name", hint=f"it has: {known}")
    if not config.sources:
        raise UsageError(f"{config.path} names no sources", hint="add a [sources.NAME], or give --path P --name N")
    return [config.sources[one] for one in dict.fromkeys(names or config.sources)]


def _preview(run: Run, config: Config, chosen: Sequence[SourceConfig]) -> int | None:
    from vaultpy.ops.making.preview import Decided, preview

    found, documents = [], []
    for source in chosen:
        paths: list[dict[str, object]] = []

        def tell(one: Decided, paths: list[dict[str, object]] = paths) -> None:
            if run.mode.json:
                paths.append({"path": json_bytes(one.path), "in": one.wanted, "reason": one.reason})
            else:
                run.output.show(None, f"{'in ' if one.wanted else 'out'} {os.fsdecode(one.path)} ({one.reason})")

        one = preview(config, source, tell if run.mode.verbose else None)
        found.append(one)
        documents.append(asdict(one) | {"problems": _problems(one.problems)} | ({"paths": paths} if paths else {}))
        for problem in one.problems:
            run.output.warn(f"{os.fsdecode(problem.path)}: {problem.kind}: {problem.detail}")
    run.output.show(
        documents,
        *(
            f"{one.source}: {one.files} paths; new {one.new}, changed {one.changed}, gone {one.gone},"
            f" to read {format_bytes(one.bytes_to_read)}"
            for one in found
        ),
    )
    return worst_code(one.exit_code for one in found)


def _problems(problems: Iterable[Problem]) -> list[dict[str, object]]:
    return [{"path": json_bytes(one.path), "kind": one.kind, "detail": printable(one.detail)} for one in problems]


def worst_code(codes: Iterable[int]) -> int:
    """The code that says most: a failure before a partial success before none."""
    found = [code for code in codes if code]
    return min(found, key=lambda code: (code == 3, code), default=0)


def _warn(run: Run, one: Created) -> None:
    if one.error is not None:
        about = "" if one.error.message.startswith(f"source {one.source}: ") else f"source {one.source}: "
        run.output.warn(about + one.error.message + (f" ({one.error.hint})" if one.error.hint else ""))
    for path in one.left_out:
        run.output.note(f"source {one.source}: left out, as it is vaultpy's own: {os.fsdecode(path)}")


def _document(one: Created) -> dict[str, object]:
    row = one.snapshot
    counts = row.counts if row else None
    return {
        "source": one.source,
        "snapshot": row.id if row else None,
        "started": json_time(row.started_at) if row else None,
        "completed": json_time(row.completed_at) if row and row.completed_at else None,
        "tags": row.tags if row else (),
        "files": counts.files if counts else None,
        "bytes": counts.bytes if counts else None,
        "new_bytes": counts.new_bytes if counts else None,
        "stored_bytes": counts.stored_bytes if counts else None,
        "unchanged": one.unchanged,
        "skipped": one.skipped,
        "problems": _problems(one.problems),
        "error": printable(one.error.message) if one.error else None,
    }


def _lines(one: Created) -> Iterator[str]:
    row = one.snapshot
    if one.error is not None and row is None:
        return
    if row is None or row.counts is None:
        yield f"{one.source}: nothing changed, no snapshot made"
        return
    counts = row.counts
    yield (
        f"{one.source}: snapshot {row.id}, {counts.files} paths, {format_bytes(counts.bytes)}; new"
        f" {format_bytes(counts.new_bytes)}, stored {format_bytes(counts.stored_bytes)}; {one.seconds:.1f} s"
    )
    for kind, count in sorted(Counter(problem.kind for problem in one.problems).items()):
        yield f"  {count} {kind}"
    if one.skipped:
        yield f"  {one.skipped} sockets and the like skipped"
