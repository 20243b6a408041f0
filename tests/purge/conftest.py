from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The backed-up machine of the tests beside these: prunes are tried against real runs, too.
sys.path.append(str(Path(__file__).parents[1] / "create"))

from sites import Site, folder_site, memory_site


@pytest.fixture(params=["memory", "folder"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A store without snapshots, in memory and in a folder."""
    if request.param == "memory":
        return memory_site()
    (tmp_path / "store").mkdir()
    return folder_site(tmp_path / "store")


@pytest.fixture
def memory() -> Site:
    return memory_site()
