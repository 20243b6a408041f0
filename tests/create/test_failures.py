"""Rule 7: what went wrong is never confused.  A source's failure is noted and the run goes on; the store's and the index's
stop it."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Machine

from vaultpy.config import SourceConfig
from vaultpy.errors import IndexDatabaseError, SourceError, StoreError, StoreFull, StoreUnavailable, VaultpyError
from vaultpy.index.db import Index, open_index
from vaultpy.model import ProblemKind
from vaultpy.ops.making import prepare, take
from vaultpy.ops.making.create import CreateOptions, create_snapshots
from vaultpy.source import read
from vaultpy.store import names


@pytest.mark.parametrize("error", [StoreFull("no space left"), StoreUnavailable("timed out")], ids=str)
@pytest.mark.parametrize("what", [names.BLOBS, "db.zst.age", "manifest.json.zst.sig", "manifest.json.zst"])
def test_a_store_that_fails_stops_the_run_and_is_no_unreadable_file(
    machine: Machine, error: StoreError, what: str
) -> None:
    def full(verb: str, name: str) -> None:
        if verb == "put" and what in name:
            raise error

    other = SourceConfig("other", (os.fsencode(machine.tree / "folder0"),))
    machine.store.before = full
    with pytest.raises(type(error)) as caught:
        create_snapshots(machine.vault, [machine.source, other], CreateOptions(), machine.events.append)
    assert caught.value.exit_code == 1
    assert machine.rows("SELECT name FROM sources") == [("home",)], "the next source was not begun"
    assert machine.rows("SELECT * FROM problems") == []
    machine.store.before = lambda verb, name: None
    machine.snapshot()
    assert machine.comes_back()


def test_a_full_disk_under_the_index_is_the_indexs_failure(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.snapshot()
    for number in range(1500):
        (machine.tree / f"another file {number}").write_bytes(b"%d" % number)

    def open_small(path: Path) -> Index:
        index = open_index(path)
        index.run(f"PRAGMA max_page_count = {index.value('PRAGMA page_count') + 4}")
        return index

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "open_index", open_small)
        with pytest.raises(IndexDatabaseError) as caught:
            machine.create()
    assert not isinstance(caught.value, SourceError | StoreError)
    assert "full" in caught.value.message and "room" in (caught.value.hint or "")
    assert machine.value("PRAGMA integrity_check") == "ok"
    assert len(machine.catalog().entries) == 1
    machine.snapshot()
    assert machine.comes_back()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EUCLEAN, errno.ESTALE])
def test_a_source_file_that_fails_is_a_problem_and_the_run_goes_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Also one that says `no space left`, as network file systems do: that is the source's affair, not the store's."""
    victim = machine.tree / "folder0" / "file2"
    inode, original = victim.stat().st_ino, os.pread

    def pread(fd: int, length: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == inode:
            raise OSError(number, os.strerror(number))
        return original(fd, length, offset)

    monkeypatch.setattr(read.os, "pread", pread)
    made = machine.create()
    assert made.snapshot is not None
    [problem] = made.problems
    assert problem.path == os.fsencode(victim)
    if number == errno.ESTALE:
        assert (problem.kind, made.exit_code) == (ProblemKind.VANISHED, 0)
    else:
        assert (problem.kind, made.exit_code) == (ProblemKind.UNREADABLE, 3)
    assert os.strerror(number).lower() in problem.detail
    back = machine.restore()
    assert sorted(one.name for one in (back / "folder0").iterdir()) == ["file0", "file4"]


def test_a_lack_of_descriptors_stops_the_run_instead_of_losing_files(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.pread

    def pread(fd: int, length: int, offset: int) -> bytes:
        if length == 20_001:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return original(fd, length, offset)

    monkeypatch.setattr(read.os, "pread", pread)
    with pytest.raises(VaultpyError) as caught:
        machine.create()
    assert not isinstance(caught.value, SourceError | StoreError | IndexDatabaseError)
    assert machine.catalog().entries == ()


def test_a_file_that_never_holds_still_is_stored_as_it_was_read_and_marked(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = machine.tree / "folder0" / "file0"
    inode, original = victim.stat().st_ino, os.pread

    def pread(fd: int, length: int, offset: int) -> bytes:
        data = original(fd, length, offset)
        if os.fstat(fd).st_ino == inode:
            with victim.open("r+b") as writing:
                writing.write(os.urandom(8))
            os.utime(victim, ns=(0, os.stat(victim).st_mtime_ns + 1))
        return data

    with monkeypatch.context() as patch:
        patch.setattr(read.os, "pread", pread)
        made = machine.create()
    assert made.exit_code == 0 and made.snapshot is not None
    assert [(one.path, one.kind) for one in made.problems] == [(os.fsencode(victim), ProblemKind.CHANGED)]
    assert (machine.restore() / "folder0" / "file0").stat().st_size == 20_000
    machine.snapshot()
    assert machine.comes_back(), "it is read again by the next run"


def test_a_folder_that_vanishes_during_the_walk_is_a_note(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.pread

    def pread(fd: int, length: int, offset: int) -> bytes:
        if (machine.tree / "folder1").exists():
            (machine.tree / "folder1").rename(machine.folder / "away")
        return original(fd, length, offset)

    with monkeypatch.context() as patch:
        patch.setattr(read.os, "pread", pread)
        patch.setattr(take, "BATCH_FILES", 1)
        made = machine.create(replace(machine.source))
    assert made.exit_code == 0
    assert {one.kind for one in made.problems} == {ProblemKind.VANISHED}
    machine.snapshot()
    assert machine.comes_back()
