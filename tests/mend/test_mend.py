"""Self-healing: the run after a loss stores anew what the source still has, and older snapshots restore whole again; nobody
gives a key."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest
from machine import Died, Machine, look

sys.path.insert(0, str(Path(__file__).parents[1] / "verify"))  # before its modules are imported below

from damage import check, check_at_home, flip, lose

from vaultpy.config import SourceConfig
from vaultpy.events import Noticed, ignore
from vaultpy.index import homes
from vaultpy.index.db import Index
from vaultpy.index.snapshots import SnapshotRow
from vaultpy.model import SnapshotId
from vaultpy.ops.making import mend
from vaultpy.ops.reading.catalog import Entry
from vaultpy.ops.reading.findings import Depth
from vaultpy.ops.reading.resolve import resolve_snapshot
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.store import names


def grow(machine: Machine, count: int) -> list[tuple[SnapshotRow, Path]]:
    """So many snapshots, each with a file more than the last, and what the tree was then."""
    made = []
    for number in range(count):
        (machine.tree / f"grown{number}").write_bytes(os.urandom(30_000))
        row = machine.snapshot()
        kept = machine.folder / f"kept{number}"
        shutil.copytree(machine.tree, kept, symlinks=True)
        made.append((row, kept))
    return made


def shown(machine: Machine, row: SnapshotRow) -> Entry:
    """The snapshot of that sequence as lists on another machine show it now."""
    (entry,) = [one for one in machine.catalog().entries if (one.source, one.seq) == (row.source, row.seq)]
    return entry


def assert_whole(machine: Machine, row: SnapshotRow, kept: Path) -> None:
    back = machine.restore(shown(machine, row))
    assert content(back) == content(kept)
    shutil.rmtree(back)


def content(top: Path) -> dict[str, object]:
    """Names, kinds and contents: a copy has other times."""
    return {name: (one[0], one[-1]) for name, one in look(top).items()}


def told(machine: Machine) -> list[str]:
    return [event.text for event in machine.events if isinstance(event, Noticed) and event.warning]


@pytest.mark.parametrize("how", ["lost", "cut", "bad"])
def test_a_blob_that_was_lost_is_stored_anew_and_all_older_snapshots_restore_whole(machine: Machine, how: str) -> None:
    made = grow(machine, 3)
    (first, *_) = machine.blobs_of(made[0][0].id)
    if how == "lost":
        lose(machine, first)
    elif how == "cut":
        machine.memory.objects[first] = machine.memory.objects[first][0][:-1], machine.clock.now
    else:
        flip(machine, first, 5_000)
        check_at_home(machine, Depth.HASHED)
    machine.snapshot()
    for row, kept in made:
        assert_whole(machine, row, kept)
    assert machine.comes_back()
    assert check(machine, Depth.OPENED).findings == ()
    assert len([text for text in told(machine) if "whole again" in text]) == 3


def test_nothing_is_mended_where_nothing_was_lost(machine: Machine) -> None:
    grow(machine, 3)
    assert told(machine) == []
    assert len(machine.objects(names.METADATA)) == 9
    assert machine.value("SELECT count(*) FROM checks") == 0


def test_what_no_source_has_any_more_costs_only_itself(machine: Machine) -> None:
    made = grow(machine, 2)
    (machine.tree / "folder0" / "file0").unlink()
    lost = machine.blobs_of(made[0][0].id)
    lose(machine, *lost)
    machine.snapshot()
    assert machine.comes_back()
    for row, kept in made:
        target = machine.folder / f"partly-{row.seq}"
        back = machine.restore_to(target, shown(machine, row))
        assert [path for path, _ in back.failed if path.endswith(b"file0")] == [
            os.fsencode(machine.tree / "folder0" / "file0")
        ]
        restored = content(target / machine.tree.relative_to("/"))
        wanted = {name: one for name, one in content(kept).items() if name != "folder0/file0"}
        assert restored == wanted
    assert any("stay lost" in text for text in told(machine))
    before = set(machine.objects())
    machine.snapshot()
    assert len(machine.objects() - before) == 3, "what cannot be mended further is left alone"


def test_what_cannot_be_mended_is_not_looked_at_in_every_run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand snapshots of a million files would take long; only when a chunk was stored anew there is something new."""
    made = grow(machine, 2)
    contents = (machine.tree / "folder0" / "file0").read_bytes()
    (machine.tree / "folder0" / "file0").unlink()
    machine.snapshot()
    lose(machine, *machine.blobs_of(made[0][0].id))
    machine.snapshot()
    looked: list[int] = []

    def has_moved(index: Index, source_id: int, seq: int) -> bool:
        looked.append(seq)
        return homes.has_moved(index, source_id, seq)

    monkeypatch.setattr(mend, "has_moved", has_moved)
    (machine.tree / "news").write_bytes(os.urandom(10_000))
    machine.snapshot()
    assert looked == []
    (machine.tree / "folder0" / "found again").write_bytes(contents)
    machine.snapshot()
    assert looked != []
    for row, kept in made:
        assert_whole(machine, row, kept)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("how", ["lost", "bad"])
