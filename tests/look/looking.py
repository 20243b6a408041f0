"""A machine in a test: its folder, its environment, and the command line run in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vaultpy.cli.main import main


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass
class Host:
    """`vaultpy` runs a command line; `elsewhere` makes the environment that of a machine with nothing of this one's."""

    home: Path
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]

    @property
    def store(self) -> Path:
        return self.home / "store"

    @property
    def url(self) -> str:
        return f"file://{self.store}"

    @property
    def identity(self) -> Path:
        return self.home / "identity.txt"

    @property
    def tree(self) -> Path:
        return self.home / "tree"

    def vaultpy(self, *arguments: str | Path) -> Ran:
        code = main([str(argument) for argument in arguments])
        out, err = self.capfd.readouterr()
        return Ran(code, out, err)

    def run(self, *arguments: str | Path) -> Ran:
        """A command line that has to succeed."""
        ran = self.vaultpy(*arguments)
        assert ran.code == 0, ran.err
        return ran

    def create(self, *options: str, name: str = "home", path: Path | None = None) -> str:
        """A snapshot; returns its id."""
        ran = self.run("snapshot", "create", "--path", path or self.tree, "--name", name, "--json", *options)
        return str(ran.document[0]["snapshot"])

    def as_machine(self, name: str) -> None:
        for variable, folder in (("HOME", ""), ("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state")):
            self.monkeypatch.setenv(variable, str(self.home / name / folder))

    def everything(self) -> dict[str, tuple[int, bytes]]:
        """All files of the machine and of the store: when they last changed, and their bytes."""
        files = [path for path in self.home.rglob("*") if path.is_file() and not path.is_symlink()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
