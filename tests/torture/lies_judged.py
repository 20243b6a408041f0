"""A lie about one call of an operation, and whether what the operation then says is true: for stores and for servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from campaigns import Case, Outcome
from lies_http import HttpLie
from lies_ops import CameBack, Claimed, Op
from lies_store import StoreLie
from machinevault import MachineVault, check_machine, ran
from scene import Scene, Wrong

from vaultpy.errors import VaultpyError
from vaultpy.model import SnapshotId
from vaultpy.ops.reading.findings import Depth
from vaultpy.store import names
from vaultpy.store.base import Store

SPOILING = frozenset({"lost", "bit flipped on the way", "cut on the way"})
"""Lies after which the store does not hold what was put: nothing but looking again can tell."""

NOT_DELETED = frozenset({"404 of the key", "404 without a word", "200 with a page", "200 with nothing"})
"""Answers to a deletion that are as good as done (a server may say 200, and what is not there is deleted); it is there all the
same."""

Lie = TypeVar("Lie", StoreLie, HttpLie)


@dataclass(frozen=True, slots=True)
class Told(Generic[Lie]):
    """One lie about the `hit`-th call of a verb that an operation makes; `lasting`: about all later ones, too."""

    op: Op
    verb: str
    hit: int
    lie: Lie
    lasting: bool

    @property
    def spoils(self) -> bool:
        """Whether the store then holds something else than it was told to, and nothing but looking again can tell."""
        return self.lie.name in SPOILING or (self.verb == "delete" and self.lie.name in NOT_DELETED)

    @property
    def case(self) -> Case:
        length = " and later" if self.lasting else ""
        return Case(self.op.name, f"{self.verb} {self.lie.name}", f"{self.hit}{length}")


@dataclass(frozen=True, slots=True)
class Before:
    """What there was before the lie: the sizes of the store's objects, and the snapshots that the operation may remove."""

    sizes: dict[str, int]
    may_go: set[SnapshotId]


def begin(scene: Scene, op: Op) -> Before:
    """The scene as the operation finds it."""
    scene.reset()
    op.prepare(scene)
    return Before({name: len(data) for name, (data, _) in scene.machine.memory.objects.items()}, op.may_go(scene))


def check_claim(vault: MachineVault, scene: Scene, told: Told, claimed: object, before: Before) -> Outcome:
    """Every invariant, with an honest store again."""
    damaged = judge(scene, told, claimed, before.may_go) | set(map(names.manifest_name, scene.mended()))
    return Outcome(check_machine(vault, scene, ran(told.op.name, claimed), before.sizes, damaged=damaged))


def claim(scene: Scene, op: Op, store: Store) -> object:
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
    spoiled = scene.spoiled() if told.spoils else frozenset()
    scene.check_index()
    with scene.reader() as reader:
        metadata = scene.catalog(reader).metadata
    gone = scene.told.keys() - metadata.manifests.keys()
    if gone - may_go:
        raise Wrong(f"I2 I10 snapshot {sorted(gone - may_go)[0]} was finished and is gone")
    for id in gone:
        del scene.told[id]
    broken = unreadable(scene) if told.spoils else set()
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
