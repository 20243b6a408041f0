"""Worker processes read what a large run takes: the snapshot is the same, and whatever becomes of them, the run tells."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from machine import Machine

from vaultpy.errors import SourceError, VaultpyError
from vaultpy.model import ProblemKind
from vaultpy.ops import processes
from vaultpy.ops.making import create, crew, wire

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="worker processes need memory files (Linux)")


@pytest.fixture(params=[0, 1, 2])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """That many worker processes, from the first batch on."""
    use_workers(monkeypatch, request.param)
    return int(request.param)


def use_workers(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(create, "count_workers", lambda readers: count)
    monkeypatch.setattr(crew, "START_FILES", 0)


def children() -> set[int]:
    return {int(one) for one in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_a_tree_comes_back_whoever_read_it(machine: Machine, workers: int) -> None:
    before = children()
    large = os.urandom(9_000_000)
    (machine.tree / "large").write_bytes(large)
    (machine.tree / "large again").write_bytes(b"x" + large)
    (machine.tree / "empty").touch()
    os.setxattr(machine.tree / "large", b"user.note", b"n" * 3000)
    for number in range(1200):
        (machine.tree / "folder1" / f"small {number}").write_bytes(b"%d" % (number // 2))
    first = machine.snapshot()
    assert first.counts is not None and first.counts.new_bytes < 2 * len(large)
    assert machine.comes_back()
    (machine.tree / "large").write_bytes(large + b"more")
    machine.snapshot()
    assert machine.comes_back()
    assert children() == before, "no process is left"


def test_what_cannot_be_read_is_noted_whoever_meets_it(machine: Machine, workers: int) -> None:
    bad = machine.tree / "folder0" / "gone"
    bad.write_bytes(b"soon gone")
    real = crew.Crew.read

    def read(self: crew.Crew, *arguments: object) -> None:
        bad.unlink(missing_ok=True)
        real(self, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crew.Crew, "read", read)
        made = machine.create()
    assert [(one.path, one.kind) for one in made.problems] == [(os.fsencode(bad), ProblemKind.VANISHED)]
    assert not (machine.restore() / "folder0" / "gone").exists()


@pytest.mark.parametrize("moment", ["at once", "with the first blob"])
def test_a_worker_that_is_killed_fails_the_run_and_the_next_one_is_whole(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    use_workers(monkeypatch, 1)
    (machine.tree / "large").write_bytes(os.urandom(6_000_000))
    before = children()

    def kill(*_: object) -> None:
        for one in children() - before:
            os.kill(one, signal.SIGKILL)

    with monkeypatch.context() as patch:
        if moment == "at once":
            start = crew._Worker.__init__
            patch.setattr(crew._Worker, "__init__", lambda self, *args: (start(self, *args), kill())[0])
        else:
            patch.setattr(wire.Wire, "take_blob", kill)
        with pytest.raises(VaultpyError) as caught:
            machine.create()
    if moment == "at once":
        assert "killed by signal 9" in caught.value.message
    assert children() == before
    machine.snapshot()
    assert machine.comes_back()


def test_what_ends_a_worker_is_said_by_the_run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    use_workers(monkeypatch, 1)
    monkeypatch.setattr(wire.Wire, "take_fds", lambda self, count: [])
    real = crew._Worker.read

    def read(self: crew._Worker, *_: object) -> None:
        self._wire.send("no message that it knows")

    monkeypatch.setattr(crew._Worker, "read", read)
    with pytest.raises(VaultpyError) as caught:
        machine.create()
    assert not isinstance(caught.value, SourceError) and "worker process failed" in caught.value.message
    assert real is not read


def test_a_worker_that_cannot_start_is_said_by_the_run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    use_workers(monkeypatch, 1)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(VaultpyError) as caught:
        machine.create()
    assert "worker process cannot start" in caught.value.message and "readers" in (caught.value.hint or "")


def test_a_line_to_a_worker_that_the_system_fails_is_said(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    use_workers(monkeypatch, 1)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    monkeypatch.setattr(wire.Connection, "send_bytes", fail)
    with pytest.raises(VaultpyError, match="worker process cannot be reached: no buffer space available"):
        machine.create()
    assert not children()


def test_a_worker_that_ends_before_it_is_told_anything_is_said_by_the_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_workers(monkeypatch, 1)
    real = crew._start
    before, threads = children(), threading.active_count()

    def start() -> tuple[subprocess.Popen[bytes], wire.Wire]:
        process, joined = real()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        return process, joined

    monkeypatch.setattr(processes, "_command", lambda module, fd: ["false"])
    monkeypatch.setattr(crew, "_start", start)
    with pytest.raises(VaultpyError, match="worker process ended with 1 before it was done"):
        machine.create()
    assert children() == before
    assert threading.active_count() <= threads


def test_a_worker_ends_when_the_run_that_it_works_for_is_killed(tmp_path: Path) -> None:
    script = (
        "import queue, time\n"
        "from pathlib import Path\n"
        "from vaultpy.ops.making.crew import _Worker\n"
        "from vaultpy.ops.making.seal import SealSettings\n"
        "from vaultpy.ops.making.wire import Setup\n"
        "from vaultpy.age import X25519Identity\n"
        "one = _Worker(Setup((), SealSettings(3, 1 << 20), Path()), queue.SimpleQueue(), print)\n"
        "print(one._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        worker = int(run.stdout.readline())
        run.kill()
    deadline = time.monotonic() + 20
    while _lives(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(worker)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_run_that_fails_leaves_no_descriptor_open(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    use_workers(monkeypatch, 1)
    machine.snapshot()
    (machine.tree / "more").write_bytes(os.urandom(1_000_000))
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(wire.Wire, "take_blob", lambda *_: (_ for _ in ()).throw(VaultpyError("no")))
        with pytest.raises(VaultpyError):
            machine.create()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert threading.active_count() <= threads


def test_many_folders_of_few_files_need_few_descriptors(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    use_workers(monkeypatch, 2)
    for number in range(1000):
        folder = machine.tree / f"one {number}"
        folder.mkdir()
        (folder / "file").write_bytes(b"%d" % number)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 200, hard))
    try:
        machine.snapshot()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert machine.comes_back()


def test_a_store_that_fails_while_both_ends_wait_to_be_heard_ends_the_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_workers(monkeypatch, 1)
    for number in range(2200):
        path = machine.tree / "folder0" / f"{number:04} {'long' * 60}"
        path.touch()
        if number < 120:
            os.setxattr(path, b"user.note", b"n" * 3000)  # a part that fills the socket

    def receive(_: wire.Wire) -> None:
        _when_main_waits()
        raise VaultpyError("store is full")

    monkeypatch.setattr(wire.Wire, "receive", receive)
    with pytest.raises(VaultpyError, match="store is full"):
        machine.create()


def _when_main_waits() -> None:
    """Wait until the main thread waits in a call of the system."""
    deadline, before = time.monotonic() + 20, ""
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = Path(f"/proc/{os.getpid()}/syscall").read_text()
        if now == before and not now.startswith("running"):
            return
        before = now
