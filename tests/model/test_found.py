"""What the machine found, once more, small."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from world import HOUR, Died, World, make_world

from vaultpy.events import ignore
from vaultpy.index.snapshots import SnapshotRow
from vaultpy.lock import hold_lock
from vaultpy.ops.checking.verify import VerifyRequest, verify
from vaultpy.ops.making.create import CreateOptions, create_snapshots
from vaultpy.ops.reading.catalog import read_catalog
from vaultpy.ops.reading.findings import Depth
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.ops.removing.needs import Pardon
from vaultpy.ops.removing.prune import PruneOptions, apply_prune, plan_prune
from vaultpy.ops.removing.remove import apply_removal, plan_removal
from vaultpy.ops.restoring.restore import RestoreOptions, restore
from vaultpy.store import names


@pytest.fixture
def world() -> Iterator[World]:
    made = make_world(HOUR)
    yield made
    made.close()


def create(world: World, *sources: str) -> SnapshotRow:
    made = create_snapshots(world.vault, [world.vault.config.sources[one] for one in sources], CreateOptions(), ignore)
    assert all(one.exit_code == 0 for one in made)
    assert made[-1].snapshot is not None
    return made[-1].snapshot


def comes_back(world: World, snapshot: SnapshotRow, *, here: bool) -> bool:
    with world.reader(here=here) as reader:
        (entry,) = (one for one in read_catalog(reader).entries if one.id == snapshot.id)
        return restore(reader, entry, os.fsencode(world.folder / "back"), RestoreOptions(), ignore).failed == ()


@pytest.mark.parametrize("here", [True, False], ids=["with the host's index", "elsewhere"])
def test_a_snapshot_of_an_old_key_comes_back_after_its_chunks_were_stored_under_a_new_one(
    world: World, here: bool
) -> None:
    (world.folder / "a" / "large").write_bytes(os.urandom(3_000_000))
    first = create(world, "a")
    world.new_key()
    second = create(world, "a")
    assert comes_back(world, first, here=here)
    assert comes_back(world, second, here=here)


def rebuild(world: World) -> None:
    with hold_lock(world.vault.paths.lock, "test", clock=world.vault.clock):
        assert rebuild_index(world.vault, [], ignore).unreadable == ()


def test_an_index_is_rebuilt_where_another_source_stored_shared_chunks_anew(world: World) -> None:
    shared = os.urandom(3_000_000)
    for name in ("a", "b"):
        (world.folder / name / "large").write_bytes(shared)
    first = create(world, "a", "b")
    world.new_key()
    second = create(world, "b")
    rebuild(world)
    (world.folder / "a" / "new").write_bytes(b"new")
    third = create(world, "a")
    for snapshot in (first, second, third):
        assert comes_back(world, snapshot, here=True)
        assert comes_back(world, snapshot, here=False)


@pytest.mark.parametrize("rebuilt", [True, False], ids=["rebuilt", "as it was"])
def test_no_export_stands_on_chunks_that_moved_to_blobs_that_went(world: World, rebuilt: bool) -> None:
    """Another source moved them, was retired, and its blobs were pruned."""
    shared = os.urandom(3_000_000)
    for name in ("a", "b"):
        (world.folder / name / "large").write_bytes(shared)
    first = create(world, "a")
    world.new_key()
    create(world, "b")
    if rebuilt:
        rebuild(world)
    with world.reader() as reader:
        ids = [str(one.id) for one in read_catalog(reader).entries if one.id != first.id]
        apply_removal(reader, plan_removal(read_catalog(reader), ids, force=True), os.urandom)
        for _ in range(2):
            world.ahead += 25 * HOUR
            apply_prune(world.store, plan_prune(reader), os.urandom)
    (world.folder / "a" / "new").write_bytes(b"new")
    second = create(world, "a")
    for snapshot in (first, second):
        assert comes_back(world, snapshot, here=True)
        assert comes_back(world, snapshot, here=False)


@pytest.mark.parametrize("end", [".sig", ".zst"], ids=["signature", "manifest"])
def test_what_a_dead_run_decided_is_not_published_when_its_blobs_have_gone(world: World, end: str) -> None:
    (world.folder / "a" / "large").write_bytes(os.urandom(300_000))
    create(world, "a")
    (world.folder / "a" / "large").write_bytes(os.urandom(300_000))
    dying_at(world, lambda name: name.startswith(names.METADATA) and name.endswith(end), lambda: create(world, "a"))
    with world.reader() as reader:
        half = {one.id for one in read_catalog(reader).broken}
        for _ in range(2):
            world.ahead += 25 * HOUR
            plan = plan_prune(reader, PruneOptions(pardon=Pardon(given_up=frozenset(half))))
            apply_prune(world.store, plan, os.urandom)
            half.clear()
    (world.folder / "a" / "large").write_bytes(os.urandom(300_000))
    world.ahead += 200 * HOUR
    with world.reader() as reader:
        apply_prune(world.store, plan_prune(reader), os.urandom)
    create(world, "a")
    with world.reader() as reader:
        assert verify(reader, VerifyRequest(every=True, depth=Depth.OPENED), ignore).findings == ()


def dying_at(world: World, wanted: Callable[[str], bool], run: Callable[[], object]) -> None:
    """Run until an object is to be put; the process ends there."""

    def die(number: int, name: str) -> None:
        if wanted(name):
            raise Died

    world.store.before_put = die
    with pytest.raises(Died):
        run()
    world.store.before_put = lambda number, name: None


def test_a_snapshot_that_lost_something_between_two_looks_is_mended_by_the_next_run(world: World) -> None:
    """A dead run's snapshot is published by the next, which sleeps through two prunes just before its manifest."""
    create(world, "a")
    (world.folder / "a" / "large").write_bytes(os.urandom(300_000))
    dying_at(world, lambda name: name.endswith(".sig"), lambda: create(world, "a"))

    def sleep(number: int, name: str) -> None:
        world.store.before_put = lambda number, name: None
        with world.reader() as reader:
            for _ in range(2):
                world.ahead += 25 * HOUR
                apply_prune(world.store, plan_prune(reader), os.urandom)

    world.store.before_put = sleep
    create(world, "b")
    (lost,) = world.rows("SELECT id FROM snapshots WHERE state = 4")
    mended = create(world, "a")
    assert mended.repairs is not None and mended.repairs.bytes == lost[0]
    assert comes_back(world, mended, here=False)
    with world.reader() as reader:
        assert verify(reader, VerifyRequest(every=True, depth=Depth.OPENED), ignore).findings == ()
    assert create(world, "a").repairs is None
