"""A machine with a history, for campaigns that need thousands of it: made once, brought back before every case.

The store is in memory, the files and the index are real.  What every snapshot has to give back is known, so that after a
case each can be compared; `settle` then lets the machine go on with an honest store and asks for the result of a run
without faults (I5).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import blake3

sys.path.insert(0, str(Path(__file__).parents[1] / "create"))

from machine import HOUR, Died, Machine, look, make_machine, recipient_of
from recoverer import Tree
from smallvault import look as look_plainly

from vaultpy.config import SourceConfig
from vaultpy.errors import DamageError, IndexBehind, VaultpyError
from vaultpy.events import ignore
from vaultpy.index.db import open_index
from vaultpy.lock import hold_lock
from vaultpy.manifest import Manifest, decode, hash_bytes
from vaultpy.model import SnapshotId
from vaultpy.ops.checking.verify import VerifyRequest, verify
from vaultpy.ops.making.create import CreateOptions, create_snapshots
from vaultpy.ops.reading.catalog import Catalog, Entry, read_catalog
from vaultpy.ops.reading.findings import Depth, Finding
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.ops.removing.needs import Pardon
from vaultpy.ops.removing.prune import PruneOptions, apply_prune, plan_prune
from vaultpy.ops.restoring.restore import Restored, RestoreOptions, restore
from vaultpy.source.apply import ApplyOptions
from vaultpy.store import names
from vaultpy.store.base import ObjectInfo, Store
from vaultpy.store.identity import decode_store_config
from vaultpy.vault import OpenStore

Look = dict[str, tuple[object, ...]]

GRACE = 24 * HOUR


class Wrong(AssertionError):
    """An invariant does not hold; says which and how."""


@dataclass
class Scene:
    """`told`: what each snapshot that was said to be finished holds, by source; `decided`: the same for those that a run
    decided and died over, which any later run may publish; `plain`: those of `tree` as the recoverer sees them;
    `earlier`: what the store listed before the newest snapshots."""

    machine: Machine
    told: dict[SnapshotId, tuple[str, Look]] = field(default_factory=dict)
    decided: dict[SnapshotId, tuple[str, Look]] = field(default_factory=dict)
    plain: dict[SnapshotId, Tree] = field(default_factory=dict)
    earlier: tuple[ObjectInfo, ...] = ()
    _back: Callable[[], None] = lambda: None

    @property
    def sources(self) -> list[SourceConfig]:
        return [SourceConfig(name, (os.fsencode(self.machine.folder / name),)) for name in ("tree", "other")]

    @property
    def store(self) -> Store:
        return self.machine.vault.store

    def folder_of(self, source: str) -> Path:
        return self.machine.folder / source

    def looks(self) -> dict[str, Look]:
        return {one.name: look(self.folder_of(one.name)) for one in self.sources}

    def create(self, *names: str) -> list[SnapshotId]:
        """One run that has to end well; what it made is noted."""
        looks, plain = self.looks(), look_plainly(self.machine.tree)
        chosen = [one for one in self.sources if not names or one.name in names]
        self.machine.clock.advance(60 * 1_000_000_000)
        made = create_snapshots(self.machine.vault, chosen, CreateOptions(), ignore)
        for one in made:
            if one.exit_code != 0 or one.snapshot is None:
                raise Wrong(f"I5 an honest run failed: {one.error or one.problems}")
            self.told[one.snapshot.id] = (one.source, looks[one.source])
            if one.source == "tree":
                self.plain[one.snapshot.id] = plain
        return [one.snapshot.id for one in made if one.snapshot]

    def keep(self) -> None:
        """From now on `reset` brings this moment back: store, index, clock, and what was told."""
        machine_back, told, vault = self.machine.keep(), dict(self.told), self.machine.vault

        def back() -> None:
            machine_back()
            self.told, self.decided = dict(told), {}
            self.machine.vault = vault
            self.machine.store.inner = self.machine.memory

        self._back = back

    def reset(self) -> None:
        self._back()

    def reopen(self) -> None:
        """Read vaultpy.json again, as every command does when it begins."""
        data = self.store.get(names.CONFIG)
        at = OpenStore(self.store, decode_store_config(data), hash_bytes(data))
        self.machine.vault = replace(self.machine.vault, at=at)

    @contextmanager
    def reader(self, *, here: bool = False) -> Iterator[Reader]:
        """What another machine has; `here`: with the host's own index and secrets, too."""
        elsewhere = self.machine.reader()
        if here and self.machine.vault.paths.index.exists():
            with open_index(self.machine.vault.paths.index, read_only=True) as index:
                vault = self.machine.vault
                yield replace(elsewhere, config=vault.config, host=vault.host, index=index)
        else:
            yield elsewhere

    def restore(self, entry: Entry, reader: Reader) -> tuple[Restored, Path]:
        """Restore into a new folder, whatever comes of it."""
        target = self.machine.folder / "back"
        shutil.rmtree(target, ignore_errors=True)
        options = RestoreOptions(apply=ApplyOptions(privileges=True))
        return restore(reader, entry, os.fsencode(target), options, ignore), target

    def check_restored(self, restored: Restored, target: Path) -> None:
        """I6: what came back is what was there, but for paths that the result names; nothing damaged has its name."""
        source, expected = self.told[restored.snapshot]
        top = self.folder_of(source)
        found = look(target / top.relative_to("/"))
        failed = {os.fsdecode(path) for path, _ in restored.failed}
        for path, was in expected.items():
            absolute = os.path.normpath(top / path)
            if absolute in failed:
                if path in found and found[path][-1] is not None:
                    raise Wrong(f"I6 {absolute} is named as failed, and lies there")
            elif found.get(path) != was and not _has_failed_below(failed, absolute, found.get(path), was):
                raise Wrong(f"I6 {absolute} came back as {found.get(path)}, was {was}")
        strangers = found.keys() - expected.keys()
        if strangers:
            raise Wrong(f"I6 {sorted(strangers)[0]} came back and never was")
        leftovers = list(target.rglob(".vaultpy-*"))
        if leftovers:
            raise Wrong(f"I6 {leftovers[0]} was left behind")

    def check_comes_back(self, id: SnapshotId, *, here: bool, spoiled: frozenset[str] = frozenset()) -> None:
        """I6, I8: a snapshot restores whole, or loses exactly the files that need something spoiled."""
        with self.reader(here=here) as reader:
            entries = [one for one in read_catalog(reader).entries if one.id == id]
            if not entries:
                raise Wrong(f"I2 snapshot {id} is not there any more")
            try:
                restored, target = self.restore(entries[0], reader)
            except VaultpyError as error:
                raise Wrong(f"I6 snapshot {id} does not restore: {error.message}") from error
        self.check_restored(restored, target)
        if restored.failed and not spoiled:
            raise Wrong(f"I6 snapshot {id}: {restored.failed[0]}")

    def spoiled(self) -> frozenset[str]:
        """Blobs whose bytes are not those of their names."""
        objects = self.machine.memory.objects
        return frozenset(
            name
            for name, (data, _) in objects.items()
            if (hash := names.parse_blob_name(name)) is not None and blake3.blake3(data).digest() != hash
        )

    def bad_exports(self) -> set[str]:
        """Exports that are not those that their manifests name: what nobody names was spoiled, and read back at once."""
        needed = {names.export_name(ref.id) for one in self.manifests() for ref in one.exports}
        return {name for name in self.machine.objects(names.METADATA) if name.endswith(".age")} - needed

    def verify(self, depth: Depth, *, here: bool = False) -> tuple[Finding, ...]:
        with self.reader(here=here) as reader:
            return verify(reader, VerifyRequest(every=True, depth=depth), ignore).findings

    def rebuild(self) -> None:
        vault = self.machine.vault
        with hold_lock(vault.paths.lock, "torture", clock=vault.clock):
            rebuild_index(vault, [], ignore)

    def settle(self) -> None:
        """I4, I5: with an honest store the next run needs nobody, and everything is as if nothing had happened."""
        self.machine.store.inner = self.machine.memory
        self.check_index()
        try:
            self.create()
        except IndexBehind:  # a listing without it had an index rebuilt; the message says to do it again
            self.rebuild()
            self.create()
        self.check_index()
        # The older ones come back by plain tools in each check of the invariants, and `verify` opens all.
        for id in self.newest():
            self.check_comes_back(id, here=False)
            self.check_comes_back(id, here=True)
        findings = self.verify(Depth.OPENED)
        if findings:
            raise Wrong(f"I7 after an honest run: {findings[0]}")

    def newest(self) -> list[SnapshotId]:
        """The newest of each source that was told."""
        with self.reader() as reader:
            entries = read_catalog(reader).entries
        found = {one.source: one.id for one in entries}
        return [id for id in found.values() if id in self.told]

    def check_index(self) -> None:
        """I4: the index is sound, whatever happened."""
        if self.machine.vault.paths.index.exists():
            if self.machine.rows("PRAGMA integrity_check") != [("ok",)]:
                raise Wrong("I4 the index is not sound")
            if self.machine.rows("PRAGMA foreign_key_check"):
                raise Wrong("I4 the index has a dangling key")

    def collect(self) -> None:
        """I5: two prunes, a grace and a bit apart each, leave nothing but what some manifest names."""
        with self.reader() as reader:
            for _ in range(3):
                self.machine.clock.advance(GRACE + HOUR)
                half = read_catalog(reader).broken
                pardon = Pardon(given_up=frozenset(one.id for one in half))
                apply_prune(self.store, plan_prune(reader, PruneOptions(pardon=pardon)), os.urandom)
        blobs = self.machine.objects(names.BLOBS)
        orphans, lacking = blobs - self.needed_blobs(), self.needed_blobs(mended=False) - blobs
        if orphans or lacking:
            raise Wrong(f"I5 prune leaves {len(orphans)} orphans, I10 lacks {len(lacking)} blobs that are named")

    def catalog(self, reader: Reader) -> Catalog:
        return read_catalog(reader)

    def needed_blobs(self, *, mended: bool = True) -> set[str]:
        """What the manifests in the store name; `mended`: also those that another repairs, of which something was lost."""
        hidden = set() if mended else self.mended()
        return {
            names.blob_name(ref.hash) for one in self.manifests() if one.snapshot not in hidden for ref in one.blobs
        }

    def mended(self) -> set[SnapshotId]:
        """Snapshots in whose place another stands."""
        return {one.repairs for one in self.manifests() if one.repairs is not None}

    def manifests(self) -> list[Manifest]:
        """Those that can be read; verify names the others."""
        found = []
        for name, (data, _) in self.machine.memory.objects.items():
            with suppress(DamageError):
                if names.parse_manifest_name(name) is not None:
                    found.append(decode(data))
        return found


