"""Machines, and places for their stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from hosts import Host, MakePlace, Place, make_host
from s3server import Server


@pytest.fixture
def make_place(tmp_path: Path, request: pytest.FixtureRequest) -> MakePlace:
    """A new place for a store: `file` or `s3`."""

    def make(kind: str) -> Place:
        if kind == "file":
            return Place((tmp_path / "store").as_uri(), {})
        server: Server = request.getfixturevalue("s3_server")
        return Place(server.url(server.make_bucket(), "some/prefix"), server.environment)

    return make


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A machine with a vault in a folder, set up."""
    made = make_host(tmp_path / "host", (tmp_path / "store").as_uri())
    made.init()
    return made
