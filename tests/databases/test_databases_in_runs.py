"""Databases in use, in a run: stored as the state of one moment, alone, and again only when they changed."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from busy import Busy, busy, transactions_in
from machine import SECOND, Machine

from vaultpy.chunker import MAXIMUM
from vaultpy.model import ProblemKind
from vaultpy.ops.making import databases
from vaultpy.ops.making.create import Created
from vaultpy.source import sqlite
from vaultpy.source.sqlite import NotCaptured, Waits


@contextmanager
def application(machine: Machine, mode: str = "wal", pause: float = -1, cells: int = 200) -> Iterator[Busy]:
    folder = machine.tree / "application"
    folder.mkdir(exist_ok=True)
    with busy(folder / "app.db", mode, pause=pause, cells=cells) as writer:
        yield writer


def stored(machine: Machine) -> dict[str, int]:
    """Sizes of what the newest snapshot holds of the application's folder."""
    rows = machine.rows(
        "SELECT f.name, f.size FROM files f JOIN directories d ON d.id = f.directory_id"
        " WHERE d.name = ? AND f.last_seq IS NULL",
        b"application",
    )
    return {name.decode(): size for name, size in rows}


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths of what is captured."""
    seen: list[bytes] = []
    original = sqlite.capture

    def capture(place: sqlite.Place, scratch: Path, waits: Waits) -> int:
        seen.append(place.path)
        return original(place, scratch, waits)

    monkeypatch.setattr(sqlite, "capture", capture)
    return seen


@pytest.fixture
def never_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    def capture(place: sqlite.Place, scratch: Path, waits: Waits) -> int:
        raise NotCaptured("it is written to all the time")

    monkeypatch.setattr(sqlite, "capture", capture)


@pytest.mark.parametrize("mode", ["wal", "delete", "persist"])
def test_a_database_in_use_comes_back_as_the_state_of_one_moment(mode: str, machine: Machine) -> None:
    """Also where its journal comes and goes with each transaction, and was not there when the folder was listed."""
    with application(machine, mode, pause=0.001) as writer:
        for _ in range(4):
            machine.clock.now = time.time_ns() - 60 * SECOND  # the next run is a minute later
            before = writer.committed
            machine.snapshot()
            folder = machine.restore() / "application"
            assert [path.name for path in folder.iterdir()] == ["app.db"]
            assert transactions_in(folder / "app.db") >= before


def test_it_is_stored_without_what_belongs_to_it(machine: Machine, captures: list[bytes]) -> None:
    with application(machine) as writer:
        writer.step()
        assert {"app.db", "app.db-shm", "app.db-wal"} == set(writer.beside())
        machine.snapshot()
        assert set(stored(machine)) == {"app.db"}
        assert captures == [os.fsencode(writer.path)]
        back = machine.restore() / "application" / "app.db"
        found, live = back.stat(), writer.path.stat()
        assert (found.st_mode, found.st_uid, found.st_mtime_ns) == (live.st_mode, live.st_uid, live.st_mtime_ns)
        assert transactions_in(back) == 1


def test_only_a_commit_makes_it_captured_again(machine: Machine, captures: list[bytes]) -> None:
    with application(machine) as writer:
        writer.step()
        machine.snapshot()
        machine.snapshot()
        assert len(captures) == 1
        assert set(stored(machine)) == {"app.db"}
        assert machine.value("SELECT count(*) FROM files WHERE name = ?", b"app.db") == 1
        times = writer.path.stat()
        writer.step()
        assert times.st_mtime_ns == writer.path.stat().st_mtime_ns, "in WAL mode a commit is not seen in the file"
        machine.snapshot()
        assert len(captures) == 2
        assert transactions_in(machine.restore() / "application" / "app.db") == 2


def test_one_that_is_closed_and_opened_again_keeps_every_commit(machine: Machine) -> None:
    with application(machine) as writer:
        writer.step()
        machine.snapshot()
    machine.snapshot()
    assert transactions_in(machine.restore() / "application" / "app.db") == 1
    with closing(sqlite3.connect(writer.path)) as reader:
        reader.execute("SELECT count(*) FROM log").fetchall()
        machine.snapshot()
    assert transactions_in(machine.restore() / "application" / "app.db") == 1


def test_pages_that_stay_are_not_stored_again(machine: Machine) -> None:
    """One page in the middle and the first one change: two chunks, three where a cut moves."""
    with application(machine, cells=4400) as writer:
        writer.step()
        machine.snapshot()
        assert machine.store.uploaded > 3 * MAXIMUM
        with closing(sqlite3.connect(writer.path)) as other:
            other.execute("UPDATE cells SET filler = 'x' WHERE id = 1000")
            other.commit()
        machine.store.forget_calls()
        machine.snapshot()
        assert machine.store.uploaded < 3 * MAXIMUM


def test_leaving_out_the_journals_hides_no_database(machine: Machine, captures: list[bytes]) -> None:
    with application(machine) as writer:
        writer.step()
        machine.snapshot(replace(machine.source, exclude=("*-wal", "*-shm")))
        assert captures == [os.fsencode(writer.path)]
        assert transactions_in(machine.restore() / "application" / "app.db") == 1


def test_a_database_that_is_a_sources_path_is_captured(machine: Machine, captures: list[bytes]) -> None:
    with application(machine) as writer:
        writer.step()
        machine.snapshot(replace(machine.source, paths=(os.fsencode(writer.path),)))
        assert captures == [os.fsencode(writer.path)]


def test_as_it_is_when_that_was_asked_for(machine: Machine, captures: list[bytes]) -> None:
    source = replace(machine.source, sqlite="as-is")
    with application(machine) as writer:
        writer.step()
        writer.path.chmod(0o640)  # so that the file is younger than its journal
        machine.create(source)
        assert captures == []
        assert set(stored(machine)) == {"app.db", "app.db-shm", "app.db-wal"}
        machine.snapshot()
        assert len(captures) == 1, "what was stored as it lay there is not taken for a captured one"
        assert set(stored(machine)) == {"app.db"}
        assert transactions_in(machine.restore() / "application" / "app.db") == 1


@pytest.mark.parametrize("pattern", ["*.db", "/application/app.db"])
def test_one_that_only_the_configuration_knows_is_captured(
    pattern: str, machine: Machine, captures: list[bytes]
) -> None:
    with application(machine, "delete") as writer:
        writer.step()
        (machine.tree / "application" / "not.db").write_text("text")
        assert "app.db-journal" not in writer.beside()
        machine.snapshot()
        assert captures == []
        source = replace(machine.source, databases=(pattern,))
        machine.snapshot(source)
        assert captures == [], "nothing changed"
        writer.step()
        machine.snapshot(source)
        assert captures == [os.fsencode(writer.path)]


def test_what_only_looks_like_one_is_an_ordinary_file(machine: Machine, captures: list[bytes]) -> None:
    folder = machine.tree / "folder0"
    (folder / "notes").write_text("no database\n")
    (folder / "notes-wal").write_text("no journal\n")
    (folder / "hollow").touch()
    (folder / "hollow-journal").touch()
    (folder / "dir").mkdir()
    (folder / "dir-wal").touch()
    (folder / "link").symlink_to("notes")
    (folder / "link-wal").touch()
    (folder / "-wal").touch()
    machine.snapshot()
    assert captures == []
    assert machine.comes_back()
    machine.snapshot()
    assert machine.value("SELECT count(*) FROM files WHERE name IN (?, ?, ?)", b"notes", b"notes-wal", b"hollow") == 3


def check_as_it_lies(machine: Machine, made: Created, writer: Busy) -> None:
    assert made.exit_code == 3 and made.snapshot is not None
    [problem] = made.problems
    assert (problem.path, problem.kind) == (os.fsencode(writer.path), ProblemKind.INCONSISTENT)
    assert "stored as it lies there" in problem.detail
    assert set(stored(machine)) == {"app.db", "app.db-shm", "app.db-wal"}
    assert machine.rows("SELECT changed FROM files WHERE name = ? AND last_seq IS NULL", b"app.db") == [(1,)]


@pytest.mark.usefixtures("never_captured")
def test_one_that_cannot_be_captured_is_stored_as_it_lies_there_and_told_each_time(machine: Machine) -> None:
    with application(machine) as writer:
        writer.step()
        check_as_it_lies(machine, machine.create(), writer)
        check_as_it_lies(machine, machine.create(), writer)
        back = machine.restore() / "application"
        assert transactions_in(back / "app.db") == 1, "nobody wrote meanwhile, so the files belong together"


def test_after_a_failure_the_next_run_captures(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with application(machine) as writer:
        writer.step()
        with monkeypatch.context() as patch:
            patch.setattr(sqlite, "MARGIN", 1 << 60)
            made = machine.create()
            check_as_it_lies(machine, made, writer)
            assert "free" in made.problems[0].detail
        machine.snapshot()
        assert set(stored(machine)) == {"app.db"}


def test_a_damaged_database_is_stored_as_it_lies_there(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "PATIENCE", Waits(short=0.1, long=0.1))
    (machine.tree / "broken.db").write_bytes(sqlite.HEADER + os.urandom(5000))
    (machine.tree / "broken.db-journal").write_bytes(os.urandom(600))
    made = machine.create()
    assert made.exit_code == 3
    assert [(one.path, one.kind) for one in made.problems] == [
        (os.fsencode(machine.tree / "broken.db"), ProblemKind.INCONSISTENT)
    ]
    assert machine.comes_back()


def test_the_scratch_folder_can_be_chosen_and_what_a_dead_run_left_there_goes(machine: Machine) -> None:
    chosen = machine.folder / "elsewhere"
    machine.configure(scratch=chosen)
    own = chosen / str(machine.vault.host.id)
    own.mkdir(mode=0o700, parents=True)
    (own / "database-left").touch()
    (chosen / "of another host").touch()
    with application(machine) as writer:
        writer.step()
        machine.snapshot()
    assert [path.name for path in chosen.iterdir() if path.is_file()] == ["of another host"]
    assert list(own.iterdir()) == []


def test_without_times_of_changes_a_database_in_use_is_captured_each_time(
    machine: Machine, captures: list[bytes]
) -> None:
    source = replace(machine.source, compare="no-ctime")
    with application(machine) as writer:
        writer.step()
        machine.snapshot(source)
        machine.snapshot(source)
        assert len(captures) == 2


def test_another_link_to_a_database_is_an_ordinary_file(machine: Machine, captures: list[bytes]) -> None:
    with application(machine) as writer:
        writer.step()
        (machine.tree / "other-link").hardlink_to(writer.path)
        machine.snapshot()
        assert captures == [os.fsencode(writer.path)]
    back = machine.restore()
    assert not (back / "other-link").samefile(back / "application" / "app.db")