def _has_failed_below(failed: set[str], path: str, found: tuple[object, ...] | None, was: tuple[object, ...]) -> bool:
    """A folder whose file did not come back has another time, or is the folder that did not."""
    return found is not None and was[-1] is None and any(one.startswith(path.rstrip("/") + "/") for one in failed)


def make_scene(folder: Path) -> Scene:
    """A machine with two sources, of which one has three snapshots; some of the store is shared, some is nobody's."""
    machine = make_machine(folder)
    machine.configure(blob_size=1 << 18)
    scene = Scene(machine)
    (folder / "other").mkdir()
    (folder / "other" / "alone").write_bytes(b"of another source")
    tree = machine.tree
    (tree / "folder").mkdir()
    (tree / "folder" / "small").write_bytes(b"small " * 50)
    (tree / "folder" / "large").write_bytes(os.urandom(200_000))
    (tree / "folder" / "empty").write_bytes(b"")
    (tree / "link").symlink_to("folder/small")
    os.link(tree / "folder" / "small", tree / "second name")
    scene.create()
    (tree / "folder" / "more").write_bytes(os.urandom(3000))
    scene.create("tree")
    (tree / "folder" / "more").unlink()
    (tree / "late").write_bytes(os.urandom(5000))
    scene.earlier = tuple(machine.memory.list(""))
    scene.create()
    return scene


def change_tree(scene: Scene) -> None:
    """What the next run finds: something new, something changed, something gone."""
    tree = scene.machine.tree
    (tree / "new").write_bytes(os.urandom(7000))
    (tree / "late").write_bytes(os.urandom(6000))
    (tree / "folder" / "empty").unlink()


__all__ = [
    "GRACE",
    "HOUR",
    "Died",
    "Look",
    "Scene",
    "Wrong",
    "change_tree",
    "make_machine",
    "make_scene",
    "recipient_of",
]
