"""The machine of tests/create, whose snapshots are restored here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "create"))  # before its modules are imported below
sys.path.insert(0, str(Path(__file__).parent))

from restoring import Site, make_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, 12 << 20)
