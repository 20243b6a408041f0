"""`snapshot create`: the way of the data, from paths to a published snapshot.

survey the store → begin a run → walk and compare → take what changed → publish → look again
                                  └──────── again, for what the look found missing ────┘
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from vaultpy.config import SourceConfig
from vaultpy.errors import IndexDamaged, SourceError, StoreContradiction, UsageError, VaultpyError
from vaultpy.events import Noticed, OnEvent, ProblemMet, StepBegan
from vaultpy.index.db import Index
from vaultpy.index.live import Owners, root_directory
from vaultpy.index.record import Recorder
from vaultpy.index.reuse import Reuse, find_reuse, suspect_files
from vaultpy.index.runs import Run, begin_run, find_unmended, resume_run
from vaultpy.index.snapshots import Counts, SnapshotRow, State, ensure_source, find_snapshot
from vaultpy.lock import hold_lock
from vaultpy.model import Problem, SnapshotId, SourceId
from vaultpy.ops.making.changed import has_changed
from vaultpy.ops.making.commands import CommandSink, commands_of, with_commands, with_top
from vaultpy.ops.making.compare import Comparer, Sink, Tally
from vaultpy.ops.making.crew import Crew, count_workers
from vaultpy.ops.making.databases import DatabaseTaker, choose_databases
from vaultpy.ops.making.hooks import Hooks, Outcome, Status
from vaultpy.ops.making.mend import mend_snapshots
from vaultpy.ops.making.prepare import clear_scratch, database_scratch, open_or_make_index, own_things, prepare
from vaultpy.ops.making.publish import Draft, Lost, confirm, look_again, publish, publish_partial
from vaultpy.ops.making.put import Putter
from vaultpy.ops.making.scope import walk_options
from vaultpy.ops.making.seal import SealSettings
from vaultpy.ops.making.stream import Streams
from vaultpy.ops.making.take import Taker
from vaultpy.ops.making.vet import vet_roots
from vaultpy.ops.making.wire import Setup
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.ops.survey import usable_blobs
from vaultpy.ops.wrapped import load_wrapped_keys
from vaultpy.source.attrs import OwnerNames
from vaultpy.source.roots import Roots, plan_roots, read_from
from vaultpy.source.walk import Folder, walk
from vaultpy.vault import Vault

PROBLEMS_TOLD = 20
"""How many problems a hook is told of."""

MOST_BYTES = (1 << 63) - 1
"""What a count can say: two files that are a hole of 8 EiB each would be more."""

LOOKS = 3
"""How often a run stores anew what its second look found missing, before it gives the store up."""


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """`tags` are added to the source's own; `if_changed`: publish nothing when nothing changed; `wait_seconds`: for the
    lock of another run; `environment`: of the hooks and commands that a source names; `sighted`: the store may be
    listed, which a run finds out by itself."""

    tags: tuple[str, ...] = ()
    if_changed: bool = False
    wait_seconds: float = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    sighted: bool = True


@dataclass(frozen=True, slots=True)
class Created:
    """What became of one source; `snapshot` is None where nothing changed and `if_changed` was asked for, or on error, but
    for the error of a hook that came after it.  `left_out` are the host's own things inside the source; `seconds` is
    what it took."""

    source: str
    snapshot: SnapshotRow | None
    problems: tuple[Problem, ...] = ()
    left_out: tuple[bytes, ...] = ()
    skipped: int = 0
    unchanged: int = 0
    seconds: float = 0.0
    error: VaultpyError | None = None

    @property
    def exit_code(self) -> int:
        """0 done, 1 nothing made, 3 something could not be read; vanished and changed files are notes."""
        if self.error is not None:
            return 1 if isinstance(self.error, SourceError) else self.error.exit_code
        return 3 if any(not one.kind.is_note for one in self.problems) else 0


def create_snapshots(
    vault: Vault, sources: Sequence[SourceConfig], options: CreateOptions, on_event: OnEvent
) -> list[Created]:
    """Make a snapshot of each source.  A source that cannot be read does not stop the next one; a store or an index that
    fails stops the run, because everything after would fail too; only an index that is damaged is made anew, once.  Raises
    HeldLock, StoreError, IndexDatabaseError.
    """
    with hold_lock(vault.paths.lock, "snapshot create", clock=vault.clock, wait_seconds=options.wait_seconds):
        clear_scratch(vault)
        try:
            return _create_all(vault, sources, options, on_event)
        except IndexDamaged as error:
            on_event(Noticed(f"{error.message}: making it anew from the store", warning=True))
            rebuild_index(vault, [], on_event)
            return _create_all(vault, sources, options, on_event)


def _create_all(
    vault: Vault, sources: Sequence[SourceConfig], options: CreateOptions, on_event: OnEvent
) -> list[Created]:
    with open_or_make_index(vault, on_event) as index:
        options = replace(options, sighted=prepare(vault, index, on_event))
        made = [_create_or_note(vault, index, source, options, on_event) for source in sources]
        if options.sighted:
            mend_snapshots(vault, index, on_event)
        return made


def _create_or_note(
    vault: Vault, index: Index, source: SourceConfig, options: CreateOptions, on_event: OnEvent
) -> Created:
    began = time.monotonic()
    hooks = Hooks(source, options.environment, on_event)
    try:
        try:
            made = _create_one(vault, index, source, options, hooks.before(), on_event)
        except (SourceError, UsageError) as error:
            made = Created(source.name, None, error=error)
    except BaseException as error:
        # A full store, or a person who has seen enough: what was stopped for the snapshot has to be started again.
        hooks.end(Outcome(Status.FAILED, error=str(error) or "interrupted"))
        raise
    ended = hooks.end(_outcome(made))
    made = replace(made, problems=made.problems + ended.problems, error=made.error or ended.error)
    return replace(made, seconds=time.monotonic() - began)


def _outcome(made: Created) -> Outcome:
    if made.error is not None:
        return Outcome(Status.FAILED, error=made.error.message)
    whole = Status.UNCHANGED if made.snapshot is None else Status.COMPLETE
    status = Status.INCOMPLETE if made.exit_code else whole
    snapshot = None if made.snapshot is None else made.snapshot.id
    said = [f"{os.fsdecode(one.path)}: {one.kind}: {one.detail}" for one in made.problems if not one.kind.is_note]
    return Outcome(status, snapshot, "\n".join(said[:PROBLEMS_TOLD]))


def _create_one(
    vault: Vault,
    index: Index,
    source: SourceConfig,
    options: CreateOptions,
    told: Sequence[Problem],
    on_event: OnEvent,
) -> Created:
    """`told`: problems that were met, and told, before."""
    started = vault.clock()
    source_id, source_uuid = ensure_source(index, source.name, vault.host.id, started // 1_000_000, vault.random)
    place_of = read_from(source.read_from)
    roots = plan_roots(source.paths, one_file_system=source.one_file_system, place_of=place_of)
    problems = [*roots.problems, *vet_roots(index, source_id, roots)]
    if not source.commands and len({one.path for one in problems}) >= len(roots.roots) + len(roots.problems):
        raise SourceError(
            f"source {source.name}: none of its paths can be read ({_reasons(problems)})", hint="no snapshot was made"
        )
    for problem in problems:
        on_event(ProblemMet(problem))
    subject = _Subject(source, source_id, source_uuid, started)
    attempt = _Attempt(vault, index, subject, options, on_event)
    problems = [*told, *problems]
    roots = with_top(roots) if source.commands else roots
    unmended = find_unmended(index, source_id)
    if unmended is not None:
        return attempt.create(unmended[0], roots, problems, repairs=unmended[1])
    return attempt.create(begin_run(index, source_id, started // 1_000_000, vault.random), roots, problems)


def _reasons(problems: Iterable[Problem]) -> str:
    return "; ".join(sorted({f"'{os.fsdecode(one.path)}': {one.detail}" for one in problems}))


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a run is about: the source, as it is configured and as the index and the store know it, and when it began."""

    config: SourceConfig
    id: int
    uuid: SourceId
    started: int


