"""`snapshot restore`: the way of the data, backwards.

    manifest → key → rows → choose → folders → contents, in the order of the blobs → links and nodes → folders' metadata

Every file appears whole under its name, or not at all.  What the store lost or spoiled costs the files that needed it;
the rest comes back, and the result names what did not.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vaultpy.age import Identity
from vaultpy.errors import DamageError, IndexChanged, TargetError, TargetFull, UsageError
from vaultpy.events import Noticed, OnEvent, StepAdvanced, StepBegan
from vaultpy.index.at import FileAt, Moment
from vaultpy.index.needed import (
    folders_deepest_first,
    owners,
    settle,
    totals,
    want_all,
    want_chosen,
    wanted_paths,
)
from vaultpy.manifest import Manifest, decode_about
from vaultpy.model import SnapshotId
from vaultpy.ops.processes import most_processes, usable_cores
from vaultpy.ops.reading.catalog import Entry
from vaultpy.ops.reading.choose import Tree, choose, is_glob, read_tree
from vaultpy.ops.reading.moment import check_unchanged, open_moment
from vaultpy.ops.reading.reader import Reader, open_key, read_manifest
from vaultpy.ops.restoring.basis import adopt_parts
from vaultpy.ops.restoring.deal import Dealer, resolve_owners
from vaultpy.ops.restoring.extra import Extras, Zone, sweep
from vaultpy.ops.restoring.finish import DEVICES, Finisher
from vaultpy.ops.restoring.foretell import foretell
from vaultpy.ops.restoring.present import Comparer, Fate, Overwrite, Plan
from vaultpy.ops.restoring.tally import Tally
from vaultpy.ops.restoring.writers import Task, Writers, worth_processes
from vaultpy.source.apply import ApplyOptions
from vaultpy.source.attrs import OwnerNames
from vaultpy.source.place import Placer
from vaultpy.source.target import TargetTree
from vaultpy.state import state_paths
from vaultpy.store.local import LocalStore

Paths = tuple[bytes, ...]

REPORT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """`paths`: what to restore (nothing: all); `apply`: which metadata, and whose the files shall be; `overwrite`: what
    becomes of paths that are there; `delete`: of what the snapshot does not have; `dry_run`: only tell; `verify`: read
    back what was written; `processes`: how many write (0: threads of this one), None: as many as it is worth."""

    paths: tuple[bytes, ...] = ()
    apply: ApplyOptions = field(default_factory=ApplyOptions)
    overwrite: Overwrite = Overwrite.IF_CHANGED
    delete: bool = False
    dry_run: bool = False
    verify: bool = False
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: paths and bytes written; `failed` names each path that did not and why; `missed` counts, per kind,
    metadata that the target did not take; `fates` counts, where something was there, what became of paths that are no
    folders; `deleted` names what went, or in a dry run would."""

    snapshot: SnapshotId
    files: int
    failed: tuple[tuple[bytes, str], ...]
    missed: dict[str, int]
    bytes: int
    fates: dict[Fate, int] = field(default_factory=dict)
    deleted: Paths = ()


def restore(reader: Reader, entry: Entry, target: bytes, options: RestoreOptions, on_event: OnEvent) -> Restored:
    """Write what a snapshot holds below `target`.

    What is there already is not fetched again, so a restore that was interrupted goes on where it was.  Raises NoIdentity,
    UntrustedSigner, DamageError where nothing can be believed, StoreError where the store fails, and UsageError for a path
    that the snapshot does not have.
    """
    opened, manifest = open_key(reader, read_manifest(reader, entry.id, None))
    deleted: list[bytes] = []
    try:
        return _restore(reader, manifest, opened.identity, target, options, deleted, on_event)
    except IndexChanged as error:
        on_event(Noticed(f"{error.message}: going on by the exports in the store"))
        return _restore(replace(reader, index=None), manifest, opened.identity, target, options, deleted, on_event)


def _restore(
    reader: Reader,
    manifest: Manifest,
    identity: Identity,
    target: bytes,
    options: RestoreOptions,
    deleted: list[bytes],
    on_event: OnEvent,
) -> Restored:
    """`deleted`: what went so far.  Raises IndexChanged where the index was read from, and not all came back."""
    with contextlib.ExitStack() as stack:
        moment = stack.enter_context(open_moment(reader, manifest, [identity]))
        directories = read_tree(moment)
        _want(moment, directories, options.paths)
        if not totals(moment)[0]:
            raise UsageError(f"snapshot {manifest.snapshot}: nothing to restore")
        foretell(reader, manifest, moment, directories, on_event, all_of_it=not options.paths)
        if options.dry_run and not os.path.isdir(target):
            return _all_new(moment, manifest.snapshot)
        stack.enter_context(_full_at(target))
        tree = stack.enter_context(TargetTree(target))
        extras = None
        if options.delete and not tree.is_empty():
            zone = Zone(_roots(manifest, identity, options.paths), _own_places(reader))
            extras = Extras(moment, directories, tree, zone)
            # It has noted every name: a name that had gone from the index would be one to delete.
            check_unchanged(reader, manifest, moment)
        run = _Run(moment, Tally(moment, directories), tree, options, extras, deleted)
        if options.dry_run:
            return run.plan(manifest.snapshot)
        on_event(StepBegan(f"restore of {manifest.snapshot}", *totals(moment)))
        run.apply(Task(reader.at.store, identity, target, options.apply), on_event)
        return run.result(manifest.snapshot)


@contextlib.contextmanager
def _full_at(target: bytes) -> Iterator[None]:
    """Say which target it is that has no room."""
    try:
        yield
    except TargetFull as error:
        raise TargetFull(f"{os.fsdecode(target)}: {error.message}", hint=error.hint) from error


