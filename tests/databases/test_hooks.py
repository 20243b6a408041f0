"""Hooks: told what happens, bounded, silent unless wrong, and the last ones run whatever happened."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

import pytest

from vaultpy.config import HookConfig, SourceConfig
from vaultpy.events import Event, ProblemMet
from vaultpy.model import Problem, ProblemKind, SnapshotId
from vaultpy.ops.making.hooks import Ended, HookFailed, Hooks, Outcome, Status

SNAPSHOT = SnapshotId(UUID("0192e4a1-7c5b-7d10-9c3e-5f1a2b3c4d5e"))


class Around:
    """A source whose hooks write what they are told into a file, each in its own section."""

    def __init__(self, folder: Path) -> None:
        self.told = folder / "told"
        self.events: list[Event] = []
        self.script = f"(echo ==; env | grep ^VAULTPY_ | sort) | tee -a {self.told};"

    def hook(self, ends: str = "exit 0", *, must_succeed: bool = False, timeout: int = 10) -> HookConfig:
        return HookConfig(("sh", "-c", f"{self.script} {ends}"), timeout, must_succeed)

    def hooks(self, **settings: HookConfig) -> Hooks:
        environment = {"PATH": os.defpath}
        return Hooks(SourceConfig("home", (b"/home",), **settings), environment, self.events.append)

    @property
    def names(self) -> list[str]:
        """Which hooks ran, in their order."""
        return [said["VAULTPY_HOOK"] for said in self.said]

    @property
    def said(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        for line in self.told.read_text().splitlines() if self.told.exists() else ():
            if line == "==":
                found.append({})
            elif "=" in line:
                found[-1].update([line.split("=", 1)])
        return found


@pytest.fixture
def around(tmp_path: Path) -> Around:
    return Around(tmp_path)


def test_without_hooks_nothing_happens(around: Around) -> None:
    hooks = around.hooks()
    assert hooks.before() == ()
    assert hooks.end(Outcome(Status.FAILED, None, "x")) == Ended()


def test_each_hook_is_told_what_happens(around: Around) -> None:
    hooks = around.hooks(before=around.hook(), after=around.hook(), on_failure=around.hook())
    hooks.before()
    assert around.said == [{"VAULTPY_HOOK": "before", "VAULTPY_SOURCE": "home"}]
    assert hooks.end(Outcome(Status.INCOMPLETE, SNAPSHOT, "/home/x: unreadable")) == Ended()
    told = {
        "VAULTPY_SOURCE": "home",
        "VAULTPY_STATUS": "incomplete",
        "VAULTPY_SNAPSHOT": str(SNAPSHOT),
        "VAULTPY_ERROR": "/home/x: unreadable",
    }
    assert around.said[1:] == [{"VAULTPY_HOOK": "after", **told}, {"VAULTPY_HOOK": "on_failure", **told}]
    assert around.events == [], "what they write is shown only where they fail"


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (Status.COMPLETE, ["after"]),
        (Status.UNCHANGED, ["after"]),
        (Status.INCOMPLETE, ["after", "on_failure"]),
        (Status.FAILED, ["after", "on_failure"]),
    ],
)
def test_on_failure_runs_last_and_only_on_failure(around: Around, status: Status, names: list[str]) -> None:
    around.hooks(after=around.hook(), on_failure=around.hook()).end(Outcome(status))
    assert around.names == names


def test_a_before_that_must_succeed_and_does_not_is_an_error(around: Around) -> None:
    with pytest.raises(HookFailed, match=r"^hook before: sh: exit code 3: ==\nVAULTPY_HOOK=before") as caught:
        around.hooks(before=around.hook("exit 3", must_succeed=True)).before()
    assert caught.value.exit_code == 3 and around.events == []


def test_a_before_that_need_not_succeed_leaves_a_problem(around: Around) -> None:
    [problem] = around.hooks(before=around.hook("exit 3")).before()
    assert (problem.path, problem.kind) == (b"hook before", ProblemKind.FAILED)
    assert problem.detail.startswith("sh: exit code 3")
    assert around.events == [ProblemMet(problem)]


def test_a_failing_after_is_a_failure_too(around: Around) -> None:
    hooks = around.hooks(after=around.hook("echo lost >&2; exit 1"), on_failure=around.hook())
    ended = hooks.end(Outcome(Status.COMPLETE, SNAPSHOT))
    assert ended.error is None and [one.path for one in ended.problems] == [b"hook after"]
    assert around.said[1]["VAULTPY_HOOK"] == "on_failure"
    assert around.said[1]["VAULTPY_STATUS"] == "incomplete"
    assert around.said[1]["VAULTPY_ERROR"].startswith("hook after: sh: exit code 1")


def test_an_after_that_must_succeed_and_does_not_is_an_error(around: Around) -> None:
    hooks = around.hooks(after=around.hook("exit 1", must_succeed=True), on_failure=around.hook())
    ended = hooks.end(Outcome(Status.COMPLETE, SNAPSHOT))
    assert isinstance(ended.error, HookFailed) and ended.problems == ()
    assert around.said[1]["VAULTPY_STATUS"] == "failed"


def test_a_failing_on_failure_is_told(around: Around) -> None:
    ended = around.hooks(on_failure=around.hook("exit 1")).end(Outcome(Status.FAILED, None, "x"))
    assert [one.path for one in ended.problems] == [b"hook on_failure"]


def test_a_hook_that_takes_too_long_failed(around: Around) -> None:
    [problem] = around.hooks(before=HookConfig(("sleep", "1000"), 1)).before()
    assert problem == Problem(b"hook before", ProblemKind.FAILED, "sleep: not done after 1 s")


def test_a_hook_that_is_not_there_failed(around: Around) -> None:
    [problem] = around.hooks(before=HookConfig(("/nonexistent/hook",))).before()
    assert problem.detail == "/nonexistent/hook: cannot be run: no such file or directory"


def test_an_error_with_odd_characters_is_told(around: Around) -> None:
    around.hooks(after=around.hook()).end(Outcome(Status.FAILED, None, "a\0b \udcff"))
    assert around.told.read_bytes().count(b"VAULTPY_ERROR=a\\0b \xff\n") == 1
