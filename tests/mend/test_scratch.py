"""Scratch indexes hold names: what a killed process left of them goes with the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from vaultpy.ops.reading.moment import SCRATCH, scratch_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_what_a_dead_process_left_goes_and_nothing_else(temporary: Path) -> None:
    dead, alive = temporary / f"{SCRATCH}{dead_process()}-abc", temporary / f"{SCRATCH}{os.getppid()}-abc"
    young = temporary / f"{SCRATCH}{dead_process()}-def"
    others = [young, temporary / f"{SCRATCH}x-abc", temporary / "vaultpy-report-1.txt", temporary / "something"]
    for folder in (dead, alive, *others):
        folder.mkdir()
        (folder / "scratch.sqlite").write_bytes(b"names")
        if folder != young:
            os.utime(folder, (1, 1))
    with scratch_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert not dead.exists()
        assert all(path.exists() for path in (alive, *others))
    assert not folder.exists()


def test_a_link_in_its_place_leads_to_no_deletion(temporary: Path) -> None:
    target = temporary / "precious"
    target.mkdir()
    (target / "file").write_bytes(b"")
    link = temporary / f"{SCRATCH}{dead_process()}-abc"
    link.symlink_to(target)
    os.utime(link, (1, 1), follow_symlinks=False)
    with scratch_folder():
        assert (target / "file").exists()
