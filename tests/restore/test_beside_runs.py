"""Reading from the host's own index while a run of the same host changes it: nothing that is missing goes unsaid."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Machine, look, make_machine

from vaultpy.errors import IndexChanged, UsageError
from vaultpy.events import Noticed
from vaultpy.index.at import Moment
from vaultpy.index.db import open_index
from vaultpy.index.needed import chunk_hash, file_of
from vaultpy.model import BlobHash
from vaultpy.ops.reading import choose
from vaultpy.ops.reading import look as looking
from vaultpy.ops.reading.catalog import Entry
from vaultpy.ops.reading.choose import Tree
from vaultpy.ops.reading.look import open_files
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.removing.unpublish import remove_snapshots
from vaultpy.ops.restoring import archive
from vaultpy.ops.restoring import restore as restoring
from vaultpy.ops.restoring.archive import write_tar
from vaultpy.ops.restoring.restore import Restored, RestoreOptions, restore

DIE = """
import os, sqlite3, sys
index = sqlite3.connect(sys.argv[1], isolation_level=None)
index.execute("PRAGMA cache_size = 1")  # so that it writes before it commits
index.execute("BEGIN IMMEDIATE")
index.execute("CREATE TABLE large AS SELECT randomblob(4000) FROM files")
os._exit(1)
"""

FILES = 60
"""In some 13 blobs: several times what is under way at once."""

Change = Callable[[Machine, Entry], None]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = make_machine(tmp_path)
    made.configure(blob_size=1 << 18)
    rewrite(made.tree)
    made.snapshot()
    return made


def rewrite(tree: Path) -> None:
    for number in range(FILES):
        (tree / f"file{number:02}").write_bytes(os.urandom(50_000))


def remove(machine: Machine, entry: Entry) -> None:
    """Somebody removes the snapshot, and the next run drops its rows from the index."""
    remove_snapshots(machine.memory, [[entry.id]], machine.clock(), os.urandom)
    rewrite(machine.tree)
    machine.snapshot()
    machine.snapshot()


def store_anew(machine: Machine, entry: Entry) -> None:
    """The blobs are about to go, so the next run moves every chunk to another."""
    machine.mark(blobs=tuple(BlobHash(row[0]) for row in machine.rows("SELECT hash FROM blobs")))
    machine.snapshot()


CHANGES = pytest.mark.parametrize("change", [remove, store_anew])


@contextlib.contextmanager
def own_reader(machine: Machine) -> Iterator[Reader]:
    """What this host has: its index, too."""
    with open_index(machine.vault.paths.index, read_only=True) as index:
        yield replace(machine.reader(), index=index, host=machine.vault.host)


def during_the_first_fetch(machine: Machine, act: Callable[[], None]) -> None:
    """Nobody gets anything of a blob before that was done."""
    lock, begun = threading.Lock(), list[int]()

    def before(verb: str, name: str) -> None:
        if (verb, name[:6]) != ("get", "blobs/") or begun == [threading.get_ident()]:
            return
        with lock:
            if not begun:
                begun.append(threading.get_ident())
                act()
                begun.append(0)

    machine.store.before = before


def bring_back(reader: Reader, machine: Machine, entry: Entry, options: RestoreOptions) -> tuple[Restored, list[str]]:
    told: list[str] = []
    back = restore(
        reader,
        entry,
        os.fsencode(machine.folder / "target"),
        replace(options, processes=0),
        lambda event: told.append(event.text) if isinstance(event, Noticed) else None,
    )
    return back, told


@CHANGES
def test_a_restore_is_whole_though_a_run_changes_the_index_in_the_middle(machine: Machine, change: Change) -> None:
    before, entry = look(machine.tree), machine.newest()
    during_the_first_fetch(machine, lambda: change(machine, entry))
    with own_reader(machine) as reader:
        back, told = bring_back(reader, machine, entry, RestoreOptions())
    assert back.failed == ()
    assert look(machine.folder / "target" / machine.tree.relative_to("/")).keys() == before.keys()
    assert sum("going on by the exports" in text for text in told) == 1


def test_a_restore_beside_a_run_that_changes_nothing_of_it_goes_on_by_the_index(machine: Machine) -> None:
    entry = machine.newest()

    def run() -> None:
        (machine.tree / "new").write_bytes(b"new")
        machine.snapshot()

    during_the_first_fetch(machine, run)
    with own_reader(machine) as reader:
        back, told = bring_back(reader, machine, entry, RestoreOptions())
    assert (back.failed, told) == ((), [])
    assert len(list((machine.folder / "target" / machine.tree.relative_to("/")).iterdir())) == FILES


def test_a_restore_is_whole_though_a_run_dies_in_the_middle_of_a_commit(machine: Machine) -> None:
    """What it left in the index can be taken back only by who may write there."""
    before, entry, path = look(machine.tree), machine.newest(), machine.vault.paths.index
    during_the_first_fetch(machine, lambda: subprocess.run([sys.executable, "-c", DIE, path], check=False))
    with own_reader(machine) as reader:
        back, told = bring_back(reader, machine, entry, RestoreOptions())
        assert path.with_name(f"{path.name}-journal").exists()
    assert back.failed == ()
    assert look(machine.folder / "target" / machine.tree.relative_to("/")).keys() == before.keys()
    assert told == [
        f"index {path} was left in the middle of a change by a run that died: going on by the exports in the store"
    ]
    with own_reader(machine):
        assert not path.with_name(f"{path.name}-journal").exists()


def in_the_middle(monkeypatch: pytest.MonkeyPatch, module: object, act: Callable[[], None]) -> None:
    """Right after the folders of a snapshot were read."""
    read_tree = choose.read_tree

    def changed(moment: Moment) -> Tree:
        monkeypatch.undo()
        found = read_tree(moment)
        act()
        return found

    monkeypatch.setattr(module, "read_tree", changed)


def test_what_the_snapshot_has_is_not_deleted_because_the_index_forgot_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = machine.newest()
    target = machine.folder / "target" / machine.tree.relative_to("/")
    target.mkdir(parents=True)
    (target / "extra").write_bytes(b"")
    in_the_middle(monkeypatch, restoring, lambda: remove(machine, entry))
    with own_reader(machine) as reader:
        back, _ = bring_back(reader, machine, entry, RestoreOptions(delete=True))
    assert back.deleted == (os.fsencode(machine.tree / "extra"),)
    assert len(list(target.iterdir())) == FILES


def test_a_list_of_files_that_lacks_some_ends_with_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = machine.newest()
    in_the_middle(monkeypatch, looking, lambda: remove(machine, entry))
    with (
        own_reader(machine) as reader,
        pytest.raises(IndexChanged, match="changed while snapshot"),
        open_files(reader, entry, ()) as files,
    ):
        list(files)


def test_a_list_of_files_does_not_care_where_their_chunks_lie(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = machine.newest()
    in_the_middle(monkeypatch, looking, lambda: store_anew(machine, entry))
    with own_reader(machine) as reader, open_files(reader, entry, ()) as files:
        assert sum(b"/file" in path for path, _ in files) == FILES


def test_a_path_that_the_index_forgot_is_not_called_one_that_the_snapshot_lacks(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = machine.newest()
    in_the_middle(monkeypatch, looking, lambda: remove(machine, entry))
    path = os.fsencode(machine.tree / "file01")
    with own_reader(machine) as reader, pytest.raises(IndexChanged), open_files(reader, entry, (path,)):
        pass
    newest = machine.newest()
    with (
        own_reader(machine) as reader,
        pytest.raises(UsageError, match="nothing of that name"),
        open_files(reader, newest, (b"/elsewhere",)),
    ):
        pass


def test_an_archive_that_lacks_files_has_no_end(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, out = machine.newest(), io.BytesIO()
    in_the_middle(monkeypatch, archive, lambda: remove(machine, entry))
    with own_reader(machine) as reader, pytest.raises(IndexChanged):
        write_tar(reader, entry, (), out, lambda event: None)
    assert not out.getvalue().endswith(bytes(1024))


def test_a_row_that_is_gone_is_no_file_without_a_name(machine: Machine) -> None:
    with machine.index() as index:
        moment = Moment(index, 1, 1)
        index.run("CREATE TEMP TABLE links (id INTEGER PRIMARY KEY, leader INTEGER)")
        for look_up in (file_of, chunk_hash):
            with pytest.raises(IndexChanged, match="changed while it was read"):
                look_up(moment, 1 << 60)