class _Attempt:
    """One run over one source, until a second look is clean."""

    def __init__(
        self, vault: Vault, index: Index, subject: _Subject, options: CreateOptions, on_event: OnEvent
    ) -> None:
        self._vault, self._index, self._subject = vault, index, subject
        self._options, self._on_event = options, on_event
        self._last_partial = subject.started
        self._new_bytes = self._stored_bytes = 0
        self._wrapped = load_wrapped_keys(vault)

    def create(self, run: Run, roots: Roots, problems: list[Problem], repairs: SnapshotId | None = None) -> Created:
        """Until a second look is clean; each attempt after the first mends the one before, as the first mends `repairs`."""
        lost: frozenset[int] = frozenset()
        for _ in range(LOOKS):
            reuse = self._find_reuse(lost)
            tally, stored = self._take_all(run, roots, reuse)
            tally.problems[:0] = problems
            if self._options.if_changed and repairs is None and not has_changed(self._index, run, reuse):
                return self._result(None, tally)
            draft = self._draft(tally, repairs)
            snapshot = publish(self._vault, self._index, run, draft, reuse.blobs | stored)
            row = find_snapshot(self._index, snapshot)
            assert row is not None
            missing = self._look_again(row)
            confirm(self._index, snapshot, clean=not missing)
            if not missing:
                return self._result(replace(row, state=State.COMPLETE), tally)
            lost, repairs = lost | missing.blobs, snapshot
            self._on_event(Noticed(f"the store lost {len(missing.blobs)} objects meanwhile; storing them anew"))
            run = resume_run(self._index, run.no)
        raise StoreContradiction(
            f"store {self._vault.store.url} keeps losing what was just stored", hint="no snapshot of this run is whole"
        )

    def _look_again(self, row: SnapshotRow) -> Lost:
        if not self._options.sighted:
            return Lost(frozenset(), exports=False)
        return look_again(self._vault, self._index, row, self._subject.id)

    def _find_reuse(self, lost: frozenset[int]) -> Reuse:
        if self._vault.config.reuse_blind:
            present = frozenset(row[0] for row in self._index.rows("SELECT id FROM blobs")) - lost
        elif not self._options.sighted:
            present = frozenset()
        else:
            present = usable_blobs(self._vault.store, self._index, self._vault.clock()) - lost
        return find_reuse(self._index, self._vault.key.id, present)

    def _take_all(self, run: Run, roots: Roots, reuse: Reuse) -> tuple[Tally, frozenset[int]]:
        """Walk, compare, take: afterwards the index holds the source as it is, and all of it is durable.

        Returns what was met, and the ids of the blobs that were stored for it.
        """
        vault, index = self._vault, self._index
        self._on_event(StepBegan(f"snapshot of {self._subject.config.name}"))
        names = OwnerNames()
        owners = Owners(index, lambda uid, gid: (names.user(uid), names.group(gid)))
        recorder = Recorder(index, run, reuse, access_times=self._subject.config.access_times)
        comparer = Comparer(
            index, self._subject.id, owners, self._subject.config.compare, suspect_files(index, run, reuse.blobs)
        )
        putter = Putter(vault.store, vault.config.uploads, clock=vault.clock)
        taker = Taker(
            recorder,
            putter,
            owners,
            comparer.tally,
            key_id=vault.key.id,
            has_history=root_directory(index, self._subject.id) is not None,
            random=vault.random,
            clock=vault.clock,
            on_event=self._on_event,
            keep_alive=lambda: self._keep_alive(run, comparer.tally),
            birth_times=self._subject.config.birth_times,
            access_times=self._subject.config.access_times,
        )
        settings = SealSettings(vault.config.compression, vault.config.blob_size)
        setup = Setup((vault.key.recipient,), settings, vault.paths.scratch, self._subject.config.birth_times)
        workers = count_workers(vault.config.readers)
        crew = Crew(setup, workers, taker.take_part, putter.send, random=vault.random)
        options = walk_options(self._subject.config, own_things(vault.paths, vault.store, roots.place_of))
        # Leaving ends the putter first: a crew that still seals then hears at once that nobody takes its blobs.
        with closing(taker), crew, putter:
            taker.read_with(crew)
            streams = Streams(
                recorder,
                owners,
                comparer.tally,
                lambda hash, data: crew.here.sealer.add(hash, data),
                taker.folder_done,
                clock=vault.clock,
                on_event=self._on_event,
            )
            self._compare(comparer, taker, streams, self._tell(walk(roots, options)))
            taker.finish()
        self._new_bytes += taker.taken.new_bytes
        self._stored_bytes += taker.taken.stored_bytes
        return comparer.tally, recorder.stored

    def _compare(self, comparer: Comparer, taker: Taker, streams: Streams, folders: Iterator[Folder]) -> None:
        """Compare everything, databases and commands' outputs too, and have what changed taken."""
        source, vault = self._subject.config, self._vault
        databases = None
        if source.sqlite == "consistent":
            databases = DatabaseTaker(
                choose_databases(source.databases, source.paths, read_from(source.read_from)),
                database_scratch(vault),
                streams,
                by_ctime=source.compare not in ("no-ctime", "size-mtime"),
                birth_times=source.birth_times,
                access_times=source.access_times,
            )
        sink: Sink = taker
        if source.commands:
            commands = commands_of(source.commands, self._options.environment, source.name)
            folders = with_commands(folders, commands.commands, vault.clock())
            sink = CommandSink(taker, commands, streams)
        comparer.compare_all(folders, sink, databases)

    def _tell(self, folders: Iterator[Folder]) -> Iterator[Folder]:
        """The folders of a walk; what could not be looked at is told as it is met."""
        for folder in folders:
            for problem in folder.problems:
                self._on_event(ProblemMet(problem))
            yield folder

    def _keep_alive(self, run: Run, tally: Tally) -> None:
        """A long run says every quarter of the grace time which blobs it means to use."""
        now = self._vault.clock()
        if now - self._last_partial >= self._vault.at.settings.grace * 1_000_000_000 // 4:
            self._last_partial = now
            publish_partial(self._vault, self._index, run, self._draft(tally, None))

    def _draft(self, tally: Tally, repairs: SnapshotId | None) -> Draft:
        return Draft(
            source=self._subject.uuid,
            source_name=self._subject.config.name,
            host_name=os.uname().nodename,
            paths=self._subject.config.paths,
            tags=tuple(dict.fromkeys((*self._subject.config.tags, *self._options.tags))),
            started=self._subject.started,
            counts=Counts(tally.files, min(tally.bytes, MOST_BYTES), self._new_bytes, self._stored_bytes),
            problems=tuple(tally.problems),
            wrapped_keys=self._wrapped,
            repairs=repairs,
        )

    def _result(self, snapshot: SnapshotRow | None, tally: Tally) -> Created:
        return Created(
            self._subject.config.name,
            snapshot,
            tuple(tally.problems),
            tuple(tally.left_out),
            tally.skipped,
            tally.unchanged,
        )
