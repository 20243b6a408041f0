"""The index by intervals, against a model: dictionaries that are copied whole for every snapshot."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_source import KEY, FakeHost, Tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaultpy.index.at import Moment, choose_all
from vaultpy.index.db import Index, create_index
from vaultpy.index.dump import delta_lines, whole_lines
from vaultpy.index.homes import has_moved, homes_at, open_homes
from vaultpy.index.intervals import drop_unheld
from vaultpy.index.load import Expected, apply_export, start_chain
from vaultpy.index.needed import PieceRow, file_of, needed_blobs, pieces_in, settle, want_all, want_chosen
from vaultpy.index.runs import last_move
from vaultpy.index.snapshots import SnapshotRow, forget_snapshots
from vaultpy.index.sound import check_sound
from vaultpy.model import ChunkHash, Kind
from vaultpy.ops.reading.choose import read_tree

# Few paths and few contents, so that trees that follow each other share most of what they hold.
paths = st.sampled_from([b"/a", b"/b", b"/cx", b"/d/a", b"/d/e\xff", b"/f/g/h", b"/f/g", b"/d"])
contents = st.sampled_from([(), (b"1",), (b"22",), (b"1", b"22"), (b"22", b"333", b"22"), (b"4444",)])


def without_clashes(tree: dict[bytes, tuple[bytes, ...]]) -> Tree:
    """A path cannot be a file and a folder."""
    return {path: chunks for path, chunks in tree.items() if not any(other.startswith(path + b"/") for other in tree)}


trees = st.dictionaries(paths, contents, max_size=8).map(without_clashes)
steps = st.lists(st.tuples(st.sampled_from(["publish", "die", "publish", "die early"]), trees), min_size=1, max_size=7)


def contents_at(index: Index, source_id: int, seq: int) -> dict[bytes, list[tuple[int, bytes]]]:
    """Every regular file at a sequence: its chunks' offsets and hashes, in order."""
    moment = Moment(index, source_id, seq)
    choose_all(moment)
    want_chosen(moment)
    found = wanted_contents(moment)
    if not has_moved(index, source_id, seq):  # else a restore reads the exports
        want_all(moment)
        assert wanted_contents(moment) == found
    return found


def wanted_contents(moment: Moment) -> dict[bytes, list[tuple[int, bytes]]]:
    settle(moment)
    directories = read_tree(moment)
    files = moment.index.rows("SELECT directory_id, name FROM temp.wanted WHERE kind = ?", (Kind.FILE,))
    found: dict[bytes, list[tuple[int, bytes]]] = {directories.path(*file): [] for file in files}
    for blob in needed_blobs(moment):
        rows = list(map(PieceRow._make, pieces_in(moment, blob)))
        assert rows == sorted(rows, key=lambda row: row.raw_offset)
        for row in rows:
            assert file_of(moment, row.file_id).name == row.name
            found[directories.path(row.directory_id, row.name)].append((row.file_offset or 0, row.hash))
    return {path: sorted(parts) for path, parts in found.items()}


def model_of(tree: Tree) -> dict[bytes, list[tuple[int, bytes]]]:
    from fake_source import hash_of

    found = {}
    for path, chunks in tree.items():
        parts, end = [], 0
        for data in chunks:
            parts.append((end, bytes(hash_of(data))))
            end += len(data)
        found[path] = parts
    return found


def exact_homes(index: Index, source_id: int) -> set[int]:
    """The definition: blobs that are the home of a chunk of a current row."""
    rows = index.rows(
        "SELECT DISTINCT c.blob_id FROM files f JOIN directories d ON d.id = f.directory_id JOIN file_content t"
        " ON t.file_id = f.id JOIN chunks c ON c.id = t.chunk_id WHERE f.last_seq IS NULL AND d.source_id = ?",
        (source_id,),
    )
    return {row[0] for row in rows}