def _want(moment: Moment, directories: Tree, paths: Sequence[bytes]) -> None:
    if paths:
        choose(moment, directories, paths)
        want_chosen(moment)
    else:
        want_all(moment)


def _all_new(moment: Moment, snapshot: SnapshotId) -> Restored:
    count = sum(1 for _ in wanted_paths(moment))
    return Restored(snapshot, 0, (), {}, 0, {Fate.CREATE: count})


def _roots(manifest: Manifest, identity: Identity, paths: Sequence[bytes]) -> tuple[bytes, ...]:
    """What was backed up, and of it what is restored.  Raises UsageError for globs: what they leave out is no rubbish."""
    if any(is_glob(path) for path in paths):
        raise UsageError("--delete needs plain paths, not globs", hint="name the folders that are to be as they were")
    roots = decode_about(manifest.about, [identity]).paths
    if not paths:
        return roots
    chosen = [b"/" + b"/".join(part for part in path.split(b"/") if part) for path in paths]
    inside = [one for one in chosen if Zone(roots, ()).covers(one)]
    return (*inside, *(root for root in roots if Zone(tuple(chosen), ()).covers(root)))


def _own_places(reader: Reader) -> tuple[bytes, ...]:
    """What vaultpy needs to restore again: the store, where it is a folder, configuration and state."""
    places: list[Path] = []
    if isinstance(reader.at.store, LocalStore):
        places.append(reader.at.store.root)
    if reader.config is not None:
        state = state_paths(reader.config.state, reader.config.path)
        places += [reader.config.path, reader.config.state, state.copy]
    return tuple(os.fsencode(os.path.realpath(place)) for place in places)


class _Run:
    """One restore on its way."""

    def __init__(
        self,
        moment: Moment,
        tally: Tally,
        tree: TargetTree,
        options: RestoreOptions,
        extras: Extras | None,
        deleted: list[bytes],
    ) -> None:
        """`deleted`: the paths that went; more are added."""
        self._moment, self._tally, self._tree, self._options, self._extras = moment, tally, tree, options, extras
        self._owners = resolve_owners(owners(moment), options.apply.owner, OwnerNames())
        self._placer = Placer(options.apply)
        self._plan = Plan()
        self._deleted = deleted

    def plan(self, snapshot: SnapshotId) -> Restored:
        """What `apply` would do."""
        self._plan = self._compare(None)
        if self._extras is not None:
            for row in folders_deepest_first(self._moment, self._tally.directories.depth):
                self._deleted += [path for _, _, path in self._extras.find(row)]
        return self.result(snapshot)

    def apply(self, task: Task, on_event: OnEvent) -> None:
        """Make the target what the snapshot is."""
        fresh, alone = self._tree.is_empty(), self._tree.claim()
        dealer = Dealer(self._moment, self._tally, self._tree, self._owners, self._placer)
        if not fresh:
            if self._extras is not None:
                self._deleted += self._extras.clear_way()
            self._plan = self._compare(self._placer)
            self._deleted += self._plan.removed
            self._tally.files += sum(self._plan.fates[fate] for fate in (Fate.KEEP, Fate.MEND))
            dealer.linked.update(self._plan.linked)
        settle(self._moment)
        if not fresh:
            adopt_parts(self._moment, self._tally, self._tree, dealer)
        with Writers(task, _processes(self._options, *totals(self._moment))) as writers:
            _write(dealer, writers, self._tally, on_event)
        finisher = Finisher(self._moment, self._tally, self._tree, self._owners, self._options.apply)
        finisher.finish(dealer.linked, None if fresh else partial(self._tidy, alone))
        on_event(StepAdvanced(self._tally.files, self._tally.size))
        if self._options.verify:
            self._verify(on_event)

    def _verify(self, on_event: OnEvent) -> None:
        """Read back everything, and note what is not what it should be."""
        on_event(StepBegan("reading back", totals(self._moment)[0]))
        comparer = Comparer(self._moment, self._tally.directories, self._tree, self._owners, self._options.apply)
        for row in comparer.reread():
            if row.kind not in DEVICES or self._options.apply.privileges:
                self._tally.fail_id(row.id, "read back, it is not what was written")

    def result(self, snapshot: SnapshotId) -> Restored:
        tally = self._tally
        fates = dict(self._plan.fates)
        deleted = tuple(dict.fromkeys(self._deleted))
        return Restored(snapshot, tally.files, tuple(tally.failed), dict(tally.missed), tally.size, fates, deleted)

    def _compare(self, placer: Placer | None) -> Plan:
        directories = self._tally.directories
        comparer = Comparer(self._moment, directories, self._tree, self._owners, self._options.apply)
        plan = comparer.compare(self._options.overwrite, placer, self._extras)
        settle(self._moment)
        return plan

    def _tidy(self, alone: bool, row: FileAt) -> None:
        """Take away what a folder should not have; what looks like our rubbish may be in use where another restore runs."""
        if alone:
            parts = self._tally.directories.parts(row.directory_id)
            with contextlib.suppress(TargetError, DamageError):
                sweep(self._tree.open_dir((*parts, row.name) if row.name else parts, create=False))
        if self._extras is not None:
            self._deleted += self._extras.remove(row)


def _processes(options: RestoreOptions, files: int, size: int) -> int:
    if options.processes is not None:
        return options.processes
    cores = most_processes(usable_cores())
    return cores if cores > 1 and worth_processes(files, size) else 0


def _write(dealer: Dealer, writers: Writers, tally: Tally, on_event: OnEvent) -> None:
    reported = 0
    for outcome in writers.write(dealer.shares()):
        dealer.take(outcome)
        if tally.size - reported >= REPORT_BYTES:
            reported = tally.size
            on_event(StepAdvanced(tally.files, tally.size))
