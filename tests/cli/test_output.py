"""What is shown where: results, warnings, tables, JSON, progress; and names that cannot steer a terminal."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.cli.output import Mode, Output, Table
from vaultpy.cli.text import format_time, json_bytes, json_time, printable
from vaultpy.events import Noticed, ProblemMet, StepAdvanced, StepBegan
from vaultpy.model import Problem, ProblemKind

TABLE = Table(("name", "size"), [["a\x1b[31m", "1 B"], ["[red]bc", "10 B"]], right=frozenset({"size"}))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Streams:
    def __init__(self, mode: Mode, stream: Callable[[], io.StringIO] = io.StringIO) -> None:
        self.out, self.err = stream(), stream()
        self.output = Output(mode, self.out, self.err)


def problem(number: int) -> ProblemMet:
    return ProblemMet(Problem(b"/p\n%d" % number, ProblemKind.UNREADABLE, "permission denied"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain", "plain"),
        ("ünïcode 名前", "ünïcode 名前"),
        (b"\x00\x1f\x7f", "\\x00\\x1f\\x7f"),
        (b"a\nb\tc\rd", "a\\x0ab\\x09c\\x0dd"),
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x80\x9b\x9f", "\\u0080\\u009b\\u009f"),
        ("\u202a\u202e\u2066\u2069", "\\u202a\\u202e\\u2066\\u2069"),
        (b"\xff\xc3", "\\xff\\xc3"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\ud800"),
        (" ~\xa0\u2029\u202f\u2065\u206a", " ~\xa0\u2029\u202f\u2065\u206a"),
    ],
)
def test_a_name_is_shown_so_that_it_cannot_steer_a_terminal(name: bytes | str, shown: str) -> None:
    assert printable(name) == shown


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_no_bytes_at_all_leave_a_control_character(name: bytes) -> None:
    shown = printable(name)
    unsafe = {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    assert not unsafe & set(map(ord, shown))
    shown.encode()


@given(st.binary(max_size=50))
@settings(max_examples=100)
def test_json_has_names_exactly(name: bytes) -> None:
    import base64

    found = json.loads(json.dumps(json_bytes(name)))
    assert (base64.b64decode(found["base64"]) if isinstance(found, dict) else found.encode()) == name


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (-62_135_596_800 * 10**9, "0001-01-01T00:00:00.000000000Z"),
        (-62_135_596_801 * 10**9, "@-62135596801.000000000"),
        (253_402_300_800 * 10**9, "@253402300800.000000000"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_json_times_are_exact_and_never_fail(moment: int, shown: str) -> None:
    assert json_time(moment) == shown


def test_people_see_local_time() -> None:
    assert format_time(1_700_000_000_999_999_999) == datetime.fromtimestamp(1_700_000_000).isoformat(" ")
    assert format_time(10**12 * 10**9) == "@1000000000000"


def test_people_get_the_parts() -> None:
    streams = Streams(Mode())
    streams.output.show({"a": 1}, "one\nline", iter(["two", "three"]), TABLE)
    assert streams.out.getvalue() == ("one\\x0aline\ntwo\nthree\nname       size\na\\x1b[31m   1 B\n[red]bc    10 B\n")


def test_programs_get_one_ascii_document() -> None:
    streams = Streams(Mode(json=True))
    some = uuid.UUID(int=5)
    streams.output.show({"id": some, "path": Path("/ä"), "n": None, "odd": "\x9b\u202e"}, "not shown")
    text = streams.out.getvalue()
    assert text.isascii()
    assert text.count("\n") == 1
    assert json.loads(text) == {"id": str(some), "path": "/ä", "n": None, "odd": "\x9b\u202e"}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_iterator_is_written_as_a_list(number: int) -> None:
    streams = Streams(Mode(json=True))
    streams.output.show(iter([{"n": n} for n in range(number)]))
    assert json.loads(streams.out.getvalue()) == [{"n": n} for n in range(number)]


def test_what_has_no_json_form_is_a_mistake_and_not_a_guess() -> None:
    with pytest.raises(TypeError):
        Streams(Mode(json=True)).output.show({"name": b"bytes"})


@pytest.mark.parametrize(
    ("mode", "shown", "done", "note", "detail"),
    [
        (Mode(), True, True, True, False),
        (Mode(verbose=True), True, True, True, True),
        (Mode(quiet=True), True, False, False, False),
        (Mode(cron=True), True, False, False, False),
    ],
)
def test_silence_spares_people_what_they_did_not_ask_for(
    mode: Mode, shown: bool, done: bool, note: bool, detail: bool
) -> None:
    streams = Streams(mode)
    streams.output.show({}, "shown")
    streams.output.done({}, "done")
    streams.output.note("note")
    streams.output.detail("detail")
    streams.output.warn("wrong")
    assert ("shown" in streams.out.getvalue(), "done" in streams.out.getvalue()) == (shown, done)
    assert ("note" in streams.err.getvalue(), "detail" in streams.err.getvalue()) == (note, detail)
    assert "vaultpy: warning: wrong\n" in streams.err.getvalue()


def test_json_is_written_even_when_silent() -> None:
    streams = Streams(Mode(json=True, cron=True))
    streams.output.done({"a": 1})
    assert json.loads(streams.out.getvalue()) == {"a": 1}


def follow_a_run(streams: Streams) -> None:
    with streams.output.following() as on_event:
        on_event(StepBegan("reading home", bytes_total=1000))
        on_event(StepAdvanced(files=3, bytes=500))
        on_event(Noticed("the store is left out"))
        on_event(Noticed("clock is wrong", warning=True))
        on_event(StepBegan("looking", files_total=10))
        on_event(StepAdvanced(files=3, bytes=0))
        on_event(StepBegan("counting"))
        on_event(StepAdvanced(files=4, bytes=7))


def test_without_a_terminal_there_is_no_bar() -> None:
    streams = Streams(Mode())
    follow_a_run(streams)
    assert streams.err.getvalue() == "the store is left out\nvaultpy: warning: clock is wrong\n"


def test_under_cron_only_warnings_and_problems_are_said_even_on_a_terminal() -> None:
    streams = Streams(Mode(cron=True), Terminal)
    follow_a_run(streams)
    assert streams.err.getvalue() == "vaultpy: warning: clock is wrong\n"


def test_a_terminal_gets_a_bar_and_the_lines_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    streams = Streams(Mode(), Terminal)
    follow_a_run(streams)
    shown = streams.err.getvalue()
    assert "reading home" in shown
    assert "3 files" in shown
    assert "looking" in shown
    assert "vaultpy: warning: clock is wrong" in shown
    assert streams.out.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["pipe", "terminal"])
def test_no_line_of_a_table_is_cut_or_broken(
    stream: Callable[[], io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id has to be read, and copied, on a terminal of any width."""
    monkeypatch.setenv("COLUMNS", "20")
    streams = Streams(Mode(), stream)
    streams.output.show({}, Table(("id", "name"), [[str(uuid.UUID(int=7)), "[red]bc"]]))
    assert streams.out.getvalue() == f"id{' ' * 36}name\n{uuid.UUID(int=7)}  [red]bc\n"


