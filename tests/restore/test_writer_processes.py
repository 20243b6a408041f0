"""Processes that write a restore do what threads do, and say the same; what ends one is told."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from machine import look
from restoring import Site

from vaultpy.errors import VaultpyError
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.restoring.restore import Restored, RestoreOptions, restore
from vaultpy.ops.restoring.share import Share
from vaultpy.ops.restoring.writer_process import Setup, WriterProcess
from vaultpy.source.apply import ApplyOptions
from vaultpy.store.limit import Line, Pace
from vaultpy.store.local import LocalStore
from vaultpy.vault import OpenStore


@pytest.fixture
def on_disk(site: Site, tmp_path: Path) -> Reader:
    """The site's store as a folder, which other processes can open."""
    if os.geteuid() == 0:
        program = site.machine.tree / "program"
        program.write_bytes(b"#!/bin/sh\n")
        program.chmod(0o4755)
    site.machine.snapshot()
    (tmp_path / "copied store").mkdir()
    store = LocalStore(tmp_path / "copied store")
    for info in site.machine.memory.list(""):
        store.put(info.name, site.machine.memory.get(info.name))
    reader = site.machine.reader()
    return replace(reader, at=OpenStore(store, reader.at.settings, reader.at.settings_hash))


@pytest.fixture
def give_back(site: Site, on_disk: Reader, tmp_path: Path) -> Callable[[int], tuple[Restored, Path]]:
    def run(processes: int) -> tuple[Restored, Path]:
        target = tmp_path / f"by {processes}"
        options = RestoreOptions((), ApplyOptions(), processes=processes)
        made = restore(on_disk, site.machine.newest(), os.fsencode(target), options, lambda event: None)
        return made, target / site.machine.tree.relative_to("/")

    return run


def test_processes_give_back_and_tell_what_threads_do(
    site: Site, give_back: Callable[[int], tuple[Restored, Path]]
) -> None:
    alone, beside = give_back(0), give_back(2)
    assert alone[0] == beside[0]
    assert alone[0].failed == ()
    assert look(alone[1]) == look(beside[1])
    if os.geteuid() == 0:
        assert beside[0].missed["privilege"] == 1, "a setuid program that nobody asked for"


def test_a_limit_holds_for_all_writers_so_no_process_has_a_store_of_its_own(
    on_disk: Reader, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    taken: list[int] = []
    pace = Pace(1 << 20, clock=lambda: 0.0, sleep=lambda _: None)
    monkeypatch.setattr(Pace, "take", lambda _, size: taken.append(size))
    limited = LocalStore(tmp_path / "copied store", Line(down=pace))
    reader = replace(on_disk, at=replace(on_disk.at, store=limited))
    options = RestoreOptions((), ApplyOptions(), processes=2)
    made = restore(reader, site.machine.newest(), os.fsencode(tmp_path / "back"), options, lambda event: None)
    assert made.failed == ()
    assert sum(taken) >= sum(one.size for one in limited.list("blobs/")) / 2


@pytest.mark.parametrize("call", ["send_bytes", "recv_bytes"])
def test_a_line_that_the_system_fails_is_said(
    give_back: Callable[[int], tuple[Restored, Path]], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    monkeypatch.setattr(Connection, call, fail)
    with pytest.raises(VaultpyError, match="writer process cannot be reached: no buffer space available"):
        give_back(2)


def test_damage_is_told_by_processes_as_by_threads(
    on_disk: Reader, tmp_path: Path, give_back: Callable[[int], tuple[Restored, Path]]
) -> None:
    for blob in (tmp_path / "copied store" / "blobs").rglob("*"):
        if blob.is_file():
            blob.chmod(0o600)
            blob.write_bytes(blob.read_bytes()[:-100] + bytes(100))
    alone, beside = give_back(0), give_back(2)
    assert alone[0].failed and sorted(alone[0].failed) == sorted(beside[0].failed)


def test_a_process_that_cannot_start_is_told_in_one_line(
    give_back: Callable[[int], tuple[Restored, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(VaultpyError, match="writer process cannot start: resource temporarily") as caught:
        give_back(1)
    assert "limits" in (caught.value.hint or "")
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_ends_a_process_is_told(site: Site, tmp_path: Path) -> None:
    """Also what nobody thought of: here a share that is none."""
    (tmp_path / "empty store").mkdir()
    setup = Setup(f"file://{tmp_path}/empty store", site.machine.identity, os.fsencode(tmp_path / "to"), ApplyOptions())
    (tmp_path / "to").mkdir()
    with WriterProcess(setup) as process, pytest.raises(VaultpyError, match="writer process failed: TypeError"):
        process.write(Share("blobs/x", 5, False, 3, {}, {}, {}, {}))  # type: ignore[arg-type]
