"""Files and paths at the ends of what there can be: holes without measure, deep paths, flags, birth times."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Machine, make_machine

from vaultpy.model import HOLES_LIMIT, decode_holes

HUGE = (1 << 63) - 1


@pytest.fixture
def on_tmpfs() -> Iterator[Machine]:
    """A machine on a file system whose files may have 8 EiB."""
    if not Path("/dev/shm").is_dir():
        pytest.skip("no tmpfs here")
    folder = tempfile.mkdtemp(dir="/dev/shm", prefix="vaultpy-test-")
    try:
        yield make_machine(Path(folder))
    finally:
        shutil.rmtree(folder)


def test_holes_of_8_eib_cost_nothing_and_come_back(on_tmpfs: Machine) -> None:
    for number, name in enumerate(("one", "two")):
        with (on_tmpfs.tree / name).open("wb") as file:
            try:
                file.truncate(HUGE - 4096 * number)
            except OSError:
                pytest.skip("no files of 8 EiB here")
            file.seek(1 << 50)
            file.write(b"in the middle of nothing")
    made = on_tmpfs.create()
    assert made.exit_code == 0 and made.snapshot is not None and made.snapshot.counts is not None
    assert made.snapshot.counts.bytes == HUGE, "more cannot be said"
    assert made.snapshot.counts.new_bytes < 100_000
    back = on_tmpfs.restore()
    for name in ("one", "two"):
        source, there = (on_tmpfs.tree / name).stat(), (back / name).stat()
        assert (there.st_size, there.st_blocks) == (source.st_size, source.st_blocks)
        with (back / name).open("rb") as file:
            file.seek(1 << 50)
            assert file.read(24) == b"in the middle of nothing"
    assert on_tmpfs.create().unchanged == made.snapshot.counts.files


def test_a_file_with_more_holes_than_there_may_be_keeps_the_longest(machine: Machine) -> None:
    with (machine.tree / "sieve").open("wb") as file:
        file.truncate(4096 * (2 * HOLES_LIMIT + 40))
        for number in range(HOLES_LIMIT + 10):
            file.seek(8192 * number)
            file.write(b"data")
    machine.snapshot()
    size, holes = machine.rows("SELECT size, holes FROM files WHERE name = ?", b"sieve")[0]
    assert len(decode_holes(holes, size)) == HOLES_LIMIT
    assert machine.comes_back()


def test_a_moved_sparse_file_keeps_its_holes_unread(machine: Machine) -> None:
    sparse = machine.tree / "folder0" / "sparse"
    with sparse.open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"data")
    machine.snapshot()
    (machine.tree / "folder0").rename(machine.tree / "moved")
    machine.snapshot()
    found = machine.rows("SELECT holes FROM files WHERE name = ?", b"sparse")
    assert len(found) == 2 and found[0] == found[1] != (None,)
    back = machine.restore() / "moved" / "sparse"
    assert back.read_bytes() == (machine.tree / "moved" / "sparse").read_bytes()
    assert back.stat().st_blocks == (machine.tree / "moved" / "sparse").stat().st_blocks


def make_deep(top: Path, names: Sequence[str]) -> None:
    """Folders in each other, deeper than a path can say, with a file at the bottom."""
    fd = os.open(top, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def depth(top: Path) -> int:
    """How deep the file at the bottom lies."""
    fd, levels = os.open(top, os.O_RDONLY), 0
    while "bottom" not in (names := os.listdir(fd)):
        below = os.open(names[0], os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd, levels = below, levels + 1
    os.close(fd)
    return levels


def test_paths_longer_than_the_system_takes_come_back(machine: Machine) -> None:
    for name, names in (("long", ["x" * 250] * 16), ("deep", ["d"] * 500)):
        (machine.tree / name).mkdir()
        make_deep(machine.tree / name, names)
    made = machine.create()
    assert made.exit_code == 0 and made.snapshot is not None and made.snapshot.counts is not None
    back = machine.folder / "back"
    assert machine.restore_to(back).failed == ()
    for name, levels in (("long", 16), ("deep", 500)):
        assert depth(back / machine.tree.relative_to("/") / name) == levels
    assert machine.create().unchanged == made.snapshot.counts.files


@pytest.fixture
def chattr(machine: Machine) -> Iterator[Callable[..., None]]:
    def run(flags: str, *names: str) -> None:
        done = subprocess.run(["chattr", flags, *names], cwd=machine.tree, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no file flags here: {done.stderr.decode().strip()}")

    yield run
    subprocess.run(["chattr", "-R", "-f", "-d", machine.tree], capture_output=True, check=False)


def test_a_flag_that_is_set_makes_a_new_version_of_files_and_folders(
    machine: Machine, chattr: Callable[..., None]
) -> None:
    machine.snapshot()
    chattr("+d", "folder0", "folder0/file0")
    machine.snapshot()
    found = machine.rows("SELECT name, flags FROM files WHERE name IN (?, ?) ORDER BY name, id", b"folder0", b"file0")
    assert found == [(b"file0", None), (b"file0", 0x40), (b"folder0", None), (b"folder0", 0x40)]


def test_birth_times_are_recorded_on_request(machine: Machine) -> None:
    machine.snapshot()
    assert machine.value("SELECT count(*) FROM files WHERE btime IS NOT NULL") == 0
    for name in ("folder0/file0", "link", "nothing in it"):
        os.utime(machine.tree / name, ns=(1, 1), follow_symlinks=False)
    machine.snapshot(replace(machine.source, birth_times=True))
    for name in ("folder0/file0", "link", "nothing in it"):
        shown = subprocess.run(["stat", "-c", "%.9W", machine.tree / name], capture_output=True, text=True, check=True)
        seconds, _, fraction = shown.stdout.strip().partition(".")
        row = machine.rows("SELECT btime FROM files WHERE name = ? ORDER BY id DESC", os.fsencode(name.split("/")[-1]))
        assert row[0][0] == (int(seconds + fraction) or None)
