"""What hooks mean for a run: a snapshot is made or not, the exit code tells, and the last hooks always run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Died, Machine

from vaultpy.config import HookConfig, SourceConfig
from vaultpy.errors import StoreFull
from vaultpy.model import ProblemKind
from vaultpy.ops.making.create import Created
from vaultpy.ops.making.hooks import HookFailed
from vaultpy.ops.making.preview import preview


class Hooked:
    """A machine whose source has hooks that write down what they are told."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.log = machine.folder / "hooks"

    def hook(self, ends: str = "exit 0", *, must_succeed: bool = False) -> HookConfig:
        told = '"$VAULTPY_HOOK $VAULTPY_STATUS $VAULTPY_SNAPSHOT"'
        return HookConfig(("sh", "-c", f"echo {told} >> {self.log}; {ends}"), 10, must_succeed)

    def source(self, **hooks: HookConfig) -> SourceConfig:
        chosen = {"before": self.hook(), "after": self.hook(), "on_failure": self.hook()} | hooks
        return replace(self.machine.source, **chosen)  # type: ignore[arg-type]

    def create(self, *sources: SourceConfig, **options: object) -> Created:
        return self.machine.create(*sources, environment={"PATH": os.defpath}, **options)

    @property
    def said(self) -> list[str]:
        return [line.strip() for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def hooked(machine: Machine) -> Hooked:
    return Hooked(machine)


def test_hooks_run_around_a_snapshot(hooked: Hooked) -> None:
    made = hooked.create(hooked.source())
    assert made.exit_code == 0 and made.snapshot is not None
    assert hooked.said == ["before", f"after complete {made.snapshot.id}"]


def test_what_a_hook_makes_before_is_in_the_snapshot(hooked: Hooked) -> None:
    hooked.create(hooked.source(before=hooked.hook(f"echo made > {hooked.machine.tree}/by-hook")))
    assert (hooked.machine.restore() / "by-hook").read_text() == "made\n"


def test_nothing_changed_is_told(hooked: Hooked) -> None:
    source = hooked.source()
    hooked.create(source)
    made = hooked.create(source, if_changed=True)
    assert made.snapshot is None
    assert hooked.said[2:] == ["before", "after unchanged"]


def test_a_failing_before_keeps_the_snapshot_from_being_made(hooked: Hooked) -> None:
    made = hooked.create(hooked.source(before=hooked.hook("echo no room >&2; exit 5", must_succeed=True)))
    assert made.exit_code == 1 and made.snapshot is None
    assert isinstance(made.error, HookFailed) and "no room" in made.error.message
    assert hooked.machine.objects("metadata/") == set()
    assert hooked.said == ["before", "after failed", "on_failure failed"]


def test_a_failing_before_that_need_not_succeed_is_a_problem_of_the_snapshot(hooked: Hooked) -> None:
    made = hooked.create(hooked.source(before=hooked.hook("exit 5")))
    assert made.exit_code == 3 and made.snapshot is not None and made.snapshot.problems == 1
    assert [(one.path, one.kind) for one in made.problems] == [(b"hook before", ProblemKind.FAILED)]
    stored = hooked.machine.rows("SELECT path, kind FROM problems")
    assert stored == [(b"hook before", "failed")]
    assert hooked.said[1:] == [f"after incomplete {made.snapshot.id}", f"on_failure incomplete {made.snapshot.id}"]


def test_a_failing_after_leaves_the_snapshot_and_an_exit_code(hooked: Hooked) -> None:
    made = hooked.create(hooked.source(after=hooked.hook("exit 5")))
    assert made.exit_code == 3 and made.snapshot is not None
    assert hooked.machine.comes_back()
    made = hooked.create(hooked.source(after=hooked.hook("exit 5", must_succeed=True)))
    assert made.exit_code == 1 and made.snapshot is not None


def test_a_source_that_cannot_be_read_runs_the_last_hooks_and_the_next_source(hooked: Hooked) -> None:
    gone = replace(hooked.source(), name="gone", paths=(b"/nonexistent",))
    made = hooked.create(gone, hooked.source())
    assert made.exit_code == 0
    assert [line.split()[:2] for line in hooked.said] == [
        ["before"],
        ["after", "failed"],
        ["on_failure", "failed"],
        ["before"],
        ["after", "complete"],
    ]


@pytest.mark.parametrize("failure", [StoreFull("store memory: is full"), KeyboardInterrupt(), Died()])
def test_whatever_ends_a_run_what_was_stopped_for_it_is_started_again(hooked: Hooked, failure: BaseException) -> None:
    def fail(verb: str, name: str) -> None:
        if verb == "put" and name.startswith("blobs/"):
            raise failure

    hooked.machine.store.before = fail
    with pytest.raises(type(failure)):
        hooked.create(hooked.source())
    assert hooked.said == ["before", "after failed", "on_failure failed"]


def test_a_dry_run_runs_no_hook(hooked: Hooked, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    config = replace(hooked.machine.vault.config, store=(tmp_path / "store").as_uri())
    preview(config, hooked.source())
    assert hooked.said == []
