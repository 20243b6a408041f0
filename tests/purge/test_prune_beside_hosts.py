"""Purges and prunes against real runs: whatever falls between the steps of a run, its snapshot restores."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machine import DAY, HOUR, Died, Machine, fill, join_machine, look, make_machine
from spies import SpiedStore

from vaultpy.errors import DamageError
from vaultpy.ops.removing.prune import Pruned, apply_prune, plan_prune
from vaultpy.ops.removing.purge import apply_purge, plan_purge
from vaultpy.ops.removing.remove import apply_removal, plan_removal
from vaultpy.ops.removing.retention import Rules
from vaultpy.store import names


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = make_machine(tmp_path)
    fill(made.tree)
    return made


def prune(machine: Machine) -> Pruned:
    """As a keeper does it, past what watches the run."""
    reader = machine.reader(identity=False)
    unwatched = replace(reader, at=replace(reader.at, store=machine.memory))
    return apply_prune(machine.memory, plan_prune(unwatched), os.urandom)


def try_to_prune(machine: Machine) -> int:
    """Blobs deleted; none where the run stands between its signature and its manifest, which stops a prune."""
    try:
        return prune(machine).deleted.blobs
    except DamageError as error:
        assert "it has a signature and no manifest" in error.message
        return 0


def dies_before_publishing(machine: Machine) -> None:
    """A run that uploaded everything and dies: what it stored may be built on."""

    def before(verb: str, name: str) -> None:
        if verb == "put" and name.startswith(names.METADATA):
            raise Died

    machine.store.before = before
    with pytest.raises(Died):
        machine.create()
    machine.store.before = lambda verb, name: None
    machine.store.forget_calls()


@pytest.mark.parametrize("recorded_before", [False, True])
def test_prunes_anywhere_in_a_run_leave_a_snapshot_that_restores(machine: Machine, recorded_before: bool) -> None:
    """The run reuses what an earlier one uploaded and never published, which prunes take for rubbish: two of them before
    one of the run's calls, or the second alone."""
    dies_before_publishing(machine)
    machine.clock.advance(2 * DAY)
    if recorded_before:
        prune(machine)
        machine.clock.advance(DAY + HOUR)
    back = machine.keep()
    deleted = number = 0
    made = 1
    while number <= made:
        calls = itertools.count()

        def before(verb: str, name: str, at: int = number, calls: Iterator[int] = calls) -> None:
            nonlocal deleted
            if next(calls) == at:
                if not recorded_before:
                    try_to_prune(machine)
                    machine.clock.advance(DAY + HOUR)
                deleted += try_to_prune(machine)

        machine.store.before = before
        machine.snapshot()
        made = next(calls)
        machine.store.before = lambda verb, name: None
        assert machine.comes_back(), number
        machine.clock.advance(DAY + HOUR)
        prune(machine)
        assert machine.comes_back(), number
        back()
        number += 1
    assert number > 10
    assert deleted > 0


def test_a_host_that_publishes_all_the_time_stops_no_prune_of_its_own(machine: Machine) -> None:
    """What its index came to know after the store was listed, the listing cannot show."""
    machine.snapshot()
    store = SpiedStore(machine.memory, dict.fromkeys(range(30), (machine.snapshot,)))
    with machine.index() as index:
        reader = machine.reader(identity=False)
        plan = plan_prune(replace(reader, at=replace(reader.at, store=store), index=index))
    assert plan.manifests > 1


def test_every_other_of_many_snapshots_goes_and_each_that_is_left_restores(machine: Machine) -> None:
    trees = {}
    for number in range(12):
        (machine.tree / f"folder{number % 2}" / f"file{number % 6}").write_bytes(os.urandom(20_000))
        made = machine.snapshot()
        trees[made.id] = machine.restore()
        machine.clock.advance(2 * HOUR)
    going = [str(id) for id in list(trees)[:-1:2]]
    reader = machine.reader()
    apply_removal(reader, plan_removal(machine.catalog(), going, force=False), os.urandom)
    machine.clock.advance(DAY + HOUR)
    recorded = prune(machine).recorded
    machine.clock.advance(DAY + HOUR)
    assert prune(machine).deleted == recorded
    assert recorded.exports
    left = machine.catalog().entries
    assert len(left) == 6
    for entry in left:
        restored = machine.restore(entry)
        assert look(restored) == look(trees[entry.id])


def test_a_host_goes_on_after_others_purged_and_pruned(machine: Machine) -> None:
    for _ in range(4):
        (machine.tree / "folder0" / "file0").write_bytes(os.urandom(20_000))
        machine.snapshot()
        machine.clock.advance(DAY)
    reader = machine.reader()
    plan = plan_purge(machine.catalog(), Rules(latest=True), machine.memory.clock())
    assert apply_purge(reader, plan, os.urandom).stopped is None
    for _ in range(3):
        machine.clock.advance(DAY + HOUR)
        prune(machine)
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.comes_back()
    assert machine.store.uploaded < 20_000
    assert len(machine.catalog().entries) == 2


def test_names_are_known_with_an_identity_and_tags_are_honoured(machine: Machine, tmp_path: Path) -> None:
    tagged = machine.snapshot(tags=("keep",))
    machine.snapshot()
    newest = machine.snapshot()
    (tmp_path / "other").mkdir()
    other = join_machine(tmp_path / "other", machine.clock, machine.memory, machine.identity)
    fill(other.tree)
    other.snapshot()
    now = machine.memory.clock()
    plan = plan_purge(machine.catalog(), Rules(tags=("keep",)), now, "home")
    kept = {one.entry.id for one in plan.sources[0].verdicts if one.keep}
    assert kept == {tagged.id, newest.id}
