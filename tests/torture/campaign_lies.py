"""Campaign 4, "The store lies": every lie, about the first, second, middle and last call of every verb of every operation.

While a store lies an operation may fail, with an error of vaultpy's own.  It may not say what is not so: a snapshot that
it calls finished is there and comes back, what it restored is what was backed up, it removes nothing but what it was told
to.  Afterwards, with an honest store, the next run needs no help and ends as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from campaigns import Campaign, Case, Outcome, Room, register
from lies_ops import OPS, CameBack, Claimed, Op
from lies_store import LIES, VERBS, LyingStore, StoreLie
from machinevault import MachineVault, check_machine, ran
from scene import Scene, Wrong, change_tree, make_scene

from vaultpy.errors import VaultpyError
from vaultpy.model import SnapshotId
from vaultpy.ops.reading.findings import Depth
from vaultpy.store import names

LASTING = frozenset({"away before", "denied before", "full", "contradiction", "not found", "stale", "without the last"})
"""Lies that are also told from one call on for good."""

SPOILING = frozenset({"lost", "bit flipped on the way", "cut on the way"})
"""Lies after which the store does not hold what was put: nothing but looking again can tell."""


@dataclass(frozen=True, slots=True)
class Told:
    """One lie about one call of an operation."""

    op: Op
    verb: str
    hit: int
    lie: StoreLie
    lasting: bool

    @property
    def case(self) -> Case:
        length = " and later" if self.lasting else ""
        return Case(self.op.name, f"{self.verb} {self.lie.name}", f"{self.hit}{length}")


@dataclass
class Stage:
    """What all cases share: the scene, the same in folders, and the lies by the names of their cases."""

    scene: Scene
    vault: MachineVault
    told: dict[Case, Told]


def prepare(room: Room) -> Stage:
    if "stage" not in room.kept:
        scene = make_scene(room.folder / "machine")
        change_tree(scene)
        scene.keep()
        told = {one.case: one for one in all_lies(scene)}
        room.kept["stage"] = Stage(scene, MachineVault(scene, room.folder / "seen"), told)
    stage: Stage = room.kept["stage"]
    return stage


def close(room: Room) -> None:
    if "stage" in room.kept:
        prepare(room).vault.close()


def all_lies(scene: Scene) -> Iterator[Told]:
    """Every lie about the first, second, middle and last call of every verb of every operation."""
    for op in OPS:
        calls = count_calls(scene, op)
        for verb in VERBS:
            count = calls.get(verb, 0)
            for hit in sorted({1, 2, (count + 1) // 2, count} & set(range(1, count + 1))):
                for lie in LIES:
                    if verb in lie.verbs:
                        yield Told(op, verb, hit, lie, False)
                        if lie.name in LASTING:
                            yield Told(op, verb, hit, lie, True)


def count_calls(scene: Scene, op: Op) -> dict[str, int]:
    """How often an operation asks what of an honest store."""
    scene.reset()
    op.prepare(scene)
    counting = LyingStore(scene.machine.memory)
    scene.machine.store.inner = counting
    op.run(scene)
    return dict(counting.seen)


def run_case(room: Room, case: Case) -> Outcome:
    stage = prepare(room)
    scene, told = stage.scene, stage.told[case]
    scene.reset()
    told.op.prepare(scene)
    before = {name: len(data) for name, (data, _) in scene.machine.memory.objects.items()}
    may_go = told.op.may_go(scene)
    store = LyingStore(scene.machine.memory)
    store.arm(told.verb, told.hit, told.lie, lasting=told.lasting)
    store.remember(scene.earlier)
    claimed = claim(scene, told.op, store)
    if not store.told:
        return Outcome(met=False)
    damaged = judge(scene, told, claimed, may_go) | set(map(names.manifest_name, scene.mended()))
    return Outcome(check_machine(stage.vault, scene, ran(told.op.name, claimed), before, damaged=damaged))


def claim(scene: Scene, op: Op, store: LyingStore) -> object:
    """What an operation says it has done, or the error of vaultpy's own that it ended with."""
    scene.machine.store.inner = store
    try:
        return op.run(scene)
    except VaultpyError as error:
        return error
    except AssertionError:
        raise
    except Exception as error:
        raise Wrong(f"I12 {type(error).__name__}: {error}") from error
    finally:
        scene.machine.store.inner = scene.machine.memory
        scene.machine.clock.advance(60 * 1_000_000_000)


def judge(scene: Scene, told: Told, claimed: object, may_go: set[SnapshotId]) -> set[str]:
    """Was what it said true, is everything that was finished still there, and does the next run get over it?  Returns the
    objects that the lie spoiled."""
    if isinstance(claimed, CameBack):
        scene.check_restored(claimed.restored, claimed.target)
    if isinstance(claimed, Claimed):
        scene.told |= {id: (source, claimed.looks[source]) for id, source in claimed.snapshots}
    spoiled = scene.spoiled() if told.lie.name in SPOILING else frozenset()
    scene.check_index()
    with scene.reader() as reader:
        metadata = scene.catalog(reader).metadata
    gone = scene.told.keys() - metadata.manifests.keys()
    if gone - may_go:
        raise Wrong(f"I2 I10 snapshot {sorted(gone - may_go)[0]} was finished and is gone")
    for id in gone:
        del scene.told[id]
    broken = unreadable(scene) if told.lie.name in SPOILING else set()
    if spoiled or broken:
        return judge_spoiled(scene, spoiled, broken, broken & may_go)
    scene.settle()
    scene.collect()
    return set()


def unreadable(scene: Scene) -> set[SnapshotId]:
    """Snapshots whose manifest was spoiled while it was put."""
    with scene.reader() as reader:
        return {one.id for one in scene.catalog(reader).broken}


def judge_spoiled(scene: Scene, spoiled: frozenset[str], broken: set[SnapshotId], removed: set[SnapshotId]) -> set[str]:
    """I7, I8: what the store spoiled while it was put is found, and costs no more than what needs it.  What was `removed` is
    looked for by nobody."""
    needed = spoiled & scene.needed_blobs(mended=False)
    found = {one.object for one in scene.verify(Depth.HASHED)}
    missing = (needed | {names.manifest_name(id) for id in broken - removed}) - found
    if missing:
        raise Wrong(f"I7 verify does not find {sorted(missing)[0]}")
    for id in scene.told.keys() - broken:
        scene.check_comes_back(id, here=False, spoiled=spoiled)
    return set(spoiled) | set(map(names.manifest_name, broken)) | scene.bad_exports()


LIES_CAMPAIGN = register(
    Campaign(
        number=4,
        name="lies",
        promise="a store that lies through its verbs makes vaultpy fail, never say what is not so, nor lose what was finished",
        cases=lambda room: list(prepare(room).told),
        run=run_case,
        sample=12,
        close=close,
    )
)
