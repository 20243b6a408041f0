"""Rule 2: a snapshot is complete when its manifest is in the store and a second look was clean; what that look finds
missing, or marked by a purge record, is stored anew, and a new manifest mends the snapshot."""

from __future__ import annotations

import os

import pytest
from machine import HOUR, Died, Machine, open_with

from vaultpy.errors import StoreDenied, StoreError
from vaultpy.events import ProblemMet
from vaultpy.model import BlobHash, ExportId, ProblemKind
from vaultpy.ops.making.create import LOOKS
from vaultpy.ops.removing.prune import plan_prune
from vaultpy.source import batch
from vaultpy.store import names


def at_the_manifest(machine: Machine, what: str, times: int = 1) -> list[set[str]]:
    """Arrange that something befalls the run's own blobs just before the manifest is put; returns which they were."""
    fallen: list[set[str]] = []

    def before(verb: str, name: str) -> None:
        if verb != "put" or not name.endswith("manifest.json.zst") or len(fallen) >= times:
            return
        blobs = set(machine.store.names_of("put", names.BLOBS)).intersection(machine.memory.objects)
        blobs -= set().union(*fallen)
        fallen.append(blobs)
        if what == "deleted":
            for blob in blobs:
                machine.memory.delete(blob)
        elif what == "cut short":
            for blob in blobs:
                data, modified = machine.memory.objects[blob]
                machine.memory.objects[blob] = (data[:-1], modified)
        else:
            hashes = [names.parse_blob_name(blob) for blob in blobs]
            machine.mark(blobs=tuple(BlobHash(hash) for hash in hashes if hash is not None))

    machine.store.before = before
    return fallen


@pytest.mark.parametrize("what", ["deleted", "marked", "cut short"])
def test_what_the_second_look_misses_is_stored_anew_and_a_new_manifest_mends_the_snapshot(
    machine: Machine, what: str
) -> None:
    fallen = at_the_manifest(machine, what)
    made = machine.snapshot()
    [lost] = fallen
    assert lost
    mended = machine.rows("SELECT id, seq, state, repairs FROM snapshots ORDER BY state DESC")
    assert [row[2] for row in mended] == [4, 2], "the first is not whole, the second is complete"
    assert mended[0][1] == mended[1][1], "both have one sequence"
    assert mended[1][3] == mended[0][0] and mended[1][0] == made.id.bytes
    assert set(machine.blobs_of(made.id)).isdisjoint(lost), "a new encryption has a new name"
    assert [entry.id for entry in machine.catalog().entries] == [made.id], "the catalog shows only the mender"
    assert machine.newest().repairs is not None
    for name in lost:
        machine.memory.delete(name)  # a prune that marked them may go on now
    assert machine.comes_back()
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.store.names_of("put", names.BLOBS) == [], "the next run stands on what was mended"
    assert machine.comes_back()


@pytest.mark.parametrize("what", ["deleted", "marked"])
def test_a_reused_blob_that_is_lost_during_the_run_is_stored_anew(machine: Machine, what: str) -> None:
    """The first listing saw it; between that and the manifest a prune worked on it."""
    first = machine.snapshot()
    [reused] = machine.blobs_of(first.id)
    (machine.tree / "new").write_bytes(os.urandom(1000))

    def before(verb: str, name: str) -> None:
        if verb == "put" and name.endswith("manifest.json.zst") and reused in machine.memory.objects:
            machine.store.before = lambda verb, name: None
            hash = names.parse_blob_name(reused)
            assert hash is not None
            if what == "deleted":
                machine.memory.delete(reused)
            else:
                machine.mark(blobs=(hash,))

    machine.store.before = before
    made = machine.snapshot()
    machine.memory.delete(reused)
    assert reused not in machine.blobs_of(made.id)
    assert machine.comes_back()


