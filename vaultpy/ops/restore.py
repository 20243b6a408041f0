"""`snapshot restore`: the way of the data, backwards.

    manifest → key → rows → choose → folders → contents, in the order of the blobs → links and nodes → folders' metadata

Every file appears whole under its name, or not at all.  What the store lost or spoiled costs the files that needed it;
the rest comes back, and the result names what did not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vaultpy.errors import UsageError
from vaultpy.events import OnEvent, StepAdvanced, StepBegan
from vaultpy.index.at import Moment
from vaultpy.index.needed import owners, totals, want_all, want_chosen
from vaultpy.model import SnapshotId
from vaultpy.ops.catalog import Entry
from vaultpy.ops.choose import choose, read_tree
from vaultpy.ops.deal import Dealer, resolve_owners
from vaultpy.ops.finish import Finisher
from vaultpy.ops.moment import open_moment
from vaultpy.ops.reader import Reader, open_key, read_manifest
from vaultpy.ops.tally import Tally
from vaultpy.ops.writers import Task, Writers, cores, worth_processes
from vaultpy.source.apply import ApplyOptions
from vaultpy.source.attrs import OwnerNames
from vaultpy.source.place import Placer
from vaultpy.source.target import TargetTree

REPORT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """`paths`: what to restore (nothing: all); `apply`: which metadata, and whose the files shall be;
    `processes`: how many write (0: threads of this one), None: as many as it is worth."""

    paths: tuple[bytes, ...] = ()
    apply: ApplyOptions = field(default_factory=ApplyOptions)
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: paths and bytes; `failed` names each path that did not and why; `missed` counts, per kind, metadata
    that the target did not take."""

    snapshot: SnapshotId
    files: int
    failed: tuple[tuple[bytes, str], ...]
    missed: dict[str, int]
    bytes: int


def restore(reader: Reader, entry: Entry, target: bytes, options: RestoreOptions, on_event: OnEvent) -> Restored:
    """Write what a snapshot holds below `target`.

    Raises NoIdentity, UntrustedSigner, DamageError where nothing can be believed, StoreError where the store fails, and
    UsageError for a path that the snapshot does not have.
    """
    opened, manifest = open_key(reader, read_manifest(reader, entry.id, None))
    with open_moment(reader, manifest, [opened.identity]) as moment, TargetTree(target) as tree:
        tally = Tally(moment, read_tree(moment))
        _want(moment, tally, options.paths)
        files, size = totals(moment)
        if not files:
            raise UsageError(f"snapshot {entry.id}: nothing to restore")
        on_event(StepBegan(f"restore of {entry.id}", files, size))
        whose = resolve_owners(owners(moment), options.apply.owner, OwnerNames())
        dealer = Dealer(moment, tally, tree, whose, Placer(options.apply))
        task = Task(reader.at.store, opened.identity, target, options.apply)
        with Writers(task, _processes(options, files, size)) as writers:
            _write(dealer, writers, tally, on_event)
        Finisher(moment, tally, tree, whose, options.apply).finish(dealer.linked)
        on_event(StepAdvanced(tally.files, tally.size))
    return Restored(manifest.snapshot, tally.files, tuple(tally.failed), dict(tally.missed), tally.size)


def _want(moment: Moment, tally: Tally, paths: Sequence[bytes]) -> None:
    if paths:
        choose(moment, tally.directories, paths)
        want_chosen(moment)
    else:
        want_all(moment)


def _processes(options: RestoreOptions, files: int, size: int) -> int:
    if options.processes is not None:
        return options.processes
    return cores() if cores() > 1 and worth_processes(files, size) else 0


def _write(dealer: Dealer, writers: Writers, tally: Tally, on_event: OnEvent) -> None:
    reported = 0
    for outcome in writers.write(dealer.shares()):
        dealer.take(outcome)
        if tally.size - reported >= REPORT_BYTES:
            reported = tally.size
            on_event(StepAdvanced(tally.files, tally.size))
