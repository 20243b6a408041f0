"""A program that is one file, or lies inside another, has no Python to start: it does everything itself."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from machine import look
from restoring import Site

from vaultpy.ops.checking import crew as lookers
from vaultpy.ops.making import crew
from vaultpy.ops.restoring import restore as restoring
from vaultpy.source.apply import ApplyOptions
from vaultpy.store.local import LocalStore


@pytest.fixture(params=["frozen", "embedded"])
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of many cores, and a program that can start nothing."""
    for module in (crew, restoring, lookers):
        monkeypatch.setattr(module, "usable_cores", lambda: 16)
    monkeypatch.setattr(crew, "START_FILES", 0)
    monkeypatch.setattr(restoring, "worth_processes", lambda files, size: True)
    monkeypatch.setattr(subprocess, "Popen", None)
    if request.param == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.setattr(sys, "executable", "")


@pytest.mark.usefixtures("alone")
def test_it_snapshots_restores_and_verifies_in_its_own_process(site: Site, tmp_path: Path) -> None:
    machine = site.machine
    assert crew.count_workers(None) == crew.count_workers(8) == 0
    machine.snapshot()
    (tmp_path / "store").mkdir()
    store = LocalStore(tmp_path / "store")
    for info in machine.memory.list(""):
        store.put(info.name, machine.memory.get(info.name))
    reader = machine.reader()
    reader = replace(reader, at=replace(reader.at, store=store))
    target = tmp_path / "back"
    options = restoring.RestoreOptions((), ApplyOptions())
    made = restoring.restore(reader, machine.newest(), os.fsencode(target), options, lambda event: None)
    assert made.failed == ()
    assert look(target / machine.tree.relative_to("/")) == look(machine.tree)
    with lookers.Crew() as looking:
        assert not looking.start()