def test_a_column_in_which_nothing_stands_is_left_out() -> None:
    streams = Streams(Mode())
    streams.output.show({}, Table(("id", "tags", "size"), [["a", "", "1"], ["b", "", ""]]))
    assert streams.out.getvalue() == "id  size\na   1\nb\n"
    streams = Streams(Mode())
    streams.output.show({}, Table(("id", "tags"), []))
    assert streams.out.getvalue() == "id  tags\n"


@pytest.mark.parametrize("number", [19, 20, 21, 25])
def test_many_problems_are_counted_after_the_first_twenty(number: int) -> None:
    streams = Streams(Mode(cron=True))
    with streams.output.following() as on_event:
        for n in range(number):
            on_event(problem(n))
    lines = streams.err.getvalue().splitlines()
    assert lines[0] == "vaultpy: /p\\x0a0: unreadable: permission denied"
    assert len(lines) == min(number, 20) + (number > 20)
    assert (f"and {number - 20} more problems" in lines[-1]) == (number > 20)


@pytest.mark.parametrize("kind", ProblemKind)
@pytest.mark.parametrize("mode", [Mode(cron=True), Mode(cron=True, verbose=True), Mode(quiet=True)])
def test_cron_does_not_mail_what_makes_no_run_a_failure(mode: Mode, kind: ProblemKind) -> None:
    """Files that vanish or change are met every night, and nobody reads what comes every night."""
    streams = Streams(mode)
    with streams.output.following() as on_event:
        for _ in range(25):
            on_event(ProblemMet(Problem(b"/a", kind, "why")))
    silent = mode == Mode(cron=True) and kind in (ProblemKind.VANISHED, ProblemKind.CHANGED)
    assert (streams.err.getvalue() == "") == silent


def test_verbose_shows_every_problem() -> None:
    streams = Streams(Mode(verbose=True))
    with streams.output.following() as on_event:
        for n in range(30):
            on_event(problem(n))
    assert len(streams.err.getvalue().splitlines()) == 30


@pytest.mark.parametrize("elements", [[], [{"a": 1}], [{"a": 1}, "\u202e"]])
def test_a_list_at_the_end_of_an_object_is_written_one_by_one(elements: list[object]) -> None:
    streams = Streams(Mode(json=True))
    streams.output.show({"one": 1, "id": uuid.UUID(int=5), "all": iter(elements)})
    written = streams.out.getvalue()
    assert json.loads(written) == {"one": 1, "id": str(uuid.UUID(int=5)), "all": elements}
    assert written.isascii() and written.endswith("}\n")
