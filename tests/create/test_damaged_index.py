"""An index that cannot be read any more is made anew by the run that meets it; what was uploaded is known again."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from machine import Machine

from vaultpy.errors import IndexBehind
from vaultpy.events import Noticed, ignore
from vaultpy.index.checks import damaged_objects
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.store import names


def told(machine: Machine) -> list[str]:
    return [event.text for event in machine.events if isinstance(event, Noticed) and event.warning]


def rubbish(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def spoilt_inside(path: Path) -> None:
    """The header and the schema are right, everything after is not: opening it shows nothing."""
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) - 4096))


@pytest.mark.parametrize("spoil", [rubbish, cut, emptied, spoilt_inside])
def test_a_damaged_index_is_made_anew_and_only_what_changed_is_uploaded(machine: Machine, spoil: object) -> None:
    machine.snapshot()
    machine.snapshot()
    assert callable(spoil)
    spoil(machine.vault.paths.index)
    (machine.tree / "new").write_bytes(os.urandom(100))
    machine.events.clear()
    machine.store.forget_calls()
    machine.snapshot()
    assert any("anew from the store" in text for text in told(machine))
    assert len(machine.store.names_of("put", names.BLOBS)) == 1
    assert machine.store.uploaded < 30_000
    assert machine.comes_back()
    assert len(machine.catalog().entries) == 3
    assert machine.vault.paths.index.with_name("index.sqlite.old").exists()


def test_an_old_copy_of_the_index_is_noticed_and_a_rebuild_brings_it_back(machine: Machine) -> None:
    machine.snapshot()
    old = machine.vault.paths.index.read_bytes()
    (machine.tree / "new").write_bytes(os.urandom(100))
    machine.snapshot()
    machine.vault.paths.index.write_bytes(old)
    with pytest.raises(IndexBehind, match="does not know 1 snapshots"):
        machine.create()
    rebuild_index(machine.vault, [], ignore)
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.store.names_of("put", names.BLOBS) == []
    assert machine.comes_back()


def test_a_rebuild_takes_over_what_verifications_found(machine: Machine) -> None:
    """Else the next run would build on what is known to be bad."""
    machine.snapshot()
    with machine.index() as index, index.transaction():
        index.run("INSERT INTO checks VALUES (?, 5, 'changed', 7)", (bytes(32),))
    rebuild_index(machine.vault, [], ignore)
    with machine.index() as index:
        assert [(one.read_at, one.damage, one.found_at) for one in damaged_objects(index)] == [(5, "changed", 7)]


@pytest.mark.parametrize("end", [0, -1])
def test_an_export_that_was_cut_costs_a_rebuild_its_snapshots_and_no_run(machine: Machine, end: int) -> None:
    machine.snapshot()
    (export,) = (name for name in machine.objects(names.METADATA) if name.endswith("db.zst.age"))
    data, modified = machine.memory.objects[export]
    machine.memory.objects[export] = data[:end], modified
    rebuilt = rebuild_index(machine.vault, [], ignore)
    assert [(str(snapshot), "bytes, not" in why) for snapshot, why in rebuilt.unreadable] == [
        (export.split("/")[1], True)
    ]
    machine.snapshot()
    assert machine.comes_back()
