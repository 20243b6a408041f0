"""Whoever reads from the host's own index, for however long, keeps no run of that host from writing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from machine import Machine, fill, make_machine

from vaultpy.errors import IndexBusy
from vaultpy.index import db
from vaultpy.index.at import Moment, choose_all, chosen_by_directory
from vaultpy.index.db import open_index
from vaultpy.index.needed import (
    chunks_of,
    content_of,
    folders_deepest_first,
    needed_blobs,
    nodes,
    pieces_in,
    right_paths,
    settle,
    want_all,
    wanted_paths,
)
from vaultpy.ops.reading.look import open_files
from vaultpy.ops.reading.moment import open_moment
from vaultpy.ops.reading.reader import Reader, read_manifest
from vaultpy.ops.restoring.archive import write_tar

Query = Callable[[Moment, int], Iterator[object]]

QUERIES: dict[str, Query] = {
    "chosen": lambda moment, large: chosen_by_directory(moment, [row[0] for row in moment.index.rows(_DIRECTORIES)]),
    "wanted": lambda moment, large: wanted_paths(moment),
    "right": lambda moment, large: right_paths(moment),
    "pieces": lambda moment, large: chain.from_iterable(pieces_in(moment, one) for one in needed_blobs(moment)),
    "nodes": lambda moment, large: nodes(moment),
    "folders": lambda moment, large: folders_deepest_first(moment, lambda id: 0),
    "chunks": chunks_of,
    "content": content_of,
}
_DIRECTORIES = "SELECT id FROM directories"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = make_machine(tmp_path)
    fill(made.tree)
    (made.tree / "large").write_bytes(os.urandom(12 << 20))
    made.snapshot()
    return made


@pytest.fixture
def reader(machine: Machine) -> Iterator[Reader]:
    """What this host has: its index, too."""
    with open_index(machine.vault.paths.index, read_only=True) as index:
        yield replace(machine.reader(), index=index, host=machine.vault.host)


@pytest.fixture
def large(machine: Machine) -> int:
    return int(machine.value("SELECT id FROM files WHERE name = ?", b"large"))


def wanted(machine: Machine, reader: Reader) -> Iterator[Moment]:
    with open_moment(reader, read_manifest(reader, machine.newest().id, None), ()) as moment:
        assert moment.index is reader.index
        choose_all(moment)
        want_all(moment)
        settle(moment)
        yield moment


def write(machine: Machine) -> None:
    """As a run does, that will not wait."""
    index = sqlite3.connect(machine.vault.paths.index, timeout=0, isolation_level=None)
    index.execute("UPDATE snapshots SET problems = problems")
    index.close()


@pytest.mark.parametrize("name", QUERIES)
def test_a_run_writes_between_two_rows(
    machine: Machine, reader: Reader, large: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("needed", "db"):
        monkeypatch.setattr(f"vaultpy.index.{module}.PAGE", 1)
    for moment in wanted(machine, reader):
        whole = list(QUERIES[name](moment, large))
        assert len(whole) > 1
        rows = QUERIES[name](moment, large)
        found = [next(rows)]
        moment.index.rows("SELECT * FROM files")  # whatever else is asked meanwhile
        write(machine)
        assert [*found, *rows] == whole


@pytest.mark.parametrize("query", [chunks_of, content_of])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_pages_end_to_end_are_the_whole_file(
    machine: Machine, reader: Reader, large: int, query: Query, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for moment in wanted(machine, reader):
        whole = list(query(moment, large))
        monkeypatch.setattr("vaultpy.index.needed.PAGE", len(whole) + more)
        assert list(query(moment, large)) == whole


def test_what_was_put_aside_is_the_same_as_what_is_there(machine: Machine, reader: Reader, large: int) -> None:
    with machine.index() as index:
        for moment in wanted(machine, reader):
            other = Moment(index, moment.source_id, moment.seq)
            choose_all(other)
            want_all(other)
            settle(other)
            for query in QUERIES.values():
                assert list(query(moment, large)) == list(query(other, large))


def test_a_run_ends_though_a_list_of_files_is_left_standing(machine: Machine, reader: Reader) -> None:
    """`vaultpy snapshot ls | less`, over night."""
    with open_files(reader, machine.newest(), ()) as files:
        next(files)
        (machine.tree / "new").write_bytes(b"new")
        machine.snapshot()
        assert b"large" in {os.path.basename(path) for path, _ in files}


def test_a_run_ends_though_nobody_takes_an_archive_on(machine: Machine, reader: Reader) -> None:
    class Out:
        """What comes out for the first time waits for a run."""

        size = 0

        def write(self, data: bytes) -> int:
            if not self.size:
                (machine.tree / "new").write_bytes(b"new")
                machine.snapshot()
            self.size += len(data)
            return len(data)

    out = Out()
    done = write_tar(reader, machine.newest(), (), out, lambda event: None)  # type: ignore[arg-type]
    assert done.failed == []
    assert out.size > 12 << 20


def test_an_index_that_somebody_writes_to_for_too_long_is_locked(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "BUSY_MS", 10)
    index = sqlite3.connect(machine.vault.paths.index, isolation_level=None)
    index.execute("BEGIN EXCLUSIVE")
    with pytest.raises(IndexBusy, match="database is locked") as caught:
        open_index(machine.vault.paths.index, read_only=True)
    index.close()
    assert (caught.value.exit_code, "try again" in str(caught.value.hint)) == (11, True)
