"""A restore says before it begins what cannot come back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from machine import Machine

sys.path.insert(0, str(Path(__file__).parents[1] / "verify"))  # before its modules are imported below

from dataclasses import replace

from damage import check_at_home, flip, lose

from vaultpy.errors import StoreDenied
from vaultpy.events import Noticed, StepBegan
from vaultpy.index.db import open_index
from vaultpy.ops.reading.findings import Depth
from vaultpy.ops.restoring import foretell
from vaultpy.ops.restoring.restore import RestoreOptions, restore
from vaultpy.store import names


def said_before(machine: Machine) -> list[str]:
    """The warnings of the last restore, which have to come before its first step."""
    texts: list[str] = []
    for event in machine.events:
        if isinstance(event, StepBegan) and event.name.startswith("restore of"):
            return texts
        if isinstance(event, Noticed) and event.warning:
            texts.append(event.text)
    raise AssertionError("no restore began")


@pytest.mark.parametrize("few", [0, 64])
def test_each_file_that_a_lost_blob_costs_is_named_before_anything_is_written(
    machine: Machine, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foretell, "FEW", few)
    machine.snapshot()
    first = set(machine.objects(names.BLOBS))
    (machine.tree / "later").write_bytes(os.urandom(50_000))
    machine.snapshot()
    lose(machine, *(machine.objects(names.BLOBS) - first))
    machine.events.clear()
    back = machine.restore_to(machine.folder / "back")
    later = os.fsencode(machine.tree / "later")
    assert [path for path, _ in back.failed] == [later]
    assert said_before(machine) == [
        "1 files cannot come back whole, as 1 of the store's blobs are missing or bad; the rest is restored",
        f"will be missing: {os.fsdecode(later)}",
    ]


def test_nothing_is_said_where_all_is_there_or_what_is_lost_is_not_wanted(machine: Machine) -> None:
    machine.snapshot()
    first = set(machine.objects(names.BLOBS))
    (machine.tree / "later").write_bytes(os.urandom(50_000))
    machine.snapshot()
    machine.events.clear()
    assert machine.restore_to(machine.folder / "whole").failed == ()
    assert said_before(machine) == []
    lose(machine, *(machine.objects(names.BLOBS) - first))
    machine.events.clear()
    options = RestoreOptions(paths=(os.fsencode(machine.tree / "folder0"),))
    target = os.fsencode(machine.folder / "part")
    assert restore(machine.reader(), machine.newest(), target, options, machine.events.append).failed == ()
    assert said_before(machine) == []


def test_what_a_verification_found_bad_is_said_on_the_host_itself(machine: Machine) -> None:
    machine.snapshot()
    (blob,) = machine.objects(names.BLOBS)
    flip(machine, blob, -1)
    check_at_home(machine, Depth.HASHED)
    machine.events.clear()
    with open_index(machine.vault.paths.index, read_only=True) as index:
        reader = replace(machine.reader(), config=machine.vault.config, host=machine.vault.host, index=index)
        target = os.fsencode(machine.folder / "back")
        restore(reader, machine.newest(), target, RestoreOptions(), machine.events.append)
    assert said_before(machine)[0].startswith("6 files cannot come back whole")


def test_who_may_not_list_the_store_restores_all_the_same(machine: Machine) -> None:
    machine.snapshot()
    newest, reader = machine.newest(), machine.reader()

    def before(verb: str, name: str) -> None:
        if verb in ("list", "stat") and name.startswith("blobs/"):
            raise StoreDenied("access denied")

    machine.store.before = before
    back = restore(reader, newest, os.fsencode(machine.folder / "back"), RestoreOptions(), machine.events.append)
    assert back.failed == ()