class Scenario:
    """A host, the trees of its complete snapshots by sequence, and the chain of exports that it would have put."""

    def __init__(self, folder: Path) -> None:
        self.index = create_index(folder / "index.sqlite")
        self.index.run("PRAGMA synchronous = OFF")
        self.scratch = folder
        self.host = FakeHost(self.index)
        self.published: dict[int, Tree] = {}
        self.rows: dict[int, SnapshotRow] = {}
        self.chain: list[list[bytes]] = []

    def publish(self, tree: Tree) -> None:
        run = self.host.run(tree)
        moved = run.parent_seq is None or last_move(self.index) > run.parent_seq
        row = self.host.publish(run, whole=moved)
        assert open_homes(self.index, self.host.source_id) == exact_homes(self.index, self.host.source_id)
        pieces = (whole_lines if moved else delta_lines)(self.index, run, row, [])
        lines = b"".join(pieces).splitlines(keepends=True)
        self.chain = [lines] if moved else [*self.chain, lines]
        self.published[run.seq] = tree
        self.rows[run.seq] = row

    def check_all(self) -> None:
        for seq, tree in self.published.items():
            assert contents_at(self.index, self.host.source_id, seq) == model_of(tree)

    def load_chain(self, name: str) -> tuple[Index, int]:
        seq = max(self.published)
        row = self.rows[seq]
        other = create_index(self.scratch / name)
        other.run("PRAGMA synchronous = OFF")
        source_id = other.value(
            "INSERT INTO sources (uuid, name, host) VALUES (?, 'x', ?) RETURNING id", (row.source.bytes, row.host.bytes)
        )
        expected = Expected(row.id, row.source, row.host, seq)
        with other.transaction():
            start_chain(other, source_id, None)
            for position, lines in enumerate(self.chain):
                apply_export(other, lines, expected, source_id=source_id, whole=position == 0, close_seq=None)
        check_sound(other, source_id)
        return other, source_id


@given(steps)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_snapshot_shows_what_its_run_saw(script: list[tuple[str, Tree]]) -> None:
    """Whatever runs died in between, early or late, before the first or after the last."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(Path(folder))
        for what, tree in script:
            if what == "publish":
                scenario.publish(tree)
            else:
                scenario.host.run(tree, finish=what == "die")
        scenario.check_all()
        scenario.index.close()


@given(steps)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_chain_of_exports_gives_the_snapshot_back(script: list[tuple[str, Tree]]) -> None:
    """Whole or changes, with dead runs between: read back into an empty index, the last snapshot is what it was."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(Path(folder))
        for what, tree in [*script, ("publish", script[0][1])]:
            if what == "publish":
                scenario.publish(tree)
            else:
                scenario.host.run(tree, finish=what == "die")
        other, source_id = scenario.load_chain("other.sqlite")
        seq = max(scenario.published)
        assert contents_at(other, source_id, seq) == model_of(scenario.published[seq])
        assert homes_at(other, source_id, seq) == homes_at(scenario.index, scenario.host.source_id, seq)
        other.close()
        scenario.index.close()


@given(steps, st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_the_store_loses_is_stored_anew(script: list[tuple[str, Tree]], data: st.DataObject) -> None:
    """After blobs vanished, the next snapshot stands only on blobs that are there, and older ones show the same files."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(Path(folder))
        for what, tree in script:
            if what == "publish":
                scenario.publish(tree)
            else:
                scenario.host.run(tree, finish=what == "die")
            gone = data.draw(st.sets(st.sampled_from(sorted(scenario.host.store.blobs or {0}))))
            scenario.host.store.blobs -= gone
        scenario.publish(script[-1][1])
        assert open_homes(scenario.index, scenario.host.source_id) <= scenario.host.store.blobs
        scenario.check_all()
        other, source_id = scenario.load_chain("other.sqlite")
        seq = max(scenario.published)
        assert contents_at(other, source_id, seq) == model_of(scenario.published[seq])
        other.close()
        scenario.index.close()


@given(steps, st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_dropping_what_no_snapshot_holds_keeps_the_others(script: list[tuple[str, Tree]], data: st.DataObject) -> None:
    """Snapshots that another machine removed take only their own rows along."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(Path(folder))
        for what, tree in script:
            if what == "publish":
                scenario.publish(tree)
            else:
                scenario.host.run(tree, finish=what == "die")
        older = sorted(scenario.published)[:-1]
        removed = data.draw(st.sets(st.sampled_from(older))) if older else set()
        with scenario.index.transaction():
            forget_snapshots(scenario.index, [scenario.rows[seq].id for seq in removed])
        drop_unheld(scenario.index)
        for seq in removed:
            del scenario.published[seq]
        scenario.check_all()
        if scenario.published:
            scenario.publish(script[0][1])
            scenario.check_all()
        assert scenario.index.rows("PRAGMA foreign_key_check") == []
        scenario.index.close()


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Scenario]:
    made = Scenario(tmp_path)
    yield made
    made.index.close()


