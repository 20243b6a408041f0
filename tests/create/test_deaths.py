"""A run that dies anywhere leaves an index that claims nothing false, and the next run ends as if nothing had been."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from machine import Died, Machine, fill

from vaultpy.index.db import Index
from vaultpy.store import names


def put_dies(when: str) -> Callable[[Machine, pytest.MonkeyPatch, int], list[int]]:
    def arm(machine: Machine, monkeypatch: pytest.MonkeyPatch, n: int) -> list[int]:
        met = [0]

        def count(verb: str, name: str) -> None:
            if verb == "put":
                met[0] += 1
                if met[0] == n:
                    raise Died

        setattr(machine.store, when, count)
        return met

    return arm


def transaction_dies(when: str) -> Callable[[Machine, pytest.MonkeyPatch, int], list[int]]:
    def arm(machine: Machine, monkeypatch: pytest.MonkeyPatch, n: int) -> list[int]:
        met = [0]
        original = Index.transaction

        @contextlib.contextmanager
        def transaction(self: Index) -> Iterator[None]:
            met[0] += 1
            this = met[0]
            with original(self):
                yield
                if this == n and when == "before":
                    raise Died
            if this == n:
                raise Died

        monkeypatch.setattr(Index, "transaction", transaction)
        return met

    return arm


FAULTS = {
    "before a put": put_dies("before"),
    "after a put": put_dies("after"),
    "before a commit": transaction_dies("before"),
    "after a commit": transaction_dies("after"),
}


def check_index(machine: Machine) -> None:
    """Rule 1, by SQLite alone: nothing claimed that the store does not have."""
    assert machine.value("PRAGMA integrity_check") == "ok"
    assert machine.rows("PRAGMA foreign_key_check") == []
    homes = machine.rows("SELECT DISTINCT b.hash, b.stored_size FROM chunks c LEFT JOIN blobs b ON b.id = c.blob_id")
    for hash, size in homes:
        assert len(machine.memory.objects[names.blob_name(hash)][0]) == size
    missing = "SELECT count(*) FROM file_content t LEFT JOIN chunks c ON c.id = t.chunk_id WHERE c.id IS NULL"
    assert machine.value(missing) == 0
    short = (
        "SELECT count(*) FROM files f WHERE f.size <> ifnull((SELECT sum(c.size) FROM file_content t JOIN chunks c"
        " ON c.id = t.chunk_id WHERE t.file_id = f.id), 0)"
    )
    assert machine.value(short) == 0
    twice = "SELECT count(*) FROM (SELECT 1 FROM files WHERE last_seq IS NULL GROUP BY directory_id, name HAVING count(*) > 1)"
    assert machine.value(twice) == 0


def known_blobs(machine: Machine) -> set[str]:
    return {names.blob_name(row[0]) for row in machine.rows("SELECT hash FROM blobs")}


def prepare(machine: Machine) -> None:
    """A snapshot, and then a change of every sort that needs several new blobs."""
    for number in range(3):
        (machine.tree / f"large{number}").write_bytes(os.urandom(1_200_000))
    machine.snapshot()
    (machine.tree / "large0").write_bytes(os.urandom(1_200_000))
    (machine.tree / "large3").write_bytes(os.urandom(2_500_000))
    (machine.tree / "folder0" / "file0").unlink()
    (machine.tree / "empty").unlink()
    (machine.tree / "empty").mkdir()
    fill(machine.tree / "empty", 2)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_dies_anywhere_leaves_a_true_index_and_the_next_run_succeeds(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    prepare(machine)
    back = machine.keep()
    first = machine.newest()
    points = 0
    while True:
        back()
        with monkeypatch.context() as patch:
            met = FAULTS[fault](machine, patch, points + 1)
            try:
                machine.create()
            except Died:
                assert met[0] >= points + 1
            else:
                break
            finally:
                machine.store.before = machine.store.after = lambda verb, name: None
        points += 1
        check_index(machine)
        durable = known_blobs(machine)
        machine.store.forget_calls()
        made = machine.snapshot()
        check_index(machine)
        assert durable.isdisjoint(machine.store.names_of("put", names.BLOBS)), f"stored again after fault {points}"
        assert machine.comes_back(), f"after fault {points}"
        assert {entry.id for entry in machine.catalog().entries} >= {first.id, made.id}
        assert machine.catalog().broken == ()
    assert points >= 5, "the faults were not where they were thought to be"


def test_a_death_after_each_death_still_ends_in_a_whole_snapshot(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(machine)
    deaths = 0
    for n in (1, 2, 3, 4, 5, 6, 7):
        arm = FAULTS["before a commit" if n % 2 else "after a put"]
        with monkeypatch.context() as patch:
            arm(machine, patch, n)
            with contextlib.suppress(Died):
                machine.create()
                continue
            deaths += 1
            machine.store.after = lambda verb, name: None
        check_index(machine)
    assert deaths >= 4
    machine.snapshot()
    assert machine.comes_back()


def test_what_an_interrupted_run_uploaded_is_not_uploaded_again(machine: Machine) -> None:
    for number in range(6):
        (machine.tree / f"large{number}").write_bytes(os.urandom(2_400_000))

    def die_at_the_export(verb: str, name: str) -> None:
        if name.endswith("db.zst.age"):
            raise Died

    machine.store.before = die_at_the_export
    with pytest.raises(Died):
        machine.create()
    uploaded = machine.objects(names.BLOBS)
    assert len(uploaded) >= 5
    machine.store.before = lambda verb, name: None
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.store.names_of("put", names.BLOBS) == []
    assert machine.comes_back()


def test_what_an_interrupted_run_recorded_may_be_gone_or_changed_by_the_next(machine: Machine) -> None:
    """Its rows were never shown by a snapshot, so no export may say that they ended."""
    fill(machine.tree / "folder0", 40, 100)
    machine.snapshot()
    (machine.tree / "comes").write_bytes(b"and goes")
    (machine.tree / "folder0" / "file0").write_bytes(b"changes once")
    (machine.tree / "a folder that goes").mkdir()
    (machine.tree / "a folder that goes" / "with this").write_bytes(b"in it")

    def die_at_the_export(verb: str, name: str) -> None:
        if name.endswith("db.zst.age"):
            raise Died

    machine.store.before = die_at_the_export
    with pytest.raises(Died):
        machine.create()
    machine.store.before = lambda verb, name: None
    (machine.tree / "comes").unlink()
    (machine.tree / "a folder that goes" / "with this").unlink()
    (machine.tree / "a folder that goes").rmdir()
    (machine.tree / "folder0" / "file0").write_bytes(b"changes twice")
    made = machine.snapshot()
    assert machine.value("SELECT count(*) FROM snapshot_exports WHERE snapshot_id = ?", made.id.bytes) == 2
    check_index(machine)
    assert machine.comes_back()
    machine.vault.paths.index.unlink()
    machine.snapshot()
    assert machine.comes_back()


def test_the_manifests_bytes_that_were_decided_are_put_after_a_death_between_commit_and_put(machine: Machine) -> None:
    def die_at(end: str) -> None:
        def before(verb: str, name: str) -> None:
            if verb == "put" and name.endswith(end):
                raise Died

        machine.store.before = before

    for end in (".sig", "manifest.json.zst"):
        die_at(end)
        with pytest.raises(Died):
            machine.create()
        [(id, manifest, signature)] = machine.rows("SELECT id, manifest, signature FROM snapshots WHERE state = 1")
        machine.store.before = lambda verb, name: None
        machine.snapshot()
        folder = f"metadata/{_uuid(id)}"
        assert machine.memory.objects[f"{folder}/manifest.json.zst"][0] == manifest
        assert machine.memory.objects[f"{folder}/manifest.json.zst.sig"][0] == signature
        [entry] = [one for one in machine.catalog().entries if one.id.bytes == id]
        assert machine.comes_back(entry)
        (machine.tree / "link").unlink()
        (machine.tree / "link").symlink_to(end)


def test_nothing_is_decided_anew_for_a_name_whose_bytes_were_decided(machine: Machine) -> None:
    """The answer to the manifest's put was lost: the same bytes again are no conflict, and no second snapshot comes of it."""

    def lose_the_answer(verb: str, name: str) -> None:
        if name.endswith("manifest.json.zst"):
            raise Died

    machine.store.after = lose_the_answer
    with pytest.raises(Died):
        machine.create()
    machine.store.after = lambda verb, name: None
    machine.snapshot()
    per_name = Counter(machine.store.names_of("put", names.METADATA))
    assert sorted(per_name.values()) == [1, 1, 1, 1, 2, 2]
    assert machine.value("SELECT count(*) FROM snapshots WHERE state = 2") == 2


def test_a_snapshot_that_was_removed_while_its_machine_was_away_stays_removed(machine: Machine) -> None:
    def die(verb: str, name: str) -> None:
        if name.endswith("manifest.json.zst"):
            raise Died

    machine.store.after = die
    with pytest.raises(Died):
        machine.create()
    machine.store.after = lambda verb, name: None
    [removed] = [entry.id for entry in machine.catalog().entries]
    machine.mark(snapshots=(removed,))
    machine.memory.delete(names.manifest_name(removed))
    machine.memory.delete(names.signature_name(removed))
    made = machine.snapshot()
    assert [entry.id for entry in machine.catalog().entries] == [made.id]
    assert machine.comes_back()


def _uuid(data: bytes) -> str:
    text = data.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
