"""Running the command line: in this process, or as a program of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vaultpy.cli.main import main


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


Vaultpy = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and nothing of vaultpy's in the environment."""
    for name in [*os.environ]:
        if name.startswith(("XDG_", "VAULTPY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    # Else root's state would lie in /var/lib.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".local" / "state"))
    return tmp_path


@pytest.fixture
def vaultpy(home: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Vaultpy]:
    """Runs a command line in this process."""

    def run(*arguments: str | Path) -> Ran:
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    yield run


@pytest.fixture
def program(home: Path) -> Callable[[str], list[str]]:
    """The command that runs Python code with `run` replaced: what a command body does is the code."""

    def make(body: str) -> list[str]:
        code = f"""
import sys, time, threading
from vaultpy.cli import app
from vaultpy.cli.main import main
def run(arguments):
{chr(10).join("    " + line for line in body.splitlines())}
app.run = run
sys.exit(main([]))
"""
        return [sys.executable, "-c", code]

    return make
