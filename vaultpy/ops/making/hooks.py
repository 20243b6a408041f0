"""Programs that a person wants run around a snapshot: before it, after it, and when something went wrong."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from vaultpy.config import HookConfig, SourceConfig
from vaultpy.errors import SourceError
from vaultpy.events import OnEvent, ProblemMet
from vaultpy.model import Problem, ProblemKind, SnapshotId
from vaultpy.source.programs import ProgramFailed, run_program


class HookFailed(SourceError):
    """A hook that must succeed did not."""


class Status(enum.StrEnum):
    """What became of a source, as hooks are told it."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a source; `error` says what went wrong, "" where nothing did."""

    status: Status
    snapshot: SnapshotId | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """What the last hooks themselves left to be told; `error` where one had to succeed and did not."""

    problems: tuple[Problem, ...] = ()
    error: HookFailed | None = None


class Hooks:
    """The hooks of one source, in one run: `before` once, then `end` once, whatever happened between the two."""

    def __init__(self, source: SourceConfig, environment: Mapping[str, str], on_event: OnEvent) -> None:
        """`environment` is what the programs get, besides what is said to hooks."""
        self._source, self._environment, self._on_event = source, environment, on_event

    def before(self) -> tuple[Problem, ...]:
        """What the snapshot has to say of the hook.  Raises HookFailed where it must succeed and did not."""
        ended = self._run("before", self._source.before, {})
        if ended.error is not None:
            raise ended.error
        return ended.problems

    def end(self, outcome: Outcome) -> Ended:
        """Run `after`, and `on_failure` where anything failed, `after` too."""
        after = self._run("after", self._source.after, _variables(outcome))
        if after != Ended():
            status = Status.FAILED if after.error or outcome.status == Status.FAILED else Status.INCOMPLETE
            said = [outcome.error, *(f"hook after: {one.detail}" for one in after.problems)]
            said += [after.error.message] if after.error else []
            outcome = Outcome(status, outcome.snapshot, "\n".join(filter(None, said)))
        if outcome.status not in (Status.INCOMPLETE, Status.FAILED):
            return after
        last = self._run("on_failure", self._source.on_failure, _variables(outcome))
        return Ended(after.problems + last.problems, after.error or last.error)

    def _run(self, name: str, hook: HookConfig | None, said: Mapping[str, str]) -> Ended:
        if hook is None:
            return Ended()
        environment = {**self._environment, "VAULTPY_HOOK": name, "VAULTPY_SOURCE": self._source.name, **said}
        try:
            run_program(hook.run, environment, hook.timeout)
        except ProgramFailed as failure:
            if hook.must_succeed:
                return Ended(error=HookFailed(f"hook {name}: {failure.message}"))
            problem = Problem(f"hook {name}".encode(), ProblemKind.FAILED, failure.message)
            self._on_event(ProblemMet(problem))
            return Ended((problem,))
        return Ended()


def _variables(outcome: Outcome) -> dict[str, str]:
    return {
        "VAULTPY_STATUS": outcome.status,
        "VAULTPY_SNAPSHOT": "" if outcome.snapshot is None else str(outcome.snapshot),
        "VAULTPY_ERROR": outcome.error.replace("\0", "\\0"),
    }