@pytest.mark.parametrize("what", ["deleted", "marked"])
def test_an_export_that_is_lost_before_the_second_look_is_made_anew(machine: Machine, what: str) -> None:
    lost: list[str] = []

    def before(verb: str, name: str) -> None:
        if verb == "put" and name.endswith("manifest.json.zst") and not lost:
            [export] = [one for one in machine.memory.objects if one.endswith("db.zst.age")]
            lost.append(export)
            id = names.parse_export_name(export)
            assert id is not None
            if what == "deleted":
                machine.memory.delete(export)
            else:
                machine.mark(exports=(ExportId(id),))

    machine.store.before = before
    made = machine.snapshot()
    assert lost
    machine.memory.objects.pop(lost[0], None)
    assert [entry.id for entry in machine.catalog().entries] == [made.id]
    assert machine.comes_back()


def test_a_store_that_keeps_losing_things_is_given_up_after_three_looks(machine: Machine) -> None:
    fallen = at_the_manifest(machine, "deleted", times=LOOKS + 5)
    with pytest.raises(StoreError, match="keeps losing"):
        machine.create()
    assert len(fallen) == LOOKS == 3
    assert machine.value("SELECT count(*) FROM snapshots WHERE state = 2") == 0, "none of them counts as complete"
    machine.store.before = lambda verb, name: None
    machine.snapshot()
    assert machine.comes_back()


def test_a_run_that_dies_before_its_second_look_has_it_made_by_the_next(machine: Machine) -> None:
    class Gone(BaseException):
        pass

    def after(verb: str, name: str) -> None:
        if verb == "put" and name.endswith("manifest.json.zst"):
            raise Gone

    machine.store.after = after
    with pytest.raises(Gone):
        machine.create()
    machine.store.after = lambda verb, name: None
    for blob in machine.objects(names.BLOBS):
        machine.memory.delete(blob)
    made = machine.snapshot()
    assert machine.rows("SELECT state FROM snapshots ORDER BY seq") == [(4,), (2,)], "the dead one is not whole"
    assert machine.comes_back(next(entry for entry in machine.catalog().entries if entry.id == made.id))


def test_a_file_that_is_gone_when_its_lost_chunks_are_read_anew_is_dropped_and_noted(machine: Machine) -> None:
    """Rule 4."""
    victim = machine.tree / "folder0" / "file0"
    at_the_manifest(machine, "deleted")
    lose = machine.store.before

    def before(verb: str, name: str) -> None:
        lose(verb, name)
        if verb == "put" and name.endswith("manifest.json.zst"):
            victim.unlink(missing_ok=True)

    machine.store.before = before
    machine.snapshot()
    assert machine.value("SELECT count(*) FROM files WHERE name = ? AND last_seq IS NULL", b"file0") == 0
    assert machine.comes_back()