def test_an_unchanged_tree_adds_no_row(scenario: Scenario) -> None:
    tree = {b"/a/b": (b"1", b"22"), b"/a/c": (b"333",), b"/d": ()}
    scenario.publish(tree)
    before = scenario.index.rows("SELECT * FROM files"), scenario.index.rows("SELECT * FROM directories")
    scenario.publish(tree)
    assert (scenario.index.rows("SELECT * FROM files"), scenario.index.rows("SELECT * FROM directories")) == before
    assert sum(map(len, scenario.chain[-1])) < 300


def test_rows_of_a_run_that_died_are_found_by_the_next(scenario: Scenario) -> None:
    """What it stored is not stored again: the rows are true."""
    tree = {b"/%d" % number: (b"x" * number,) for number in range(1, 10)}
    scenario.host.run(tree, finish=False, per_blob=3)
    made = scenario.host.store.made
    rows = {row[0] for row in scenario.index.rows("SELECT id FROM files WHERE size > 0")}
    assert rows and made
    scenario.publish(tree)
    assert rows <= {row[0] for row in scenario.index.rows("SELECT id FROM files WHERE last_seq IS NULL")}
    assert scenario.host.store.made == made or scenario.host.store.made == 3


def test_a_chunk_is_known_only_within_its_store_key(scenario: Scenario) -> None:
    from vaultpy.index.reuse import find_reuse
    from vaultpy.model import KeyId

    scenario.publish({b"/a": (b"1",)})
    assert find_reuse(scenario.index, KEY, scenario.host.store.blobs).blobs
    other = KeyId(type(KEY)(int=99))
    assert not find_reuse(scenario.index, other, scenario.host.store.blobs).blobs


def test_a_chunk_whose_new_home_is_lost_is_stored_once_more(scenario: Scenario) -> None:
    """A run moved it there and died before it wrote the file's row, so only the blob itself tells."""
    tree = {b"/f/g/h": (b"1", b"22")}
    scenario.publish(tree)
    scenario.host.store.blobs.clear()
    scenario.host.run({b"/a": (b"22", b"333", b"22"), **tree}, finish=False)
    scenario.host.store.blobs.clear()
    scenario.publish(tree)
    assert open_homes(scenario.index, scenario.host.source_id) <= scenario.host.store.blobs
    scenario.check_all()


def test_the_chunk_filter_never_hides_a_known_chunk(scenario: Scenario) -> None:
    """Before it is filled and after: what has a row, or will have one, may be known."""
    from fake_source import hash_of

    from vaultpy.index.filter import ChunkFilter

    scenario.publish({b"/%d" % number: (b"%d" % number,) for number in range(50)})
    for chunks in (0, 50 * 16):
        chunk_filter = ChunkFilter(scenario.index, chunks)
        chunk_filter.may_know(hash_of(b"asked before"))
        known = [b"%d" % number for number in range(50)] + [b"asked before"]
        assert all(chunk_filter.may_know(hash_of(data)) for data in known * 2)
    assert not chunk_filter.may_know(hash_of(b"never seen"))
    assert chunk_filter.may_know(hash_of(b"never seen"))


def test_what_is_asked_before_the_filter_is_filled_takes_bounded_memory_and_is_not_forgotten(
    scenario: Scenario,
) -> None:
    from fake_source import hash_of

    from vaultpy.index.filter import ChunkFilter

    asked = 300_000
    chunk_filter = ChunkFilter(scenario.index, asked * 16)
    tracemalloc.start()
    try:
        for number in range(asked):
            chunk_filter.may_know(ChunkHash(number.to_bytes(4, "big") + bytes(28)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20 * 1024 * 1024
    assert not chunk_filter.may_know(hash_of(b"fills it"))
    assert all(chunk_filter.may_know(ChunkHash(n.to_bytes(4, "big") + bytes(28))) for n in range(0, asked, 32))
