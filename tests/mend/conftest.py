"""The machine of tests/create, whose store loses things here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "create"))  # before its modules are imported below

from machine import Machine, fill, make_machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose tree holds some files, and that never made a snapshot."""
    made = make_machine(tmp_path)
    fill(made.tree)
    return made
