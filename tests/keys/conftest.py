"""Keys of every kind, made once, and a plugin that really runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pyrage  # type: ignore[import-untyped]
import pytest
from pairs import PASSPHRASE, PLUGIN, Pair, make_hybrid, make_ssh, make_x25519


@pytest.fixture(scope="session")
def keys_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def make_pair(keys_folder: Path) -> Callable[[str], Pair]:
    def make(kind: str) -> Pair:
        if kind in ("ed25519", "rsa"):
            return make_ssh(keys_folder, kind)
        return make_x25519() if kind == "x25519" else make_hybrid()

    return make


@pytest.fixture(scope="session")
def locked_identity() -> tuple[Pair, bytes]:
    """An X25519 pair whose identity file is behind PASSPHRASE (making one takes a second: scrypt)."""
    pair = make_x25519()
    return pair, bytes(pyrage.passphrase.encrypt(pair.identity, PASSPHRASE))


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`age-plugin-toy`, alone on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "age-plugin-toy"
    program.write_text(f"#!{sys.executable} -S\n{PLUGIN}")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(folder))
    return program
