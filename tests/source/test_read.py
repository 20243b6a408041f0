"""Files are read as they are, never waited for, and never taken for another."""

from __future__ import annotations

import errno
import hashlib
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from vaultpy import chunker
from vaultpy.chunker import MINIMUM
from vaultpy.errors import ReplacedError, SourceError, VanishedError, VaultpyError
from vaultpy.model import Problem, ProblemKind
from vaultpy.source.failures import to_problem
from vaultpy.source.holes import data_between, find_holes
from vaultpy.source.read import open_regular, read_chunks, read_file, read_link, read_small, same

MIB = 1024 * 1024


def write(path: bytes, content: bytes) -> os.stat_result:
    with open(path, "wb") as file:
        file.write(content)
    return os.lstat(path)


@pytest.fixture
def dir_fd(tree: bytes) -> Iterator[int]:
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def opened(tree: bytes, dir_fd: int) -> Iterator[Callable[[bytes], int]]:
    """Writes a file and opens it."""
    fds = []

    def make(content: bytes) -> int:
        fds.append(open_regular(dir_fd, b"file", write(tree + b"/file", content)))
        return fds[-1]

    yield make
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 1, MINIMUM - 1, MINIMUM, MINIMUM + 1, 5 * MIB])
def test_a_file_comes_in_the_chunks_of_the_chunker(opened: Callable[[bytes], int], size: int) -> None:
    data = hashlib.shake_128(b"read").digest(size)
    fd = opened(data)
    chunks = list(read_file(fd, size))
    assert b"".join(chunks) == data
    assert chunks == list(read_chunks(fd))
    assert len(chunks) == (0 if size == 0 else 1) or size > MINIMUM


@pytest.mark.parametrize("thought", [0, 1, 99, 101, MINIMUM, MINIMUM + 1])
def test_a_file_that_grew_or_shrank_is_read_as_it_is(opened: Callable[[bytes], int], thought: int) -> None:
    fd = opened(b"x" * 100)
    assert list(read_file(fd, thought)) == [b"x" * 100]
    assert thought > MINIMUM or read_small(fd, thought) is None


def test_a_file_whose_size_is_not_told_is_read(dir_fd: int) -> None:
    proc = os.open("/proc/self", os.O_RDONLY)
    fd = open_regular(proc, b"cmdline", os.stat("/proc/self/cmdline"))
    assert os.fstat(fd).st_size == 0
    assert b"python" in b"".join(read_file(fd, 0))
    os.close(fd)
    os.close(proc)


def test_opening_does_not_touch_the_access_time(tree: bytes, dir_fd: int) -> None:
    write(tree + b"/file", b"content")
    os.utime(tree + b"/file", ns=(1, 2))  # older than mtime, so that relatime would update it
    before = os.stat(tree + b"/file")
    fd = open_regular(dir_fd, b"file", before)
    assert list(read_file(fd, 7)) == [b"content"]
    assert os.stat(tree + b"/file").st_atime_ns == 1


def test_somebody_elses_file_is_read_too(public_tree: bytes, as_nobody: Callable[[Callable[[], None]], None]) -> None:
    expected = write(public_tree + b"/file", b"content")

    def action() -> None:
        fd = open_regular(os.open(public_tree, os.O_RDONLY), b"file", expected)
        assert list(read_file(fd, 7)) == [b"content"]

    as_nobody(action)


def test_root_of_a_container_that_may_not_spare_the_access_time_reads_all_the_same(
    tree: bytes, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = write(tree + b"/file", b"content")
    real = os.open

    def refuse(path: bytes, flags: int, **rest: int) -> int:
        if flags & os.O_NOATIME:
            raise PermissionError(errno.EPERM, "operation not permitted")
        return real(path, flags, **rest)

    monkeypatch.setattr(os, "open", refuse)
    assert list(read_file(open_regular(dir_fd, b"file", expected), 7)) == [b"content"]


def replaced_by_another(path: bytes) -> None:
    write(path + b".new", b"other")
    os.rename(path + b".new", path)


def replaced_by_link(path: bytes) -> None:
    os.rename(path, path + b".moved")
    os.symlink(path + b".moved", path)


def replaced_by_directory(path: bytes) -> None:
    os.unlink(path)
    os.mkdir(path)


def replaced_by_fifo(path: bytes) -> None:
    os.unlink(path)
    os.mkfifo(path)


@pytest.mark.parametrize(
    "replace",
    [replaced_by_another, replaced_by_link, replaced_by_directory, replaced_by_fifo],
    ids=lambda f: f.__name__,
)
def test_what_replaced_a_file_is_not_read(tree: bytes, dir_fd: int, replace: Callable[[bytes], None]) -> None:
    expected = write(tree + b"/file", b"content")
    replace(tree + b"/file")
    before = len(os.listdir("/proc/self/fd"))
    started = time.monotonic()
    with pytest.raises(ReplacedError) as caught:
        open_regular(dir_fd, b"file", expected)
    assert time.monotonic() - started < 1
    assert len(os.listdir("/proc/self/fd")) == before
    assert to_problem(b"/x/file", caught.value).kind is ProblemKind.VANISHED


def test_a_fifo_in_the_listing_is_not_waited_for(tree: bytes, dir_fd: int) -> None:
    os.mkfifo(tree + b"/fifo")
    with pytest.raises(ReplacedError):
        open_regular(dir_fd, b"fifo", os.lstat(tree + b"/fifo"))


def test_a_file_that_vanished_is_said_to_have_vanished(tree: bytes, dir_fd: int) -> None:
    expected = write(tree + b"/file", b"content")
    os.unlink(tree + b"/file")
    with pytest.raises(VanishedError) as caught:
        open_regular(dir_fd, b"file", expected)
    assert to_problem(b"/file", caught.value) == Problem(b"/file", ProblemKind.VANISHED, "no such file or directory")


def test_a_file_that_may_not_be_read_is_a_problem(
    public_tree: bytes, as_nobody: Callable[[Callable[[], None]], None]
) -> None:
    expected = write(public_tree + b"/file", b"content")
    os.chmod(public_tree + b"/file", 0o200)

    def action() -> None:
        with pytest.raises(SourceError) as caught:
            open_regular(os.open(public_tree, os.O_RDONLY), b"file", expected)
        assert to_problem(b"/file", caught.value) == Problem(b"/file", ProblemKind.UNREADABLE, "permission denied")

    as_nobody(action)


@pytest.mark.parametrize("size", [10, MINIMUM + 10])
@pytest.mark.parametrize(
    ("code", "expected"), [(errno.EIO, SourceError), (errno.ESTALE, VanishedError), (errno.ENOMEM, VaultpyError)]
)
def test_a_failing_disk_is_a_problem_of_the_file_and_want_of_memory_is_ours(
    opened: Callable[[bytes], int], monkeypatch: pytest.MonkeyPatch, size: int, code: int, expected: type[Exception]
) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, "failed")

    fd = opened(b"x" * size)
    monkeypatch.setattr(os, "pread", fail)
    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(expected) as caught:
        list(read_file(fd, size))
    assert type(caught.value) is expected


