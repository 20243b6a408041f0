"""Campaign 4, "The store lies": every lie, about the first, second, middle and last call of every verb of every operation.

While a store lies an operation may fail, with an error of vaultpy's own.  It may not say what is not so: a snapshot that
it calls finished is there and comes back, what it restored is what was backed up, it removes nothing but what it was told
to.  Afterwards, with an honest store, the next run needs no help and ends as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from campaigns import Campaign, Case, Outcome, Room, register
from lies_judged import Told, begin, check_claim, claim
from lies_ops import OPS, Op
from lies_store import LIES, VERBS, LyingStore
from machinevault import MachineVault
from scene import Scene, change_tree, make_scene

LASTING = frozenset({"away before", "denied before", "full", "contradiction", "not found", "stale", "without the last"})
"""Lies that are also told from one call on for good."""


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
    before = begin(scene, told.op)
    store = LyingStore(scene.machine.memory)
    store.arm(told.verb, told.hit, told.lie, lasting=told.lasting)
    store.remember(scene.earlier)
    claimed = claim(scene, told.op, store)
    if not store.told:
        return Outcome(met=False)
    return check_claim(stage.vault, scene, told, claimed, before)


LIES_CAMPAIGN = register(
    Campaign(
        number=4,
        name="lies",
        promise="a store that lies through its verbs makes vaultpy fail, never say what is not so, nor lose what was finished",
        cases=lambda room: list(prepare(room).told),
        run=run_case,
        wanted=1100,
        sample=12,
        close=close,
    )
)
