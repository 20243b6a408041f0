"""Folders for a database, its copies, and those who are not root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "create"))
from machine import Machine, fill, make_machine

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "application"
    made.mkdir()
    return made


@pytest.fixture
def folder_fd(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "state" / "scratch"


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A folder that belongs to another user, who can reach it."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files of other users")
    top = Path(tempfile.mkdtemp(prefix="vaultpy-test-"))
    top.chmod(0o755)
    made = top / "application"
    made.mkdir()
    os.chown(made, NOBODY, NOBODY)
    yield made
    shutil.rmtree(top)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose tree holds some files, and that never made a snapshot."""
    made = make_machine(tmp_path)
    fill(made.tree)
    return made
