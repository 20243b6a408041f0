"""A machine set up by the program itself, over a store in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from looking import Host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Host:
    """A host with a small tree and no snapshot yet."""
    for variable in [*os.environ]:
        if variable.startswith(("XDG_", "VAULTPY_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("TZ", "UTC")
    made = Host(tmp_path, monkeypatch, capfd)
    made.as_machine("here")
    (made.tree / "inner").mkdir(parents=True)
    (made.tree / "inner" / "a file").write_bytes(b"x" * 1234)
    (made.tree / "inner" / "link").symlink_to("a file")
    (made.tree / "zero").write_bytes(b"")
    made.run("init", "--store", made.url, "--new-identity", made.identity)
    return made
