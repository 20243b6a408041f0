"""Birth times are those that `stat` shows."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from vaultpy.source.birth import birth_at, birth_reader


def shown(path: Path) -> int | None:
    """What coreutils says, in nanoseconds; None where it says `-`."""
    text = subprocess.run(["stat", "-c", "%.9W", path], capture_output=True, text=True, check=True).stdout.strip()
    return int(text.replace(".", "")) or None if text != "-" else None


def test_the_time_is_the_one_that_stat_shows(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    os.utime(tmp_path / "f", ns=(1, 1))
    with (tmp_path / "f").open() as file:
        assert birth_reader()(file.fileno()) == shown(tmp_path / "f")


def test_what_is_not_opened_has_a_time_and_links_are_not_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    dir_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        for name in ("fifo", "link"):
            assert birth_at(birth_reader(), dir_fd, name.encode()) == shown(tmp_path / name)
        assert birth_at(birth_reader(), dir_fd, b"nothing") is None
    finally:
        os.close(dir_fd)


def test_a_file_system_that_keeps_no_time_says_none() -> None:
    with open("/proc/self/status") as file:
        assert birth_reader()(file.fileno()) is None


def test_a_descriptor_that_is_none_says_none() -> None:
    assert birth_reader()(-1) is None


def test_a_system_without_statx_says_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with (tmp_path / "f").open("w") as file:
        assert birth_reader()(file.fileno()) is None