def test_short_reads_are_read_on(opened: Callable[[bytes], int], monkeypatch: pytest.MonkeyPatch) -> None:
    data = hashlib.shake_128(b"short").digest(2 * MIB)
    fd = opened(data)
    expected = list(read_file(fd, len(data)))
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, into, offset: real(fd, [into[0][:10_001]], offset))
    assert list(read_file(fd, len(data))) == expected


def test_a_file_that_is_cut_while_it_is_read_ends_where_it_ends(tree: bytes, opened: Callable[[bytes], int]) -> None:
    size = 3 * chunker.WINDOW
    fd = opened(b"")
    os.truncate(tree + b"/file", size)
    chunks = iter(read_file(fd, size))
    first = next(chunks)
    os.truncate(tree + b"/file", chunker.WINDOW + 5)
    assert len(first) + sum(map(len, chunks)) == chunker.WINDOW + 5


def test_holes_are_left_out_on_request(tree: bytes, opened: Callable[[bytes], int]) -> None:
    fd = opened(b"")
    with open(tree + b"/file", "r+b") as file:
        file.seek(4 * MIB)
        file.write(b"a" * MIB)
        file.seek(9 * MIB)
        file.write(b"b" * MIB)
        file.truncate(12 * MIB)
    extents = [(4 * MIB, MIB), (9 * MIB, MIB)]
    assert b"".join(read_file(fd, 12 * MIB, extents)) == b"a" * MIB + b"b" * MIB
    assert len(b"".join(read_file(fd, 12 * MIB))) == 12 * MIB


def test_of_a_file_that_is_cut_nothing_behind_the_cut_is_read(opened: Callable[[bytes], int]) -> None:
    fd = opened(b"0123456789")
    assert b"".join(read_file(fd, 100, [(0, 2), (8, 5), (9, 1)])) == b"0189"


def test_a_huge_hole_costs_no_memory_and_no_time(tree: bytes, opened: Callable[[bytes], int]) -> None:
    fd = opened(b"")
    for power in range(63, 40, -1):  # as large as this file system takes: 8 EiB on tmpfs and XFS, 16 TiB on ext4
        try:
            os.truncate(tree + b"/file", (1 << power) - 4096)
            break
        except OSError:
            continue
    size = os.fstat(fd).st_size
    assert size > 1 << 40
    started = time.monotonic()
    assert list(read_file(fd, size, data_between(find_holes(fd, size), size))) == []
    assert time.monotonic() - started < 1
    tracemalloc.start()
    try:
        chunks = iter(read_file(fd, size))
        for _ in range(20):
            next(chunks)
        assert tracemalloc.get_traced_memory()[1] < 2 * chunker.WINDOW
    finally:
        tracemalloc.stop()


def test_a_link_is_read_as_it_is_written(tree: bytes, dir_fd: int) -> None:
    for number, target in enumerate([b"a", b"/nowhere/\xff\n", b"x" * 4095]):
        os.symlink(target, tree + b"/link%d" % number)
        assert read_link(dir_fd, b"link%d" % number) == target


def test_a_link_that_is_none_any_more_is_noted(tree: bytes, dir_fd: int) -> None:
    write(tree + b"/file", b"")
    with pytest.raises(ReplacedError):
        read_link(dir_fd, b"file")
    with pytest.raises(VanishedError):
        read_link(dir_fd, b"gone")


def test_a_file_that_held_still_is_the_same(tree: bytes) -> None:
    before = write(tree + b"/file", b"content")
    with open(tree + b"/file", "rb") as file:
        file.read()
    assert same(before, os.stat(tree + b"/file"))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.truncate(path, 1),
        lambda path: os.utime(path, ns=(0, 0)),
        lambda path: os.chmod(path, 0o600),  # ctime only
        replaced_by_another,
    ],
    ids=["size", "mtime", "ctime", "inode"],
)
def test_any_change_shows(tree: bytes, change: Callable[[bytes], None]) -> None:
    before = write(tree + b"/file", b"content")
    deadline = time.monotonic() + 1
    while write(tree + b"/probe", b"").st_ctime_ns == before.st_ctime_ns and time.monotonic() < deadline:
        pass  # the file system's clock ticks every few milliseconds
    change(tree + b"/file")
    assert not same(before, os.stat(tree + b"/file"))
