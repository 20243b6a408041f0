"""Files placed: as they should be, whatever their folder has for new files, and never half."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator

import pytest

from vaultpy.errors import DamageError, TargetError, TargetFull
from vaultpy.source.apply import ApplyOptions, FileMetadata, NotApplied
from vaultpy.source.place import Folder, Owner, Placer

MTIME = 1_234_567_890_123_456_789
OURS = (os.geteuid(), os.getegid())
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners")


@pytest.fixture
def dir_fd(tree: bytes) -> Iterator[int]:
    fd = os.open(tree, os.O_RDONLY)
    yield fd
    os.close(fd)


def read(dir_fd: int, name: bytes) -> bytes:
    with open(os.open(name, os.O_RDONLY, dir_fd=dir_fd), "rb") as file:
        return file.read()


def look(dir_fd: int, name: bytes) -> tuple[int, int, Owner]:
    found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    return stat.S_IMODE(found.st_mode), found.st_mtime_ns, (found.st_uid, found.st_gid)


def place(
    dir_fd: int, name: bytes, mode: int, owner: Owner | None = None, data: bytes = b"new"
) -> tuple[NotApplied, ...]:
    return Placer(ApplyOptions()).place(dir_fd, Folder(), name, data, mode, MTIME, owner)


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o777, 0o664, 0o000, 0o444, 0o640, 0o060])
@pytest.mark.parametrize("owner", [None, OURS])
def test_a_file_has_its_content_mode_and_time(dir_fd: int, mode: int, owner: Owner | None) -> None:
    assert place(dir_fd, b"file", mode, owner) == ()
    assert look(dir_fd, b"file") == (mode, MTIME, OURS)
    assert os.listdir(dir_fd) == ["file"]


@needs_root
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o060])
def test_a_file_of_another_has_its_owner_and_mode(dir_fd: int, mode: int) -> None:
    assert place(dir_fd, b"file", mode, (1234, 2345)) == ()
    assert look(dir_fd, b"file") == (mode, MTIME, (1234, 2345))


@needs_root
def test_no_group_of_ours_sees_what_it_will_not_see(dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    chown = os.fchown
    monkeypatch.setattr(
        os, "fchown", lambda fd, *owner: (seen.append(os.fstat(fd).st_mode & 0o777), chown(fd, *owner))[1]
    )
    for mode in (0o640, 0o660, 0o644, 0o755):
        place(dir_fd, b"file", mode, (1234, 2345))
    assert seen == [0o600, 0o600, 0o644, 0o755]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_mask_of_the_process_takes_nothing_away(dir_fd: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert place(dir_fd, b"file", 0o664) == ()
    finally:
        os.umask(before)
    assert look(dir_fd, b"file")[0] == 0o664


def test_what_was_there_is_replaced_and_never_followed(dir_fd: int, tree: bytes) -> None:
    with open(tree + b"/precious", "wb") as file:
        file.write(b"precious")
    os.symlink(b"precious", b"link", dir_fd=dir_fd)
    os.link(tree + b"/precious", tree + b"/other")
    for name in (b"link", b"other"):
        assert place(dir_fd, name, 0o644) == ()
        assert read(dir_fd, name) == b"new"
    assert read(dir_fd, b"precious") == b"precious"


def test_a_folder_is_not_replaced_and_nothing_is_left_behind(dir_fd: int) -> None:
    os.mkdir(b"name", dir_fd=dir_fd)
    with pytest.raises(TargetError, match="is a directory"):
        place(dir_fd, b"name", 0o644)
    assert os.listdir(dir_fd) == ["name"]


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/etc/x", b"a\0b"])
def test_a_name_that_is_none_is_refused(dir_fd: int, name: bytes) -> None:
    metadata = FileMetadata(0o644, *OURS, MTIME)
    with pytest.raises(DamageError):
        place(dir_fd, name, 0o644)
    with pytest.raises(DamageError):
        Placer(ApplyOptions()).place_odd(dir_fd, name, [], 0, metadata, None)
    assert os.listdir(dir_fd) == []


def test_a_temporary_name_that_somebody_guessed_is_not_used(dir_fd: int, tree: bytes) -> None:
    rooms = iter([b"a" * 8, b"b" * 8])
    placer = Placer(ApplyOptions(), random=lambda size: next(rooms))
    with open(tree + b"/precious", "wb") as file:
        file.write(b"precious")
    os.symlink(b"precious", b".vaultpy-" + b"61" * 8 + b"-1", dir_fd=dir_fd)
    placer.place(dir_fd, Folder(), b"file", b"new", 0o644, MTIME, None)
    assert (read(dir_fd, b"precious"), read(dir_fd, b"file")) == (b"precious", b"new")


@needs_root
def test_a_folder_that_gives_its_group_away_keeps_it_from_restored_files(dir_fd: int) -> None:
    os.fchown(dir_fd, 0, 4321)
    os.fchmod(dir_fd, 0o2755)
    folder = Folder()
    placer = Placer(ApplyOptions())
    for name in (b"first", b"second"):
        assert placer.place(dir_fd, folder, name, b"new", 0o644, MTIME, OURS) == ()
        assert look(dir_fd, name) == (0o644, MTIME, OURS)
    assert folder.plain is False


@pytest.mark.skipif(shutil.which("setfacl") is None, reason="setfacl is not there")
def test_a_default_acl_of_the_folder_is_not_for_restored_files(dir_fd: int, tree: bytes) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:1234:rwx", tree], check=True)
    assert place(dir_fd, b"file", 0o640, OURS) == ()
    assert os.listxattr(tree + b"/file") == []
    assert look(dir_fd, b"file")[0] == 0o640


def test_a_time_that_the_system_cannot_hold_is_told(dir_fd: int) -> None:
    missed = Placer(ApplyOptions()).place(dir_fd, Folder(), b"file", b"new", 0o644, 1 << 200, None)
    assert missed == (NotApplied.TIMES,)
    assert read(dir_fd, b"file") == b"new"


def test_a_full_disk_is_told_as_such_and_leaves_nothing(dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(TargetFull):
        place(dir_fd, b"file", 0o644)
    assert os.listdir(dir_fd) == []


def test_a_write_that_stops_short_goes_on(dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
    place(dir_fd, b"file", 0o644, data=b"content")
    assert read(dir_fd, b"file") == b"content"


def test_a_file_with_holes_has_them(dir_fd: int) -> None:
    metadata = FileMetadata(0o644, *OURS, MTIME)
    segments = [(0, b"begin"), (1 << 20, b"end")]
    Placer(ApplyOptions()).place_odd(dir_fd, b"file", segments, 1 << 21, metadata, None)
    content = read(dir_fd, b"file")
    assert content == b"begin".ljust(1 << 20, b"\0") + b"end".ljust(1 << 20, b"\0")
    assert os.stat(b"file", dir_fd=dir_fd).st_blocks * 512 < 1 << 20
