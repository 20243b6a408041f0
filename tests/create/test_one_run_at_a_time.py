"""One run at a time per state folder; the lock names its holder, and a crash never leaves it held."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from machine import Machine

from vaultpy.lock import HeldLock, hold_lock

HOLD = """
import sys, time, pathlib
from vaultpy.lock import hold_lock
with hold_lock(pathlib.Path(sys.argv[1]), "snapshot create", clock=time.time_ns):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is at work."""
    command = [sys.executable, "-c", HOLD, machine.vault.paths.lock]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_run_is_told_who_holds_the_lock(machine: Machine, holder: subprocess.Popen[bytes]) -> None:
    with pytest.raises(HeldLock) as caught:
        machine.create()
    assert caught.value.exit_code == 11
    assert f"snapshot create (process {holder.pid})" in caught.value.message
    assert caught.value.since is not None
    assert machine.store.calls == [], "the store was not touched"


def test_a_killed_run_leaves_no_lock_behind(machine: Machine, holder: subprocess.Popen[bytes]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    machine.snapshot()
    assert machine.comes_back()


def test_the_lock_is_free_again_after_a_run(machine: Machine) -> None:
    machine.snapshot()
    with hold_lock(machine.vault.paths.lock, "a test", clock=machine.clock):
        pass
    machine.snapshot()


def test_a_run_waits_for_the_lock_as_long_as_it_was_told(machine: Machine, holder: subprocess.Popen[bytes]) -> None:
    with pytest.raises(HeldLock):
        machine.create(wait_seconds=0.3)
    holder.kill()
    machine.create(wait_seconds=5)
    assert machine.comes_back()


def test_a_run_that_has_just_taken_the_lock_is_waited_for_until_it_says_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under cron nothing is wrong as long as another run is at work: that has to be known, then."""
    said, waits = {"pid": 7, "what": "snapshot create", "since": 123}, list[float]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        machine.vault.paths.lock.write_text(json.dumps(said))

    monkeypatch.setattr("vaultpy.lock.time.sleep", sleep)
    with machine.vault.paths.lock.open("w") as taken:
        fcntl.flock(taken, fcntl.LOCK_EX)
        with pytest.raises(HeldLock) as caught:
            machine.create()
    assert (caught.value.since, len(waits)) == (123, 1)


def test_a_lock_that_says_nothing_is_another_runs(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr("vaultpy.lock.time.sleep", lambda seconds: None)
    monkeypatch.setattr("vaultpy.lock.time.monotonic", lambda: next(now))
    with machine.vault.paths.lock.open("w") as taken:
        fcntl.flock(taken, fcntl.LOCK_EX)
        with pytest.raises(HeldLock, match="held by another run"):
            machine.create()


def test_a_run_that_ended_is_not_named_as_the_holder(machine: Machine) -> None:
    machine.snapshot()
    assert machine.vault.paths.lock.read_bytes() == b""
