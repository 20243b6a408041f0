"""What the machine found, once more, small."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from world import World, make_world

from vaultpy.events import ignore
from vaultpy.index.snapshots import SnapshotRow
from vaultpy.ops.catalog import read_catalog
from vaultpy.ops.create import CreateOptions, create_snapshots
from vaultpy.ops.restore import RestoreOptions, restore


@pytest.fixture
def world() -> Iterator[World]:
    made = make_world(3600 * 1_000_000_000)
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
