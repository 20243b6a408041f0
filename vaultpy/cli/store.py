"""`vaultpy store info` and `prune`."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import DURATION, UUID, dry_run_option, signer_option
from vaultpy.cli.output import Part, Table
from vaultpy.cli.reading import open_for
from vaultpy.cli.text import counted, format_time, json_time
from vaultpy.units import Duration, format_duration, format_size

if TYPE_CHECKING:
    from vaultpy.ops.reading.info import StoreInfo
    from vaultpy.ops.removing.prune import Amount, Pruned, PrunePlan


@command(
    "info",
    reads_store=True,
    example="vaultpy store info --store s3://backups/laptop --json",
    document="""\
An object with `url`, `id`, `created`, `grace` (seconds), `answered` (milliseconds until vaultpy.json came), `objects`,
`bytes`, `kinds` (an object with `settings`, `blobs`, `metadata`, `keys`, `purges` and `other`, each with `objects` and
`bytes`), `manifests` (snapshots, partial ones too), `unfinished` (folders of metadata/ with an export alone, of runs that
died or that other snapshots stand on) and `broken` (those with a signature and no manifest).""",
)
def info(run: Run) -> int | None:
    """Show the store: its id and settings, whether it answers, its objects and their bytes. No secrets."""
    from vaultpy.ops.reading.info import store_info
    from vaultpy.vault import open_at

    place = run.config_or_store()
    shown = store_info(open_at(place if isinstance(place, str) else place.store))
    run.output.show(_info_document(shown), *_info_lines(shown))
    return None


def _info_document(shown: StoreInfo) -> dict[str, object]:
    total = shown.total
    return {
        "url": shown.url,
        "id": shown.id,
        "created": json_time(shown.created),
        "grace": shown.grace,
        "answered": round(shown.answered * 1000),
        "objects": total.objects,
        "bytes": total.bytes,
        "kinds": {kind: {"objects": one.objects, "bytes": one.bytes} for kind, one in shown.amounts.items()},
        "manifests": shown.manifests,
        "unfinished": shown.unfinished,
        "broken": shown.broken,
    }


def _info_lines(shown: StoreInfo) -> Iterator[Part]:
    yield f"store {shown.url}, which answered within {round(shown.answered * 1000)} ms"
    yield f"id {shown.id}, made {format_time(shown.created)}; prunes wait {format_duration(shown.grace)} at least"
    rows = [(kind, str(one.objects), format_size(one.bytes)) for kind, one in shown.amounts.items() if one.objects]
    rows.append(("all", str(shown.total.objects), format_size(shown.total.bytes)))
    yield Table(("", "objects", "size"), rows, frozenset({"objects", "size"}))
    yield f"{counted(shown.manifests, 'snapshot')} (partial ones included)"
    if shown.unfinished:
        yield f"{shown.unfinished} exports without a snapshot of their own: of runs that died, or that others stand on"
    if shown.broken:
        yield f"{shown.broken} signatures without a manifest: of snapshots being removed, or damaged"


@command(
    "prune",
    kept="what was deleted so far nobody needed; the next prune goes on",
    reads_store=True,
    example="""\
vaultpy store prune --dry-run
vaultpy store prune""",
    document="""\
An object with `dry_run`, `grace` (seconds), `snapshots` (how many were read), `deleted`, `refused` (the store would not let
them go yet), `waiting` (recorded by an earlier prune, and still too young) and `recorded` (now), each with `blobs`,
`exports` and `bytes`, `records` (ids of the new purge records) and `retired` (ids of manifests that were removed: partial
ones that are superfluous, and those given up). With `dry_run`, what would be.""",
)
@click.option("--grace", metavar="D", type=DURATION, help="Wait longer than the store asks before deleting.")
@click.option("--trust", metavar="UUID", type=UUID, multiple=True, help="Go on although this manifest is unknown.")
@click.option("--retire", metavar="UUID", type=UUID, multiple=True, help="Give this manifest up as lost.")
@dry_run_option
@signer_option
def prune(
    run: Run,
    grace: Duration | None,
    trust: tuple[uuid.UUID, ...],
    retire: tuple[uuid.UUID, ...],
    dry_run: bool,
    signers: tuple[str, ...],
) -> int | None:
    """Delete the objects that no snapshot needs.

    In two steps: a run records what it means to delete, and one at least a grace later (24 h, or what the store asks)
    deletes what still nobody needs. Snapshots may be made meanwhile. Run it daily.

    Stops where it cannot be told what a snapshot needs: a manifest that is missing, damaged, or of an unknown signer.
    """
    from vaultpy.model import SnapshotId
    from vaultpy.ops.removing.needs import Pardon
    from vaultpy.ops.removing.prune import PruneOptions, apply_prune, plan_prune

    pardon = Pardon(frozenset(map(SnapshotId, trust)), frozenset(map(SnapshotId, retire)))
    with open_for(run, signers=signers) as reader, run.output.following() as on_event:
        plan = plan_prune(reader, PruneOptions(grace, pardon), on_event)
        done = None if dry_run else apply_prune(reader.at.store, plan, os.urandom, on_event)
    if done is None:
        run.output.show(_prune_document(plan, None), *_prune_lines(plan, None))
        return None
    if done.answer is not None:
        run.output.warn(f"the store did not let everything go yet: {done.answer}")
    run.output.done(_prune_document(plan, done), *_prune_lines(plan, done))
    return None


def _prune_lines(plan: PrunePlan, done: Pruned | None) -> Iterator[str]:
    from vaultpy.ops.removing.prune import amount_of

    would = "" if done else "would be "
    deleted = done.deleted if done else plan.doomed
    yield f"{counted(plan.manifests, 'snapshot')} read; grace: {format_duration(plan.window.grace / 1e9)}"
    yield f"{would}deleted: {_amount(deleted)}"
    if done and done.refused.bytes:
        yield f"not let go yet: {_amount(done.refused)}"
    if plan.locked:
        yield f"kept, though removed, because Object Lock keeps their manifests: {plan.locked} snapshots"
    if plan.waiting:
        yield f"recorded earlier, not due yet: {_amount(amount_of(plan.waiting))}"
    yield f"{would}recorded for a later prune: {_amount(amount_of(plan.candidates))}"
    for id in (*plan.retired, *plan.given_up):
        yield f"{would}removed: manifest {id}"


def _prune_document(plan: PrunePlan, done: Pruned | None) -> dict[str, object]:
    from vaultpy.ops.removing.prune import Amount, amount_of

    return {
        "dry_run": done is None,
        "grace": plan.window.grace // 1_000_000_000,
        "snapshots": plan.manifests,
        "deleted": _amount_document(done.deleted if done else plan.doomed),
        "refused": _amount_document(done.refused if done else Amount()),
        "waiting": _amount_document(amount_of(plan.waiting)),
        "recorded": _amount_document(amount_of(plan.candidates)),
        "records": done.records if done else (),
        "retired": (*plan.retired, *plan.given_up),
    }


def _amount(amount: Amount) -> str:
    return f"{counted(amount.blobs, 'blob')}, {counted(amount.exports, 'export')}, {format_size(amount.bytes)}"


def _amount_document(amount: Amount) -> dict[str, object]:
    return {"blobs": amount.blobs, "exports": amount.exports, "bytes": amount.bytes}
