"""The machine of tests/create, whose snapshots are restored here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "create"))  # before its modules are imported below
sys.path.insert(0, str(Path(__file__).parent))

from machine import fill, make_machine
from restoring import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    machine = make_machine(tmp_path)
    fill(machine.tree)
    (machine.tree / "large").write_bytes(os.urandom(12 << 20))
    os.link(machine.tree / "folder0/file0", machine.tree / "second name")
    os.utime(machine.tree / "large", ns=(10**18, 10**18))
    machine.snapshot()
    return Site(machine, tmp_path / "target")
