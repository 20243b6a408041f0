"""Exports: small where little changed, in short chains, whole again where a delta cannot stand, read back before they
are believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from machine import Died, Machine, make_machine, recipient_of

from vaultpy.errors import StoreContradiction
from vaultpy.model import ExportId, ExportRef, SnapshotId
from vaultpy.ops.init import add_store_key
from vaultpy.ops.making import publish
from vaultpy.ops.reading.reader import read_manifest
from vaultpy.store import names


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five thousand small files in a hundred folders."""
    top = tmp_path_factory.mktemp("many") / "tree"
    for number in range(100):
        folder = top / f"folder{number}"
        folder.mkdir(parents=True)
        for file in range(50):
            (folder / f"a file with a longer name {file}.txt").write_text(f"{number} {file}" * 5)
    return top


def chain(machine: Machine, snapshot: SnapshotId) -> tuple[ExportRef, ...]:
    return read_manifest(machine.reader(), snapshot, None).exports


def test_what_a_snapshot_uploads_grows_with_what_changed(tmp_path: Path, many_files: Path) -> None:
    machine = make_machine(tmp_path)
    machine.tree = many_files
    first = machine.snapshot()
    rows = machine.value("SELECT count(*) FROM files")
    machine.store.forget_calls()
    second = machine.snapshot()
    assert machine.store.uploaded < 20_000
    assert machine.value("SELECT count(*) FROM files") == rows
    for number in range(100):
        (many_files / f"folder{number}" / "a file with a longer name 7.txt").write_text(f"changed {number}")
    machine.store.forget_calls()
    third = machine.snapshot()
    base, unchanged, changed = chain(machine, third.id)
    assert (base, unchanged) == chain(machine, second.id) and (base,) == chain(machine, first.id)
    assert base.size > 300_000
    assert unchanged.size < 2_000
    assert changed.size < 40_000
    assert machine.comes_back()


def grow(machine: Machine, number: int, files: int = 1) -> None:
    for one in range(files):
        (machine.tree / f"{number}-{one}").write_bytes(os.urandom(100))


def test_a_chain_of_exports_has_32_at_most(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert publish.CHAIN_LIMIT == 32
    monkeypatch.setattr(publish, "CHAIN_LIMIT", 4)
    grow(machine, 0, 400)
    lengths = []
    for number in range(1, 11):
        grow(machine, number)
        lengths.append(len(chain(machine, machine.snapshot().id)))
    assert lengths == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2]
    assert machine.comes_back()
    for entry in machine.catalog().entries:
        machine.restore(entry)


def test_a_chain_begins_anew_when_its_deltas_weigh_half_of_its_base(machine: Machine) -> None:
    grow(machine, 0, 200)
    before: tuple[ExportRef, ...] = ()
    lengths = []
    for number in range(1, 9):
        grow(machine, number, 30)
        now = chain(machine, machine.snapshot().id)
        weight = sum(ref.size for ref in before[1:])
        if before and weight * 2 < before[0].size:
            assert now[:-1] == before
        else:
            assert len(now) == 1
        before = now
        lengths.append(len(now))
    assert max(lengths) > 2 and lengths.count(1) >= 2, f"both must have been seen: {lengths}"
    assert machine.comes_back()


def lose_the_base(machine: Machine, base: ExportRef) -> None:
    machine.memory.delete(names.export_name(base.id))


def cut_the_base(machine: Machine, base: ExportRef) -> None:
    name = names.export_name(base.id)
    data, modified = machine.memory.objects[name]
    machine.memory.objects[name] = (data[:-1], modified)


def mark_the_base(machine: Machine, base: ExportRef) -> None:
    machine.mark(exports=(ExportId(base.id),))


def lose_a_blob(machine: Machine, base: ExportRef) -> None:
    """Chunks get another home, of which a delta would say nothing."""
    machine.memory.delete(sorted(machine.objects(names.BLOBS))[0])


def change_the_key(machine: Machine, base: ExportRef) -> None:
    vault, recipients = machine.vault, [recipient_of(machine.identity)]
    signer = vault.host.signing_key.public_text()
    key = add_store_key(machine.store, vault.paths.folder, recipients, signer, machine.clock, os.urandom)
    machine.configure(key=key)


