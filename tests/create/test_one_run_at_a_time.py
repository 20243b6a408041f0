"""One run at a time per state folder; the lock names its holder, and a crash never leaves it held."""

from __future__ import annotations

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
