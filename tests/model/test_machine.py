"""vaultpy against a model, in any order: change files, make snapshots, restore, purge, prune, verify, lose things, die.

After each step the store must give back every snapshot as the model has it, and the index must be sound.
VAULTPY_MODEL_EXAMPLES makes the search longer (the default takes some 15 seconds; 1000 take a quarter of an hour).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from world import ANCHOR, HOUR, SOURCES, Died, Known, World, content, look, make_world, paths_below

from vaultpy.errors import DamageError, IndexBehind
from vaultpy.events import ignore
from vaultpy.lock import hold_lock
from vaultpy.model import SnapshotId
from vaultpy.ops.checking.verify import VerifyRequest, verify
from vaultpy.ops.making.create import Created, CreateOptions, create_snapshots
from vaultpy.ops.reading.catalog import read_catalog
from vaultpy.ops.reading.findings import Depth
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.ops.removing.needs import Pardon
from vaultpy.ops.removing.prune import PruneOptions, apply_prune, plan_prune
from vaultpy.ops.removing.purge import apply_purge, plan_purge
from vaultpy.ops.removing.remove import apply_removal, plan_removal
from vaultpy.ops.removing.retention import Rules
from vaultpy.ops.restoring.restore import RestoreOptions, restore
from vaultpy.source.apply import ApplyOptions

EXAMPLES = int(os.environ.get("VAULTPY_MODEL_EXAMPLES", "15"))
NAMES = [b"one", b"two", b"three", b"with\nnewline", b"not utf-8 \xff"]
SIZES = [0, 1, 300, 300, 70_000, 300_000, 1_500_000]

numbers = st.integers(0, 50)
names = st.sampled_from(NAMES)
contents = st.tuples(st.integers(0, 3), st.sampled_from(SIZES))
hours = st.sampled_from([1, 7, 25, 30, 49])
chosen_sources = st.sampled_from([("a",), ("b",), SOURCES])


class VaultMachine(RuleBasedStateMachine):
    """Files are real and so is their time; the vault's clock is ahead of it by as much as the rules say."""

    world: World

    @initialize(ahead=st.sampled_from([0, HOUR]))
    def begin(self, ahead: int) -> None:
        self.world = make_world(ahead)
        self.dirty = False

    # What happens to the files

    def pick(self, number: int, wanted: Callable[[str], bool]) -> str | None:
        """One of the paths that are there, never an anchor nor a source's own folder."""
        found = [
            os.fsdecode(path)
            for name in SOURCES
            for path in paths_below(os.fsencode(self.world.folder / name))
            if os.path.basename(path) != ANCHOR and wanted(os.fsdecode(path))
        ]
        return found[number % len(found)] if found else None

    def place(self, number: int, name: bytes) -> str:
        """A path that may or may not be there, in one of the folders that are."""
        tops = [str(self.world.folder / source) for source in SOURCES]
        below = self.pick(number // len(tops), is_folder)
        folder = below if below is not None and number % 3 else tops[number % len(tops)]
        return os.path.join(folder, os.fsdecode(name))

    @rule(where=numbers, name=names, what=contents)
    def write(self, where: int, name: bytes, what: tuple[int, int]) -> None:
        path = self.place(where, name)
        if not os.path.lexists(path) or is_file(path):
            Path(path).write_bytes(content(*what))

    @rule(which=numbers, more=contents)
    def append(self, which: int, more: tuple[int, int]) -> None:
        if (path := self.pick(which, is_file)) is not None:
            with open(path, "ab") as target:
                target.write(content(*more))

    @rule(which=numbers, share=st.integers(0, 4))
    def truncate(self, which: int, share: int) -> None:
        if (path := self.pick(which, is_file)) is not None:
            os.truncate(path, os.path.getsize(path) * share // 4)

    @rule(which=numbers, seed=st.integers(0, 3))
    def rewrite_and_back_date(self, which: int, seed: int) -> None:
        """The same size, the same mtime, the same inode: only ctime tells."""
        if (path := self.pick(which, is_file)) is not None:
            before = os.stat(path)
            with open(path, "r+b") as target:
                target.write(content(seed, before.st_size))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    @rule(which=numbers, where=numbers, name=names)
    def rename(self, which: int, where: int, name: bytes) -> None:
        path, target = self.pick(which, lambda path: True), self.place(where, name)
        if path is not None:
            with contextlib.suppress(OSError):  # into itself, or onto a folder
                os.rename(path, target)

    @rule(which=numbers)
    def delete(self, which: int) -> None:
        if (path := self.pick(which, lambda path: True)) is not None:
            shutil.rmtree(path) if is_folder(path) else os.unlink(path)

    @rule(which=numbers, where=numbers, name=names)
    def link(self, which: int, where: int, name: bytes) -> None:
        path, target = self.pick(which, is_file), self.place(where, name)
        if path is not None and not os.path.lexists(target):
            os.link(path, target)

    @rule(where=numbers, name=names)
    def symlink(self, where: int, name: bytes) -> None:
        with contextlib.suppress(FileExistsError):
            os.symlink(b"anywhere \xfe", os.fsencode(self.place(where, name)))

    @rule(where=numbers, name=names)
    def mkdir(self, where: int, name: bytes) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.place(where, name))

    @rule(which=numbers, mode=st.sampled_from([0o700, 0o750, 0o755]))
    def chmod(self, which: int, mode: int) -> None:
        if (path := self.pick(which, lambda path: not os.path.islink(path))) is not None:
            os.chmod(path, mode)

    @rule(which=numbers, seconds=st.sampled_from([-5_000_000_000, -1, 0, 1_000_000_000, 9_000_000_000]))
    def back_date(self, which: int, seconds: int) -> None:
        if (path := self.pick(which, lambda path: True)) is not None:
            os.utime(path, ns=(0, seconds * 1_000_000_000 + 1), follow_symlinks=False)

    @rule(ahead=hours)
    def pass_time(self, ahead: int) -> None:
        self.world.ahead += ahead * HOUR

    # What the host does

    @rule(sources=chosen_sources, if_changed=st.booleans())
    def create(self, sources: tuple[str, ...], if_changed: bool) -> None:
        looks = self.world.looks()
        self.take_in(self.run(sources, if_changed), looks)

    @rule(sources=chosen_sources, at=st.integers(1, 12))
    def create_and_die(self, sources: tuple[str, ...], at: int) -> None:
        """The process ends before a put, or the number of puts is never reached."""
        store, looks = self.world.store, self.world.looks()
        first = store.puts

        def die(number: int, name: str) -> None:
            if number >= first + at:
                raise Died

        store.before_put = die
        try:
            made = self.run(sources, False)
        except Died:
            note("died")
            if self.world.vault.paths.index.exists():
                self.world.note_decided(looks)
            self.dirty = True
        else:
            self.take_in(made, looks)
        finally:
            store.before_put = lambda number, name: None

    @rule(sources=chosen_sources, at=st.integers(1, 8), ahead=hours, prunes=st.integers(1, 2), purges=st.booleans())
    def create_beside_prunes(self, sources: tuple[str, ...], at: int, ahead: int, prunes: int, purges: bool) -> None:
        """Before one of the puts the machine sleeps, and a keeper prunes, or purges and prunes, meanwhile."""
        store, looks = self.world.store, self.world.looks()
        first = store.puts

        def meanwhile(number: int, name: str) -> None:
            if number == first + at:
                store.before_put = lambda number, name: None
                if purges:
                    self.purge_now(1, here=False)
                for _ in range(prunes):
                    self.world.ahead += ahead * HOUR
                    self.prune_now()

        store.before_put = meanwhile
        try:
            made = self.run(sources, False)
        finally:
            store.before_put = lambda number, name: None
        self.take_in(made, looks)

    def run(self, sources: tuple[str, ...], if_changed: bool) -> list[Created]:
        """A run; where the index is an old copy, it says so, and is rebuilt."""
        vault = self.world.vault
        configured = [vault.config.sources[name] for name in sources]
        options = CreateOptions(if_changed=if_changed)
        try:
            return create_snapshots(vault, configured, options, ignore)
        except IndexBehind:
            assert self.world.copies, "no old copy was brought back"
            note("index behind")
            self.rebuild()
            return create_snapshots(vault, configured, options, ignore)

    def take_in(self, made: list[Created], looks: dict[str, tuple[object, ...]]) -> None:
        for one in made:
            assert one.exit_code == 0, one
            expected = looks[one.source]
            if one.snapshot is None:
                self.adopt_decided()  # the run began by publishing what a dead one had decided
                known = self.world.newest(one.source)
                assert known is not None
                assert known.look == expected, "not seen as changed"
            else:
                self.world.told.add(one.snapshot.id)
                self.world.snapshots[one.snapshot.id] = Known(one.source, one.snapshot.seq, expected)
        self.dirty = True

    @precondition(lambda self: self.world.vault.paths.index.exists())
    @rule()
    def lose_the_index(self) -> None:
        self.world.vault.paths.index.unlink()

    @precondition(lambda self: self.world.vault.paths.index.exists() and len(self.world.copies) < 3)
    @rule()
    def keep_a_copy_of_the_index(self) -> None:
        self.world.keep_index()

    @precondition(lambda self: self.world.copies)
    @rule(which=numbers)
    def bring_back_an_old_index(self, which: int) -> None:
        shutil.copy(self.world.copies[which % len(self.world.copies)], self.world.vault.paths.index)

    @rule()
    def rebuild(self) -> None:
        vault = self.world.vault
        self.world.unclean()
        with hold_lock(vault.paths.lock, "test", clock=vault.clock):
            rebuilt = rebuild_index(vault, [], ignore)
        assert {id for id, _ in rebuilt.unreadable} <= self.world.unclean()
        with self.world.reader() as reader:
            assert rebuilt.snapshots == len(read_catalog(reader).metadata.manifests)

    @rule()
    def new_key(self) -> None:
        self.world.new_key()

    # What a keeper does

    @rule(keep=st.integers(1, 3), here=st.booleans())
    def purge(self, keep: int, here: bool) -> None:
        self.adopt_decided()
        self.purge_now(keep, here=here)
        self.dirty = True

    def purge_now(self, keep: int, *, here: bool) -> None:
        with self.world.reader(here=here) as reader:
            catalog = read_catalog(reader)
            plan = plan_purge(catalog, Rules(last=keep), reader.at.store.clock())
            purged = apply_purge(reader, plan, os.urandom)
        assert purged.removed.refused == ()
        # By the catalog, not the model: a run that is under way has published what it has not told yet.
        # What is flagged, as out of order or later than the store's clock, is neither counted nor removed (rule 8).
        expected = set()
        for source in {one.source for one in catalog.entries}:
            counted = (one for one in catalog.entries if one.source == source and one.flag is None)
            ids = sorted((one.started, one.seq, one.id) for one in counted)
            expected |= {id for _, _, id in ids[:-keep]}
        assert {one.id for one in plan.going} == expected
        assert expected <= set(purged.removed.snapshots)  # and what they repair
        for id in expected:
            self.world.snapshots.pop(id, None)

    @precondition(lambda self: self.world.snapshots)
    @rule(which=numbers)
    def remove(self, which: int) -> None:
        """Any but the newest of a source."""
        self.adopt_decided()
        with self.world.reader() as reader:
            entries = read_catalog(reader).entries
        newest = {
            max((one.flag is None, one.seq, one.id) for one in entries if one.source == source)[2]
            for source in {one.source for one in entries}
        }
        going = sorted(self.world.snapshots.keys() - newest)
        if going:
            chosen = going[which % len(going)]
            with self.world.reader() as reader:
                plan = plan_removal(read_catalog(reader), [str(chosen)], force=False)
                assert apply_removal(reader, plan, os.urandom).refused == ()
            del self.world.snapshots[chosen]
            self.dirty = True

    @rule(ahead=hours, give_up=st.booleans())
    def prune(self, ahead: int, give_up: bool) -> None:
        self.world.ahead += ahead * HOUR
        self.prune_now(give_up=give_up)
        self.dirty = True

    def prune_now(self, *, give_up: bool = False) -> None:
        """Stops only where a run died between a signature and its manifest, which a person may give up."""
        store = self.world.store
        with self.world.reader() as reader:
            try:
                plan = plan_prune(reader)
            except DamageError:
                half = self.half_there()
                assert half
                if not give_up:
                    return
                plan = plan_prune(reader, PruneOptions(pardon=Pardon(given_up=frozenset(half))))
            apply_prune(store, plan, os.urandom)

    def half_there(self) -> set[SnapshotId]:
        """Snapshots of which a run that died, or is under way, has put the signature alone."""
        with self.world.reader() as reader:
            metadata = read_catalog(reader).metadata
        return metadata.signatures.keys() - metadata.manifests.keys()

    @rule(depth=st.sampled_from(Depth), here=st.booleans())
    def look_closely(self, depth: Depth, here: bool) -> None:
        self.check_verify(depth, here=here)

    @precondition(lambda self: self.world.snapshots)
    @rule(which=numbers, part=numbers, here=st.booleans())
    def restore_a_part(self, which: int, part: int, here: bool) -> None:
        """One path, which stands for all below it."""
        id = sorted(self.world.snapshots)[which % len(self.world.snapshots)]
        known = self.world.snapshots[id]
        wanted = sorted(known.look[0])[part % len(known.look[0])]
        whole = os.path.normpath(os.path.join(os.fsencode(self.world.folder / known.source), wanted))
        back = self.restore(id, known.source, here=here, paths=(whole,))
        expected = {name: what for name, what in known.look[0].items() if is_below(name, wanted)}
        found = {name: what for name, what in back[0].items() if is_below(name, wanted)}
        assert found == expected

    # What must hold

    def adopt_decided(self) -> None:
        """What a run that died had decided may have been published since; then it is one more snapshot."""
        with self.world.reader() as reader:
            for entry in read_catalog(reader).entries:
                if entry.id in self.world.unclean():
                    self.world.snapshots.pop(entry.id, None)
                elif entry.id not in self.world.snapshots and entry.id in self.world.decided:
                    self.world.snapshots[entry.id] = self.world.decided[entry.id]

    def check_verify(self, depth: Depth, *, here: bool) -> None:
        half = self.half_there() | self.world.unclean()
        with self.world.reader(here=here) as reader:
            if not read_catalog(reader).entries:
                return
            found = verify(reader, VerifyRequest(every=True, depth=depth), ignore)
        assert [one for one in found.findings if not set(one.snapshots) <= half] == []
        assert found.unopened == found.unchecked == ()

    def restore(self, id: SnapshotId, source: str, *, here: bool, paths: tuple[bytes, ...] = ()) -> tuple[object, ...]:
        target = self.world.folder / "restored"
        with self.world.reader(here=here) as reader:
            (entry,) = (one for one in read_catalog(reader).entries if one.id == id)
            options = RestoreOptions(paths, ApplyOptions(privileges=True))
            back = restore(reader, entry, os.fsencode(target), options, ignore)
        assert back.failed == ()
        try:
            return look(target / (self.world.folder / source).relative_to("/"))
        finally:
            shutil.rmtree(target)

    @invariant()
    def every_snapshot_comes_back(self) -> None:
        """Where the store changed: on another machine, and with the host's index."""
        if not self.dirty:
            return
        self.dirty = False
        self.adopt_decided()
        with self.world.reader() as reader:
            catalog = read_catalog(reader)
        assert {one.id for one in catalog.entries} - self.world.unclean() == self.world.snapshots.keys()
        assert {one.id for one in catalog.broken} <= self.half_there()
        self.check_what_is_there()

    def check_what_is_there(self) -> None:
        for id in self.world.snapshots:
            for here in (False, True):
                self.check_comes_back(id, here=here)
        self.check_verify(Depth.OPENED, here=False)

    def check_comes_back(self, id: SnapshotId, *, here: bool) -> None:
        known = self.world.snapshots[id]
        assert self.restore(id, known.source, here=here) == known.look, (known.source, here)

    @invariant()
    def the_index_is_sound(self) -> None:
        if self.world.vault.paths.index.exists():
            assert self.world.rows("PRAGMA integrity_check") == [("ok",)]
            assert self.world.rows("PRAGMA foreign_key_check") == []

    def teardown(self) -> None:
        self.world.close()


def is_file(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)


def is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def is_below(path: bytes, top: bytes) -> bool:
    return top == b"." or path == top or path.startswith(top + b"/")


VaultMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestVault = VaultMachine.TestCase