@pytest.mark.parametrize("befalls", [lose_the_base, cut_the_base, mark_the_base, lose_a_blob, change_the_key])
def test_an_export_is_whole_where_a_delta_could_not_stand(
    machine: Machine, befalls: Callable[[Machine, ExportRef], None]
) -> None:
    grow(machine, 0, 200)
    machine.snapshot()
    grow(machine, 1)
    [base, _] = chain(machine, machine.snapshot().id)
    befalls(machine, base)
    grow(machine, 2)
    third = machine.snapshot()
    assert len(chain(machine, third.id)) == 1
    machine.memory.objects.pop(names.export_name(base.id), None)
    assert machine.comes_back()
    grow(machine, 3)
    fourth = machine.snapshot()
    assert chain(machine, fourth.id)[:-1] == chain(machine, third.id)
    assert machine.comes_back()


def test_a_chain_never_stands_on_an_export_for_another_key(machine: Machine) -> None:
    """Also where no content has to be stored anew for the new key, because there is none."""
    machine.tree = machine.folder / "without content"
    for number in range(200):
        (machine.tree / f"folder {number}").mkdir(parents=True)
    first = machine.snapshot()
    change_the_key(machine, chain(machine, first.id)[0])
    (machine.tree / "new").mkdir()
    assert len(chain(machine, machine.snapshot().id)) == 1
    assert machine.comes_back()


def test_an_export_is_whole_where_the_parents_manifest_is_gone(machine: Machine) -> None:
    machine.snapshot()
    grow(machine, 1)
    second = machine.snapshot()
    machine.memory.delete(names.manifest_name(second.id))
    machine.memory.delete(names.signature_name(second.id))
    grow(machine, 2)
    third = machine.snapshot()
    assert ExportId(second.id) not in {ref.id for ref in chain(machine, third.id)}
    assert machine.comes_back()


@pytest.mark.parametrize("position", [0, 60, 250, 0.5, -17, -1])
def test_an_export_that_comes_back_otherwise_than_it_was_put_stops_publishing(
    machine: Machine, position: int | float
) -> None:
    def flip(name: str, start: int, data: bytes) -> bytes:
        if not name.endswith("db.zst.age"):
            return data
        at = int(len(data) * position) if isinstance(position, float) else position % len(data)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    machine.store.changed_on_get = flip
    with pytest.raises(StoreContradiction, match="came back other"):
        machine.create()
    assert not [name for name in machine.objects(names.METADATA) if "manifest" in name]
    assert machine.rows("SELECT * FROM snapshots") == []
    machine.store.changed_on_get = lambda name, start, data: data
    machine.snapshot()
    assert machine.comes_back()


def test_an_export_that_is_put_in_place_of_ours_stops_publishing(machine: Machine) -> None:
    """A valid export, even one that this host can open, is not the one that was written."""
    machine.snapshot()
    [other] = [data for name, (data, _) in machine.memory.objects.items() if name.endswith("db.zst.age")]

    def swap(name: str, start: int, data: bytes) -> bytes:
        return other if name.endswith("db.zst.age") else data

    grow(machine, 1)
    machine.store.changed_on_get = swap
    with pytest.raises(StoreContradiction):
        machine.create()
    assert len(machine.catalog().entries) == 1


def test_a_snapshot_comes_back_that_was_made_after_the_newest_was_lost_and_a_run_died(machine: Machine) -> None:
    """The dead run ended rows with the newest snapshot, which then went from the store: the next export stands on the one
    before, and has to take them away from that."""
    (machine.tree / "large").write_bytes(os.urandom(300_000))
    for number in range(60):  # so that the base is large, and differences stand on it
        (machine.tree / f"more{number}").write_bytes(b"%d" % number)
    machine.snapshot()
    (machine.tree / "empty").write_bytes(b"not any more")
    newest = machine.snapshot()
    (machine.tree / "empty").unlink()
    (machine.tree / "large").write_bytes(os.urandom(1000))

    def die(verb: str, name: str) -> None:
        if verb == "put" and name.startswith(names.METADATA):
            raise Died

    machine.store.before = die
    with pytest.raises(Died):
        machine.create()
    machine.store.before = lambda verb, name: None
    for name in (names.manifest_name(newest.id), names.signature_name(newest.id)):
        machine.memory.delete(name)
    made = machine.snapshot()
    assert made.parent is not None
    assert machine.comes_back()
