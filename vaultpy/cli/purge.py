"""`vaultpy snapshot purge` and `remove`: which snapshots go.  What only they needed goes with `store prune`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import (
    DURATION,
    TAG,
    dry_run_option,
    force_option,
    identity_option,
    signer_option,
    snapshots_argument,
    source_option,
)
from vaultpy.cli.output import Part, Table
from vaultpy.cli.reading import open_for
from vaultpy.cli.text import counted, format_time, json_time, shorten
from vaultpy.errors import UntrustedSigner, UsageError
from vaultpy.units import format_size

if TYPE_CHECKING:
    from vaultpy.ops.removing.purge import Purged, PurgePlan, SourcePlan
    from vaultpy.ops.removing.remove import RemovalPlan
    from vaultpy.ops.removing.retention import Rules
    from vaultpy.ops.removing.unpublish import Removed

_PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")


def _keep_options(function: Callable[..., Any]) -> Callable[..., Any]:
    count = click.IntRange(min=1)
    options = [
        click.option("--keep-latest", is_flag=True, help="Keep the newest one."),
        click.option("--keep-last", metavar="N", type=count, help="Keep the newest N."),
        *(
            click.option(
                f"--keep-{period}", metavar="N", type=count, help=f"Keep the newest of each of the last N {name}."
            )
            for period, name in zip(_PERIODS, ("hours", "days", "weeks", "months", "years"), strict=True)
        ),
        click.option("--keep-within", metavar="D", type=DURATION, help="Keep all that are younger than D."),
        click.option("--older-than", metavar="D", type=DURATION, help="Remove only what is older than D."),
        click.option(
            "--keep-tag", "keep_tags", metavar="T", type=TAG, multiple=True, help="Keep tagged ones. Repeatable."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@command(
    "purge",
    kept="what was removed so far stays removed; for the rest run it again",
    reads_store=True,
    example="""\
vaultpy snapshot purge --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
vaultpy snapshot purge --older-than 1y --source home""",
    document="""\
An object with `dry_run`, `sources` (of each its `source` and its `snapshots`: `id`, `started`, `keep`, `reasons`),
`removed` (ids), `refused` (ids of those that the store would not let go yet), `record` (of the removal; null if there is
none), and `recorded`: the `blobs`, `exports` and `bytes` that nothing needs any more and a later prune may delete; null
where `stopped` says why they could not be told.""",
)
@_keep_options
@source_option
@dry_run_option
@force_option
@identity_option
@signer_option
def purge(
    run: Run,
    source: str | None,
    dry_run: bool,
    force: bool,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
    **rules: Any,
) -> int | None:
    """Remove the snapshots that no rule keeps, source by source, and say why each stays or goes.

    Durations are written 36h, 30d, 8w, 6mo or 1y; hours to years begin and end in UTC. The newest snapshot of a source is
    always kept, and where more than half would go, nothing does without --force. The space comes back with `vaultpy store
    prune`.
    """
    from vaultpy.ops.reading.catalog import read_catalog
    from vaultpy.ops.removing.purge import apply_purge, check_plan, check_signers, plan_purge, safe_now

    wanted = _rules(rules)
    with open_for(run, identities, signers) as reader:
        catalog = read_catalog(reader)
        check_signers(reader, catalog)
        plan = plan_purge(catalog, wanted, safe_now(reader.at.store, time.time_ns), source)
        if dry_run:
            run.output.show(_purge_document(plan, None), *_plan_parts(plan, force=force))
            return None
        check_plan(plan, force=force)
        with run.output.following() as on_event:
            done = apply_purge(reader, plan, os.urandom, on_event)
    run.output.done(_purge_document(plan, done), *_plan_parts(plan, force=force), *_purged_lines(done))
    return _purge_code(run, done)


def _rules(given: Mapping[str, Any]) -> Rules:
    if not any(given.values()):
        raise UsageError("snapshot purge: no rule was given", hint="for example --keep-daily 7, or --older-than 1y")
    from vaultpy.ops.removing.retention import Rules

    return Rules(
        latest=given["keep_latest"],
        last=given["keep_last"] or 0,
        **{period: given[f"keep_{period}"] or 0 for period in _PERIODS},
        within=given["keep_within"],
        older_than=given["older_than"],
        tags=given["keep_tags"],
    )


def _purge_code(run: Run, done: Purged) -> int | None:
    """Nothing at all went: 1, because it may be for want of a right.  What the recording half met counts unless it is only
    that this machine knows not every host of the store: then the keeper records."""
    _warn_refused(run, done.removed)
    if done.stopped is not None:
        hint = f" ({done.stopped.hint})" if done.stopped.hint else ""
        run.output.warn(f"nothing was recorded for a prune: {done.stopped.message}{hint}")
        if not isinstance(done.stopped, UntrustedSigner):
            return done.stopped.exit_code
    return 1 if done.removed.refused and not done.removed.snapshots else None


def _warn_refused(run: Run, removed: Removed) -> None:
    if removed.refused:
        run.output.warn(f"{len(removed.refused)} snapshots could not be removed yet: {removed.answer}")


def _plan_parts(plan: PurgePlan, *, force: bool) -> Iterator[Part]:
    for source in plan.sources:
        drastic = f", more than half{'' if force else ': --force is needed'}" if source.is_drastic else ""
        yield f"{source.name}: {len(source.going)} of {len(source.verdicts)} snapshots go{drastic}"
        yield _verdict_table(source)


def _verdict_table(source: SourcePlan) -> Table:
    ids = shorten(one.entry.id for one in source.verdicts)
    rows = [
        ("keep" if one.keep else "remove", ids[one.entry.id], format_time(one.entry.started), ", ".join(one.reasons))
        for one in source.verdicts
    ]
    return Table(("", "snapshot", "started", "why"), rows)


def _purged_lines(done: Purged) -> Iterator[str]:
    yield f"removed {counted(len(done.removed.snapshots), 'snapshot')}"
    if done.recorded is not None:
        objects = done.recorded.blobs + done.recorded.exports
        yield f"a later prune may delete {counted(objects, 'object')} more, {format_size(done.recorded.bytes)}"


def _purge_document(plan: PurgePlan, done: Purged | None) -> dict[str, object]:
    recorded = done.recorded if done else None
    return {
        "dry_run": done is None,
        "sources": [
            {
                "source": source.name,
                "snapshots": [
                    {
                        "id": one.entry.id,
                        "started": json_time(one.entry.started),
                        "keep": one.keep,
                        "reasons": one.reasons,
                    }
                    for one in source.verdicts
                ],
            }
            for source in plan.sources
        ],
        **_removed_document(done.removed if done else None),
        "recorded": {"blobs": recorded.blobs, "exports": recorded.exports, "bytes": recorded.bytes}
        if recorded
        else None,
        "stopped": done.stopped.message if done and done.stopped else None,
    }


def _removed_document(removed: Removed | None) -> dict[str, object]:
    return {
        "removed": removed.snapshots if removed else (),
        "refused": removed.refused if removed else (),
        "record": removed.record if removed else None,
    }


@command(
    "remove",
    kept="what was removed so far stays removed; for the rest run it again",
    reads_store=True,
    example="vaultpy snapshot remove 0192e4a1 --dry-run",
    document="""\
