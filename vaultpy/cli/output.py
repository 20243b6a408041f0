"""What a run shows: the result on standard output, everything else on standard error.

The only importer of rich, and only where a terminal gets something from it.  Everything shown passes `printable` here, so
no renderer can forget it.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from vaultpy.cli.nowhere import Unheard
from vaultpy.cli.text import json_bytes, printable
from vaultpy.errors import VaultpyError
from vaultpy.events import Event, Noticed, OnEvent, ProblemMet, StepAdvanced, StepBegan

if TYPE_CHECKING:
    from rich.progress import Progress

_PROBLEMS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Mode:
    """How much is said: `json` one document; `quiet` only what was asked for and what went wrong; `cron` only the latter."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    cron: bool = False

    @property
    def silent(self) -> bool:
        return self.quiet or self.cron


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with headings; those in `right` are aligned right.  All rows are held, so it is for hundreds of them.

    A column in which no row has anything is left out."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    right: frozenset[str] = frozenset()


Part = str | Table | Iterator[str]
"""What a person is shown: a line, a table, or many lines one by one."""


class Output:
    """The two streams of a run and how much it may say.  `follow` may be called from several threads.

    Standard output that fails is an error, because it is what was asked for; standard error may go away.
    """

    def __init__(self, mode: Mode, stdout: TextIO, stderr: TextIO) -> None:
        self._mode, self._stdout = mode, stdout
        self._stderr = cast(TextIO, Unheard(stderr))
        self._bar: _Bar | None = None
        self._problems = 0

    def show(self, document: object, *parts: Part) -> None:
        """What was asked for: `document` under --json, else `parts`.  An iterator, as the document or as the last value of
        its object, becomes a list, one element at a time."""
        with _translated():
            if self._mode.json:
                self._stdout.writelines(_encode(document))
            else:
                for part in parts:
                    self._show_part(part)
            self._stdout.flush()

    def done(self, document: object, *parts: Part) -> None:
        """What was achieved: like `show`, but people who asked for silence are spared it."""
        if self._mode.json or not self._mode.silent:
            self.show(document, *parts)

    def warn(self, text: str) -> None:
        """One line on standard error, whatever silence was asked for."""
        self._say(f"vaultpy: warning: {text}")

    def note(self, text: str) -> None:
        """One line on standard error, unless silence was asked for."""
        if not self._mode.silent:
            self._say(text)

    def tell(self, text: str) -> None:
        """One line on standard error, whatever silence was asked for: somebody has to do something (touch a key)."""
        self._say(text.strip())

    def detail(self, text: str) -> None:
        """One line on standard error under --verbose."""
        if self._mode.verbose:
            self._say(text)

    @contextlib.contextmanager
    def following(self) -> Iterator[OnEvent]:
        """Gives the function that operations tell their events to; a bar is drawn on a terminal until the block ends."""
        if not self._mode.silent and self._stderr.isatty():
            self._bar = _Bar(self._stderr)
        try:
            yield self._follow
        finally:
            if self._bar:
                self._bar.stop()
                self._bar = None
            hidden = self._problems - _PROBLEMS_SHOWN
            if hidden > 0 and not self._mode.verbose:
                self._say(f"vaultpy: and {hidden} more problems (--verbose shows all)")
            self._problems = 0

    def _follow(self, event: Event) -> None:
        match event:
            case Noticed(text, warning):
                (self.warn if warning else self.note)(text)
            case ProblemMet(problem) if self._mode.cron and not self._mode.verbose and problem.kind.is_note:
                pass  # every night, and kept with the snapshot: nobody would read the mail that matters any more
            case ProblemMet(problem):
                self._problems += 1
                if self._mode.verbose or self._problems <= _PROBLEMS_SHOWN:
                    self._say(f"vaultpy: {printable(problem.path)}: {problem.kind}: {problem.detail}")
            case StepBegan() | StepAdvanced():
                if self._bar:
                    self._bar.follow(event)

    def _say(self, line: str) -> None:
        text = printable(line)
        if self._bar:
            self._bar.print(text)
        else:
            print(text, file=self._stderr, flush=True)

    def _show_part(self, part: Part) -> None:
        if isinstance(part, Table):
            self._stdout.writelines(f"{line}\n" for line in _lay_out(part))
        else:
            lines = (part,) if isinstance(part, str) else part
            self._stdout.writelines(f"{printable(line)}\n" for line in lines)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read along has seen enough: main ends quietly
    except OSError as error:
        raise VaultpyError(f"standard output: {(error.strerror or str(error)).lower()}") from error


def _encode(document: object) -> Iterator[str]:
    # ASCII only: equal for every reader, and nothing in it can steer a terminal.
    encode = json.JSONEncoder(default=_as_json).encode
    if isinstance(document, Iterator):
        yield from _encode_all(document)
    elif isinstance(document, dict) and isinstance(last := next(reversed(document.values()), None), Iterator):
        *names, name = document
        yield "{" + "".join(f"{encode(one)}: {encode(document[one])}, " for one in names) + f"{encode(name)}: "
        yield from _encode_all(last)
        yield "}"
    else:
        yield encode(document)
    yield "\n"


def _encode_all(elements: Iterator[object]) -> Iterator[str]:
    encode = json.JSONEncoder(default=_as_json).encode
    opening = "["
    for element in elements:
        yield f"{opening}{encode(element)}"
        opening = ",\n "
    yield "[]" if opening == "[" else "]"


def _as_json(value: object) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Path):
        return json_bytes(os.fsencode(value))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _lay_out(table: Table) -> Iterator[str]:
    """Columns two spaces apart, never cut and never wrapped: an id broken in two can neither be read nor copied."""
    shown = [n for n in range(len(table.columns)) if not table.rows or any(row[n] for row in table.rows)]
    rows = [[printable(row[n]) for n in shown] for row in (table.columns, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [table.columns[n] in table.right for n in shown]
    for row in rows:
        cells = zip(row, widths, right, strict=True)
        yield "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width) for cell, width, is_right in cells
        ).rstrip()


class _Bar:
    """A line at the foot of the terminal that follows a step: how far, how fast, how long still."""

    def __init__(self, stderr: TextIO) -> None:
        self._stderr = stderr
        self._progress: Progress | None = None
        self._task: Any = None
        self._by_bytes = True

    def follow(self, event: StepBegan | StepAdvanced) -> None:
        if isinstance(event, StepBegan):
            self._begin(event)
        elif self._progress is not None:
            done = event.bytes if self._by_bytes else event.files
            self._progress.update(self._task, completed=done, files=f"{event.files:,} files" if event.files else "")

    def print(self, text: str) -> None:
        if self._progress is None:
            print(text, file=self._stderr, flush=True)
        else:
            self._progress.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _begin(self, event: StepBegan) -> None:
        self.stop()
        self._by_bytes = event.bytes_total is not None or event.files_total is None
        self._progress = _progress(self._stderr, self._by_bytes)
        total = event.bytes_total if self._by_bytes else event.files_total
        self._task = self._progress.add_task(printable(event.name), total=total, files="")
        self._progress.start()


def _progress(stderr: TextIO, by_bytes: bool) -> Progress:
    from rich import progress as bars
    from rich.console import Console

    amount: tuple[bars.ProgressColumn, ...] = (
        (bars.DownloadColumn(binary_units=True), bars.TransferSpeedColumn())
        if by_bytes
        else (bars.MofNCompleteColumn(),)
    )
    return bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        *amount,
        bars.TextColumn("{task.fields[files]}", markup=False),
        bars.TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(file=stderr),
        transient=True,
    )
