"""What a restore says of what it could not write: whole paths, and no names that are only ours."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from restoring import Site

from vaultpy.errors import TargetError, TargetFull
from vaultpy.source.target import TEMPORARY, identity, open_existing


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of a mebibyte."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("mounting is not allowed: " + done.stderr.decode().strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def short_files(site: Site) -> Iterator[None]:
    """No file may be longer than a mebibyte, now that the machine is made."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_target_is_named(site: Site, small: Path) -> None:
    site.target = small / "target"
    with pytest.raises(TargetFull) as caught:
        site.restore()
    assert caught.value.message == f"{site.target}: no space left on device"
    assert caught.value.hint == "make room and run the restore again"


@pytest.mark.usefixtures("short_files")
def test_what_cannot_be_written_is_named_once_and_why(site: Site) -> None:
    made = site.restore()
    assert made.failed == ((os.fsencode(site.machine.tree / "large"), "file too large"),)


def test_what_is_in_the_way_is_named(site: Site) -> None:
    (site.back / "folder0/file0/inner").mkdir(parents=True)
    made = dict(site.restore().failed)
    assert made[os.fsencode(site.machine.tree / "folder0/file0")] == "is a directory"


@pytest.mark.parametrize("what", ["file", "loop", "below a file"])
def test_a_target_that_is_no_folder_is_told_and_the_way_out(site: Site, tmp_path: Path, what: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    site.target = tmp_path / ("file/below" if what == "below a file" else what)
    with pytest.raises(TargetError) as caught:
        site.restore()
    assert caught.value.message == f"{site.target}: a link or file is where a directory must be"
    assert caught.value.hint == "move it away, or restore elsewhere"


@pytest.mark.parametrize(("call", "name"), [("apply_metadata", "nothing in it"), ("identity", "link")])
def test_what_is_lost_while_it_gets_its_metadata_costs_its_path_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str, name: str
) -> None:
    """As a network file system loses a folder that is open, or a link that was just made."""

    def lose(*_: object) -> NoReturn:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), f"{TEMPORARY!r}")

    monkeypatch.setattr(f"vaultpy.ops.restoring.finish.{call}", lose)
    made = site.restore()
    assert dict(made.failed)[os.fsencode(site.machine.tree / name)] == "stale file handle"
    assert (site.back / "folder0/file0").exists()


def test_a_lack_of_descriptors_ends_the_restore_instead_of_failing_every_path(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def lack(path: Any, flags: int, *rest: Any, **how: Any) -> int:
        if how.get("dir_fd") is not None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return opened(path, flags, *rest, **how)

    monkeypatch.setattr(os, "open", lack)
    with pytest.raises(TargetFull) as caught:
        site.restore(processes=0)
    assert caught.value.message == f"{site.target}: too many open files"
    assert caught.value.hint == "raise the limits on open files and memory"


def test_a_file_that_is_lost_while_it_is_looked_at_is_lost_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    expected = identity((tmp_path / "file").stat())
    before = len(os.listdir("/proc/self/fd"))

    def lose(*_: object) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    dir_fd = os.open(tmp_path, os.O_RDONLY)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", lose)
        with pytest.raises(TargetError) as caught:
            open_existing(dir_fd, b"file", expected)
    os.close(dir_fd)
    assert caught.value.message == "input/output error"
    assert len(os.listdir("/proc/self/fd")) == before