An object with `dry_run`, `snapshots` (ids of those that were named), `retired_sources`, and `removed`, `refused` and
`record` as `snapshot purge` has them.""",
)
@snapshots_argument
@source_option
@dry_run_option
@click.option("--force", is_flag=True, help="Remove pinned ones, too, and the last one of a source, which ends it.")
@identity_option
@signer_option
def remove(
    run: Run,
    snapshots: tuple[str, ...],
    source: str | None,
    dry_run: bool,
    force: bool,
    identities: tuple[Path, ...],
    signers: tuple[str, ...],
) -> int | None:
    """Remove each SNAPSHOT. The space comes back with `vaultpy store prune`.

    The newest snapshot of a source is refused: it goes only with all the others, by --force, which retires the source.
    """
    if not snapshots:
        raise UsageError("snapshot remove: no SNAPSHOT was named", hint="`vaultpy snapshot list` shows them")
    from vaultpy.ops.reading.catalog import read_catalog
    from vaultpy.ops.removing.purge import check_signers
    from vaultpy.ops.removing.remove import apply_removal, plan_removal

    with open_for(run, identities, signers) as reader:
        catalog = read_catalog(reader)
        check_signers(reader, catalog)
        plan = plan_removal(catalog, snapshots, source, force=force)
        if dry_run:
            run.output.show(_removal_document(plan, None), *_removal_lines(plan, "would remove"))
            return None
        removed = apply_removal(reader, plan, os.urandom)
    _warn_refused(run, removed)
    run.output.done(_removal_document(plan, removed), *_removal_lines(plan, "removed", refused=removed.refused))
    return 1 if removed.refused else None


def _removal_lines(plan: RemovalPlan, verb: str, refused: tuple[object, ...] = ()) -> Iterator[str]:
    for one in plan.going:
        if one.id not in refused:
            yield f"{verb} {one.id} of {format_time(one.started)}"
    for name in plan.retired_sources:
        yield f"nothing is left of {name}"


def _removal_document(plan: RemovalPlan, removed: Removed | None) -> dict[str, object]:
    return {
        "dry_run": removed is None,
        "snapshots": [one.id for one in plan.going],
        "retired_sources": plan.retired_sources,
        **_removed_document(removed),
    }