def test_a_file_that_cannot_be_read_anew_is_dropped_and_noted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 4, where the path is still listed: the problem is in the snapshot, and the run says so."""
    from vaultpy.errors import SourceError

    at_the_manifest(machine, "deleted")
    lose, original, failing = machine.store.before, batch.open_regular, []

    def before(verb: str, name: str) -> None:
        lose(verb, name)
        if verb == "put" and name.endswith("manifest.json.zst"):
            failing.append(True)

    def open_regular(dir_fd: int, name: bytes, expected: os.stat_result) -> int:
        if failing and name == b"file0":
            raise SourceError("input/output error")
        return original(dir_fd, name, expected)

    machine.store.before = before
    open_with(monkeypatch, open_regular)
    made = machine.create()
    assert made.exit_code == 3 and made.snapshot is not None
    path = os.fsencode(machine.tree / "folder0" / "file0")
    assert [(one.path, one.kind) for one in made.problems] == [(path, ProblemKind.UNREADABLE)]
    assert made.snapshot.problems == 1
    assert [event.problem.path for event in machine.events if isinstance(event, ProblemMet)] == [path]
    (machine.tree / "folder0" / "file0").unlink()
    os.utime(machine.tree / "folder0", ns=(0, _mtime_of_folder0(machine)))
    assert machine.comes_back()


def test_a_file_that_changed_since_its_chunks_were_lost_is_stored_as_it_is_now(machine: Machine) -> None:
    """Rule 4."""
    victim = machine.tree / "folder0" / "file0"
    at_the_manifest(machine, "deleted")
    lose = machine.store.before

    def before(verb: str, name: str) -> None:
        lose(verb, name)
        if verb == "put" and name.endswith("manifest.json.zst"):
            victim.write_bytes(b"written meanwhile")

    machine.store.before = before
    machine.snapshot()
    back = machine.restore()
    assert (back / "folder0" / "file0").read_bytes() == b"written meanwhile"


def _mtime_of_folder0(machine: Machine) -> int:
    row = machine.rows("SELECT mtime FROM files WHERE name = ? AND last_seq IS NULL", b"folder0")
    return int(row[0][0])


@pytest.mark.parametrize("end", [".sig", ".zst"], ids=["signature", "manifest"])
def test_a_manifest_that_the_store_took_and_does_not_show_is_put_once_more(machine: Machine, end: str) -> None:
    machine.store.after = lambda verb, name: lose_once(machine, name, f"manifest.json.zst{end.removesuffix('.zst')}")
    made = machine.snapshot()
    machine.store.after = lambda verb, name: None
    assert made.repairs is None
    assert machine.comes_back()


def lose_once(machine: Machine, name: str, end: str) -> None:
    if name.endswith(end) and machine.store.names_of("put").count(name) == 1:
        machine.memory.delete(name)


@pytest.mark.parametrize("end", ["manifest.json.zst.sig", "manifest.json.zst"], ids=["signature", "manifest"])
def test_a_manifest_that_was_cut_on_its_way_is_mended_by_another(machine: Machine, end: str) -> None:
    cut = cutting(machine, end)
    made = machine.snapshot()
    [name] = cut
    assert str(made.repairs) in name
    assert machine.newest().id == made.id
    assert machine.comes_back()


def cutting(machine: Machine, end: str) -> list[str]:
    """The first object with that end of its name loses its last byte on the way into the store."""
    cut: list[str] = []

    def after(verb: str, name: str) -> None:
        if verb == "put" and name.endswith(end) and not cut:
            cut.append(name)
            data, modified = machine.memory.objects[name]
            machine.memory.objects[name] = data[:-1], modified

    machine.store.after = after
    return cut


@pytest.mark.parametrize("end", ["manifest.json.zst.sig", "manifest.json.zst"], ids=["signature", "manifest"])
def test_what_a_dead_run_had_decided_and_somebody_put_otherwise_stops_no_run(machine: Machine, end: str) -> None:
    def die(verb: str, name: str) -> None:
        if verb == "put" and name.endswith(end):
            machine.memory.put(name, b"something else")
            raise Died

    machine.store.before = die
    with pytest.raises(Died):
        machine.create()
    machine.store.before = lambda verb, name: None
    made = machine.snapshot()
    assert machine.newest().id == made.id
    assert machine.comes_back()


def test_what_mends_a_snapshot_has_a_higher_id_even_when_the_clock_went_back(machine: Machine) -> None:
    """An index that is rebuilt tells by the ids of one sequence which manifest came last."""
    cut = cutting(machine, "manifest.json.zst")
    after = machine.store.after

    def turn_back(verb: str, name: str) -> None:
        after(verb, name)
        machine.clock.now -= HOUR if name in cut else 0

    machine.store.after = turn_back
    made = machine.snapshot()
    assert made.repairs is not None and made.id > made.repairs


def test_what_a_dead_run_had_decided_and_can_be_no_more_stops_no_prune(machine: Machine) -> None:
    def die(verb: str, name: str) -> None:
        if verb == "put" and name.endswith("manifest.json.zst"):
            raise Died

    machine.store.before = die
    with pytest.raises(Died):
        machine.create()
    machine.store.before = lambda verb, name: None
    for name in machine.objects(names.BLOBS):
        machine.memory.delete(name)
    machine.snapshot()
    plan_prune(machine.reader())


def test_a_host_that_may_suddenly_not_list_ends_what_a_dead_run_had_decided(machine: Machine) -> None:
    """The signature is there: without its manifest it would be a loss for every prune to stop at."""

    def die(verb: str, name: str) -> None:
        if verb == "put" and name.endswith("manifest.json.zst"):
            raise Died

    machine.store.before = die
    with pytest.raises(Died):
        machine.create()

    def refuse(verb: str, name: str) -> None:
        if verb == "list" and name == names.METADATA and not machine.store.names_of("put"):
            raise StoreDenied("access denied")

    machine.store.before = refuse
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.catalog().broken == ()
    assert machine.comes_back()
