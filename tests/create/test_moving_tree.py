"""What moves between listing and reading, or while it is read, is stored as it is, or told; it never stops a run."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machine import Machine

from vaultpy.model import ProblemKind
from vaultpy.ops.making import create
from vaultpy.source import batch, read
from vaultpy.source.roots import Roots
from vaultpy.source.walk import Folder, WalkOptions, walk

Change = Callable[[Path], None]
"""Does something to a file, or to what lies around it."""


@pytest.fixture
def run_with(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], create.Created]:
    """A run that finds folder0/file0 listed, and changed in some way before anything of its folder is read."""
    victim = machine.tree / "folder0" / "file0"

    def run(change: Change) -> create.Created:
        pending = [change]

        def walking(roots: Roots, options: WalkOptions) -> Iterator[Folder]:
            for folder in walk(roots, options):
                if folder.path == os.fsencode(victim.parent):
                    pending.pop()(victim)
                yield folder

        with monkeypatch.context() as patch:
            patch.setattr(create, "walk", walking)
            made = machine.create()
        assert not pending
        assert made.exit_code == 0 and made.snapshot is not None, made
        assert made.snapshot.problems == len(made.problems)
        return made

    return run


def told(made: create.Created) -> list[tuple[str, ProblemKind]]:
    return [(os.path.basename(os.fsdecode(one.path)), one.kind) for one in made.problems]


def write_over(path: Path, content: bytes) -> None:
    """As programs save: a new file is renamed over the old one.  (Their folder's time moves by it, too.)"""
    folder = path.parent.stat()
    new = path.with_name("being written")
    new.write_bytes(content)
    new.rename(path)
    os.utime(path.parent, ns=(folder.st_atime_ns, folder.st_mtime_ns))


NOW: dict[str, Change] = {
    "shrinks": lambda path: os.truncate(path, 7),
    "is emptied": lambda path: os.truncate(path, 0),
    "grows": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "grows over the smallest chunk": lambda path: path.write_bytes(bytes(300_000)),
    "is written anew": lambda path: path.write_bytes(b"n" * 20_000),
    "is replaced": lambda path: write_over(path, b"another file"),
    "is replaced by a larger one": lambda path: write_over(path, bytes(2_000_000)),
    "becomes a hole": lambda path: (os.truncate(path, 0), os.truncate(path, 1 << 20))[0],
    "gets another mode": lambda path: path.chmod(0o600),
}


@pytest.mark.parametrize("how", NOW)
def test_a_file_that_is_another_by_the_time_it_is_read_is_stored_as_it_is_then(
    machine: Machine, run_with: Callable[[Change], create.Created], how: str
) -> None:
    made = run_with(NOW[how])
    assert told(made) == []
    assert machine.comes_back()


def vanish_and_be(make: Callable[[Path], object]) -> Change:
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


GONE: dict[str, Change] = {
    "vanishes": Path.unlink,
    "is moved away": lambda path: path.rename(path.parent.parent / "elsewhere") and None,
    "becomes a folder": vanish_and_be(Path.mkdir),
    "becomes a link": vanish_and_be(lambda path: path.symlink_to("file2")),
    "becomes a FIFO": vanish_and_be(os.mkfifo),
}


@pytest.mark.parametrize("how", GONE)
def test_a_file_that_is_none_by_the_time_it_is_read_is_left_out_and_told(
    machine: Machine, run_with: Callable[[Change], create.Created], how: str
) -> None:
    made = run_with(GONE[how])
    assert told(made) == [("file0", ProblemKind.VANISHED)]
    assert made.problems[0].detail
    back = machine.restore()
    assert not os.path.lexists(back / "folder0" / "file0")
    assert (back / "folder0" / "file2").exists()
    assert machine.rows("SELECT kind FROM problems") == [("vanished",)]
    machine.snapshot()
    assert machine.comes_back(), "the next run takes what is there"


def test_what_appears_after_its_folder_was_listed_is_the_next_runs(
    machine: Machine, run_with: Callable[[Change], create.Created]
) -> None:
    made = run_with(lambda path: (path.parent / "new").write_bytes(b"new") and None)
    assert told(made) == []
    assert not (machine.restore() / "folder0" / "new").exists()
    machine.snapshot()
    assert machine.comes_back()


@pytest.mark.parametrize("kind", ["file", "link", "nothing"])
def test_a_folder_that_is_none_by_the_time_it_is_entered_is_told_and_the_rest_is_taken(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    victim = machine.tree / "folder0"

    def walking(roots: Roots, options: WalkOptions) -> Iterator[Folder]:
        for folder in walk(roots, options):
            if folder.path == os.fsencode(machine.tree):
                shutil.rmtree(victim)
                if kind == "file":
                    victim.write_bytes(b"now a file")
                elif kind == "link":
                    victim.symlink_to("folder1")
            yield folder

    with monkeypatch.context() as patch:
        patch.setattr(create, "walk", walking)
        made = machine.create()
    assert made.exit_code == 0
    assert set(told(made)) == {("folder0", ProblemKind.VANISHED)}
    back = machine.restore()
    assert not (back / "folder0" / "file0").exists()
    assert (back / "folder1" / "file1").exists()
    machine.snapshot()
    assert machine.comes_back()


@pytest.mark.parametrize("size", [20_000, 3_000_000], ids=["small", "large"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_file_that_changes_while_it_is_read_is_read_again_until_it_holds_still(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, size: int, times: int
) -> None:
    victim = machine.tree / "folder0" / "file0"
    victim.write_bytes(bytes(size))
    inode, left = victim.stat().st_ino, [b"%d" % number * size for number in range(times)]

    def changing(original: Callable[..., int | bytes]) -> Callable[..., int | bytes]:
        def read(fd: int, *rest: object) -> int | bytes:
            found = original(fd, *rest)
            if left and os.fstat(fd).st_ino == inode:
                # Through another descriptor, and with a time of its own: ticks are longer than this takes.
                victim.write_bytes(left.pop())
                os.utime(victim, ns=(0, len(left)))
            return found

        return read

    with monkeypatch.context() as patch:
        patch.setattr(read.os, "pread", changing(os.pread))
        patch.setattr(read.os, "preadv", changing(os.preadv))
        made = machine.create()
    assert made.exit_code == 0 and told(made) == []
    assert not left
    assert machine.comes_back()


def test_a_sparse_file_that_is_cut_while_it_is_read_is_sound_and_comes_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = machine.tree / "sparse"
    with victim.open("wb") as file:
        for place in (0, 4 << 20, 8 << 20):
            file.seek(place)
            file.write(os.urandom(1 << 20))
    inode, sizes, original = victim.stat().st_ino, [6 << 20, (4 << 20) + 10, 2 << 20], os.preadv

    def preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
        if os.fstat(fd).st_ino == inode and offset and sizes:
            os.truncate(victim, sizes.pop(0))
        return original(fd, buffers, offset)

    with monkeypatch.context() as patch:
        patch.setattr(read.os, "preadv", preadv)
        made = machine.create()
    assert made.exit_code == 0
    # Cut a third time, it has one part, which is read in a piece: then it holds still.
    assert (machine.restore() / "sparse").read_bytes() == victim.read_bytes()
    machine.snapshot()
    assert machine.comes_back()


def test_sockets_are_skipped_and_counted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(machine.tree)  # a socket's whole path would be too long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        made = machine.create()
    assert (made.exit_code, made.skipped, made.problems) == (0, 1, ())
    assert not (machine.restore() / "socket").exists()


def test_what_a_file_becomes_under_another_name_is_not_taken_for_what_it_was(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, elsewhere = machine.tree / "folder0" / "file0", machine.folder / "elsewhere"
    victim.write_bytes(bytes(3_000_000))
    inode, original = victim.stat().st_ino, os.preadv

    def preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
        if os.fstat(fd).st_ino == inode and victim.exists():
            victim.rename(elsewhere)
            elsewhere.write_bytes(b"never under the old name" * 100_000)
        return original(fd, buffers, offset)

    with monkeypatch.context() as patch:
        patch.setattr(read.os, "preadv", preadv)
        made = machine.create()
    assert told(made) == [("file0", ProblemKind.VANISHED)]
    assert not (machine.restore() / "folder0" / "file0").exists()


@pytest.mark.parametrize(
    ("age", "is_told"), [(0, True), (batch.YOUNG_NS - 1, True), (batch.YOUNG_NS, False), (-1, False)]
)
def test_a_file_that_has_just_changed_each_time_it_is_looked_at_is_told(
    tmp_path: Path, age: int, is_told: bool
) -> None:
    (tmp_path / "hot").write_bytes(b"content")
    found = (tmp_path / "hot").stat()
    parts: list[batch.Part] = []
    reader = batch.BatchReader(parts.append, clock=lambda: found.st_ctime_ns + age)
    dir_fd = os.open(tmp_path, os.O_RDONLY)
    expected = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev, found.st_uid)
    try:
        reader.read(1, [(dir_fd, [(b"hot", *expected)])])
    finally:
        os.close(dir_fd)
    [part] = parts
    assert (bool(part.odd) and not part.odd[0].held_still) is is_told
    assert len(part.hashes) == (batch.TRIES if is_told else 1)
