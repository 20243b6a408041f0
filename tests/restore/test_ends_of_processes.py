"""How a process of ours that should have gone on is said to have ended, and that nobody waits for it for ever."""

from __future__ import annotations

import signal
import subprocess

import pytest

from vaultpy.ops import processes
from vaultpy.ops.processes import end_of


@pytest.mark.parametrize(
    ("script", "says"),
    [("exit 3", "worker process ended with 3 before"), ("kill -9 $$", "worker process was killed by signal 9 before")],
)
def test_how_it_ended_is_said(script: str, says: str) -> None:
    assert end_of("worker", subprocess.Popen(["sh", "-c", script])).startswith(says)


def test_one_that_lives_on_without_its_line_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_END_SECONDS", 0.1)
    process = subprocess.Popen(["sleep", "1000"])
    assert end_of("worker", process) == "worker process let go of its line before it was done"
    assert process.wait() == -signal.SIGKILL
