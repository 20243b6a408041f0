"""Birth times are those that `stat` shows, and nodump is what `chattr` set."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultpy.source.statx import Statx


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def shown(path: Path) -> int | None:
    """What coreutils says, in nanoseconds; None where it says `-`."""
    text = subprocess.run(["stat", "-c", "%.9W", path], capture_output=True, text=True, check=True).stdout.strip()
    return int(text.replace(".", "")) or None if text != "-" else None


def test_the_time_is_the_one_that_stat_shows(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    os.utime(tmp_path / "f", ns=(1, 1))
    with (tmp_path / "f").open() as file:
        assert Statx().birth(file.fileno()) == shown(tmp_path / "f")


def test_what_is_not_opened_has_a_time_and_links_are_not_followed(tmp_path: Path, dir_fd: int) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for name in ("fifo", "link"):
        assert Statx().birth_at(dir_fd, name.encode()) == shown(tmp_path / name)
    assert Statx().birth_at(dir_fd, b"nothing") is None


def test_a_file_system_that_keeps_no_time_says_none() -> None:
    with open("/proc/self/status") as file:
        assert Statx().birth(file.fileno()) is None


def test_a_descriptor_that_is_none_knows_nothing() -> None:
    assert Statx().birth(-1) is None
    assert not Statx().is_nodump(-1, b"f")


def test_a_system_without_statx_knows_nothing(tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with (tmp_path / "f").open("w") as file:
        assert Statx().birth(file.fileno()) is None
    assert not Statx().is_nodump(dir_fd, b"f")


def test_nodump_is_seen_on_files_and_folders(tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    if subprocess.run(["chattr", "+d", tmp_path / "file", tmp_path / "folder"], capture_output=True).returncode:
        pytest.skip("no nodump flag here")
    found = {name for name in (b"file", b"folder", b"plain", b"link", b"nothing") if Statx().is_nodump(dir_fd, name)}
    assert found == {b"file", b"folder"}