def test_an_export_that_was_lost_is_made_anew_from_the_index(machine: Machine, which: int, how: str) -> None:
    made = grow(machine, 3)
    name = names.export_name(machine_export(made[which][0]))
    if how == "lost":
        lose(machine, name)
    else:
        flip(machine, name, 300)
        assert check_at_home(machine, Depth.HASHED).exit_code == 4
    machine.snapshot()
    assert machine.comes_back()
    for row, kept in made:
        assert_whole(machine, row, kept)
    assert check(machine, Depth.OPENED).findings == ()


def machine_export(row: SnapshotRow) -> object:
    return row.id


def test_a_second_source_that_shared_a_lost_blob_is_mended_too(machine: Machine) -> None:
    """Without a run of its own: its files are not read, but what was stored anew for the other has the same chunks."""
    other = SourceConfig("other", (os.fsencode(machine.tree / "folder0"),))
    made = grow(machine, 1)
    second = machine.snapshot(other)
    lose(machine, *machine.blobs_of(made[0][0].id))
    machine.snapshot()
    back = machine.restore(shown(machine, second)) / "folder0"
    assert content(back) == content(machine.tree / "folder0")


def test_what_was_mended_says_the_same_as_before(machine: Machine) -> None:
    """Source, sequence, times, tags and problems are the old ones; only where things lie is new."""
    made = grow(machine, 1)
    before = shown(machine, made[0][0])
    lose(machine, *machine.blobs_of(before.id))
    machine.snapshot()
    after = shown(machine, made[0][0])
    assert after.repairs == before.id != after.id
    for field in ("source", "host", "seq", "started", "completed", "tags", "counts", "pinned", "key_id"):
        assert getattr(after, field) == getattr(before, field), field


def test_the_id_that_somebody_wrote_down_still_names_the_snapshot(machine: Machine) -> None:
    """Mended twice, too."""
    made = grow(machine, 1)[0][0]
    for _ in range(2):
        lose(machine, *machine.blobs_of(shown(machine, made).id))
        machine.snapshot()
        assert resolve_snapshot(machine.catalog(), str(made.id)).id == shown(machine, made).id != made.id


def test_a_rebuilt_index_knows_what_was_mended(machine: Machine) -> None:
    made = grow(machine, 3)
    lose(machine, machine.blobs_of(made[0][0].id)[0])
    machine.snapshot()
    rebuilt = rebuild_index(machine.vault, [], ignore)
    assert rebuilt.unreadable == ()
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.store.names_of("put", names.BLOBS) == [], "only what changed is uploaded: nothing"
    for row, kept in made:
        assert_whole(machine, row, kept)
    assert check_at_home(machine, Depth.OPENED).findings == ()


