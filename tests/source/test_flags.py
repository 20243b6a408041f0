"""File flags are read as lsattr shows them."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultpy.source.flags import APPEND, IMMUTABLE, KEPT, NODUMP, FlagReader, read_flags, write_flags

LETTERS = {"s": 1, "u": 2, "c": 4, "S": 8, "i": 0x10, "a": 0x20, "d": 0x40, "A": 0x80, "j": 0x4000, "t": 0x8000}
"""chattr's letters for the flags that ext4 and tmpfs may take."""


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    """A file on a file system that has flags."""
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    try:
        read_flags(fd)
    except OSError:
        pytest.skip("no file flags here")
    yield fd
    write_flags(fd, 0)
    os.close(fd)


@pytest.mark.parametrize("letter", ["d", "A", "S", "i", "a", "j"])
def test_a_flag_that_chattr_set_is_read(opened: int, letter: str) -> None:
    path = os.readlink(f"/proc/self/fd/{opened}")
    if subprocess.run(["chattr", f"+{letter}", path], capture_output=True).returncode:
        pytest.skip(f"chattr +{letter} is refused here")
    assert FlagReader().read(opened, 1) == LETTERS[letter]


def test_a_flag_that_was_written_is_what_lsattr_shows(opened: int) -> None:
    write_flags(opened, NODUMP)
    shown = subprocess.run(["lsattr", os.readlink(f"/proc/self/fd/{opened}")], capture_output=True, text=True)
    assert "d" in shown.stdout.split()[0]
    assert FlagReader().read(opened, 1) == NODUMP


def test_writing_leaves_the_file_systems_own_flags_alone(opened: int) -> None:
    before = read_flags(opened)
    write_flags(opened, NODUMP | ~KEPT & 0xFFFFFFFF)
    assert read_flags(opened) == before | NODUMP
    write_flags(opened, 0)
    assert read_flags(opened) == before


def test_a_directory_has_flags_too(tmp_path: Path, opened: int) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        write_flags(fd, NODUMP)
        assert FlagReader().read(fd, 1) == NODUMP
        write_flags(fd, 0)
        assert FlagReader().read(fd, 1) == 0
    finally:
        os.close(fd)


def test_a_device_without_flags_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(fd: int, request: int, argument: bytes) -> bytes:
        asked.append(fd)
        raise OSError(errno.ENOTTY, "not a typewriter")

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    reader = FlagReader()
    assert [reader.read(fd, device) for fd, device in ((3, 1), (4, 1), (5, 2))] == [0, 0, 0]
    assert asked == [3, 5]


def test_one_file_that_does_not_tell_says_nothing_about_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[int | None] = [None, APPEND | IMMUTABLE]

    def answer(fd: int, request: int, argument: bytes) -> bytes:
        flags = answers.pop(0)
        if flags is None:
            raise PermissionError(errno.EACCES, "permission denied")
        return flags.to_bytes(4, "little")

    monkeypatch.setattr(fcntl, "ioctl", answer)
    monkeypatch.setattr("sys.byteorder", "little")
    reader = FlagReader()
    assert [reader.read(3, 1), reader.read(4, 1)] == [0, APPEND | IMMUTABLE]