def test_what_was_mended_needs_no_mending_again(machine: Machine) -> None:
    made = grow(machine, 2)
    lose(machine, *machine.blobs_of(made[0][0].id))
    machine.snapshot()
    count = len(machine.objects(names.METADATA))
    machine.snapshot()
    assert len(machine.objects(names.METADATA)) == count + 3
    assert machine.value("SELECT count(*) FROM checks WHERE damage IS NOT NULL") == 0


def test_a_list_shows_each_mended_snapshot_once_and_not_as_damaged(machine: Machine) -> None:
    made = grow(machine, 3)
    lose(machine, *machine.blobs_of(made[0][0].id))
    newest = machine.snapshot()
    entries = machine.catalog().entries
    assert [one.seq for one in entries] == [*(row.seq for row, _ in made), newest.seq]
    assert {one.flag for one in entries} == {None}


@pytest.mark.parametrize("number", range(12))
def test_a_run_that_dies_while_it_mends_leaves_a_store_that_the_next_one_mends(machine: Machine, number: int) -> None:
    """At every put of the mending."""
    made = grow(machine, 2)
    lose(machine, *machine.blobs_of(made[0][0].id))
    puts: list[str] = []

    def before(verb: str, name: str) -> None:
        if verb == "put":
            puts.append(name)
            if len(puts) > number:
                raise Died

    machine.store.before = before
    with contextlib.suppress(Died):
        machine.create()
    machine.store.before = lambda verb, name: None
    machine.snapshot()
    assert machine.comes_back()
    for row, kept in made:
        assert_whole(machine, row, kept)
    with machine.index() as index:
        assert index.rows("PRAGMA integrity_check") == [("ok",)]
        assert index.rows("PRAGMA foreign_key_check") == []


@pytest.mark.parametrize("newest", [True, False])
def test_what_the_store_loses_while_it_is_mended_is_mended_by_the_next_run(machine: Machine, newest: bool) -> None:
    """Of a source that has no run of its own meanwhile, and of one that has."""
    other = SourceConfig("other", (os.fsencode(machine.tree / "folder0"),))
    made = grow(machine, 2)
    second = machine.snapshot(other)
    lose(machine, *machine.blobs_of(made[0][0].id))
    published: list[str] = []

    def after(verb: str, name: str) -> None:
        if verb == "put" and name.endswith("manifest.json.zst"):
            published.append(name)
            if len(published) > 1:  # the first is the run's own
                lose(machine, name.replace("manifest.json.zst", "db.zst.age"))

    machine.store.after = after
    machine.create()
    machine.store.after = lambda verb, name: None
    assert len(published) == 4
    machine.snapshot(*((other,) if newest else ()))
    machine.snapshot()
    for row, kept in made:
        assert_whole(machine, row, kept)
    if newest:
        back = machine.restore(shown(machine, second)) / "folder0"
        assert content(back) == content(machine.tree / "folder0")


def test_a_snapshot_under_another_store_key_is_left_as_it_is(machine: Machine) -> None:
    from vaultpy.ops.init import add_store_key

    made = grow(machine, 1)
    key = add_store_key(
        machine.memory,
        machine.vault.paths.folder,
        [_recipient(machine)],
        machine.vault.host.signing_key.public_text(),
        machine.clock,
        os.urandom,
    )
    machine.configure(key=key)
    machine.snapshot()
    lose(machine, *machine.blobs_of(made[0][0].id))
    machine.snapshot()
    assert shown(machine, made[0][0]).id == made[0][0].id
    assert machine.comes_back()


def _recipient(machine: Machine) -> str:
    from machine import recipient_of

    return recipient_of(machine.identity)


def test_a_blob_that_verification_found_bad_is_not_built_on(machine: Machine) -> None:
    """Its name and size are right, so no listing tells."""
    machine.snapshot()
    (blob,) = machine.objects(names.BLOBS)
    flip(machine, blob, 3_000)
    check_at_home(machine, Depth.HASHED)
    (machine.tree / "copy").write_bytes((machine.tree / "folder0" / "file0").read_bytes())
    made = machine.snapshot()
    assert blob not in machine.blobs_of(SnapshotId(made.id))
    assert machine.comes_back()
