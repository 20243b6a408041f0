"""What verify looks at, at which cost, and what it finds in a store that was spoiled."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from damage import ALL, FETCHING, check, check_at_home, flip, lose, only, spoil
from machine import Machine, join_machine

from vaultpy.age import X25519Identity
from vaultpy.config import SourceConfig
from vaultpy.errors import NoIdentity, StoreDenied, StoreUnavailable, UsageError
from vaultpy.index.dump import whole_lines
from vaultpy.keys import FORM_LIMIT, load_identities
from vaultpy.ops.making import create, publish
from vaultpy.ops.reading.findings import PATHS_NAMED, Damage, Depth
from vaultpy.store import names


def three_snapshots(machine: Machine) -> None:
    for number in range(3):
        (machine.tree / f"new{number}").write_bytes(os.urandom(30_000))
        machine.snapshot()


def path_of(machine: Machine, *parts: str) -> bytes:
    return os.fsencode(machine.tree.joinpath(*parts))


@pytest.mark.parametrize("depth", ALL)
def test_nothing_is_found_in_a_sound_store(machine: Machine, depth: Depth) -> None:
    three_snapshots(machine)
    for verified in (check(machine, depth), check_at_home(machine, depth)):
        assert verified.findings == verified.unchecked == verified.unopened == verified.notes == ()
        assert verified.exit_code == 0
        assert len(verified.snapshots) == 3
        assert verified.objects == len(machine.objects("blobs/")) + 3
        assert verified.fetched == (verified.objects if depth > Depth.LISTED else 0)
        assert verified.bytes == sum(
            len(machine.memory.objects[name][0])
            for name in machine.objects()
            if name.startswith("blobs/") or name.endswith("/db.zst.age")
        )


def test_only_deep_counts_files_and_chunks(machine: Machine) -> None:
    machine.snapshot()
    assert (check(machine, Depth.HASHED).files, check(machine, Depth.HASHED).chunks) == (0, 0)
    verified = check(machine, Depth.OPENED)
    assert verified.chunks == machine.value("SELECT count(*) FROM chunks") == 6
    assert verified.files == machine.value("SELECT count(*) FROM files")


@pytest.mark.parametrize("depth", ALL)
def test_each_prefix_is_listed_once_for_all_snapshots(machine: Machine, depth: Depth) -> None:
    three_snapshots(machine)
    machine.store.forget_calls()
    check(machine, depth)
    listed = Counter(machine.store.names_of("list"))
    assert (listed.pop("blobs/"), listed.pop("metadata/")) == (1, 1)
    assert all(prefix.startswith("keys/") for prefix in listed)


def test_nothing_but_manifests_and_key_forms_is_fetched_by_default(machine: Machine) -> None:
    three_snapshots(machine)
    machine.store.forget_calls()
    check(machine, Depth.LISTED)
    fetched = machine.store.names_of("get")
    assert all(name.startswith("keys/") or "/manifest.json.zst" in name for name in fetched)


@pytest.mark.parametrize("depth", FETCHING)
def test_an_object_is_fetched_once_though_three_snapshots_share_it(machine: Machine, depth: Depth) -> None:
    three_snapshots(machine)
    machine.store.forget_calls()
    check(machine, depth)
    fetched = Counter(machine.store.names_of("get"))
    objects = [name for name in machine.objects() if name.startswith("blobs/") or name.endswith("/db.zst.age")]
    assert {name: fetched[name] for name in objects} == dict.fromkeys(objects, 1)


def test_the_newest_of_each_source_is_verified_unless_more_is_asked_for(machine: Machine, tmp_path: Path) -> None:
    machine.snapshot()
    newest = machine.snapshot()
    other = machine.snapshot(SourceConfig("other", (os.fsencode(machine.tree / "folder0"),)))
    (tmp_path / "second").mkdir()
    second = join_machine(tmp_path / "second", machine.clock, machine.memory, machine.identity)
    far = second.snapshot()
    believed = replace(machine.reader(), trust=None)
    assert set(check(machine, Depth.LISTED, reader=believed, snapshots=()).snapshots) == {newest.id, other.id, far.id}
    assert check(machine, Depth.LISTED, reader=believed, source="other").snapshots == (other.id,)
    assert len(check(machine, Depth.LISTED, reader=believed).snapshots) == 4


def test_snapshots_are_verified_by_name(machine: Machine) -> None:
    first = machine.snapshot()
    machine.snapshot()
    assert check(machine, Depth.LISTED, snapshots=(str(first.id),)).snapshots == (first.id,)
    with pytest.raises(UsageError, match="there is none"):
        check(machine, Depth.LISTED, snapshots=("ffffffff",))


def test_a_store_without_snapshots_is_not_called_good(machine: Machine) -> None:
    with pytest.raises(UsageError, match="no snapshots"):
        check(machine, Depth.LISTED)


@pytest.mark.parametrize("depth", ALL)
def test_a_missing_blob_is_named_with_its_snapshots_and_files(machine: Machine, depth: Depth) -> None:
    first = machine.snapshot()
    (machine.tree / "new").write_bytes(os.urandom(9_000))
    second = machine.snapshot()
    (old,) = machine.blobs_of(first.id)
    (new,) = set(machine.blobs_of(second.id)) - {old}
    lose(machine, new)
    finding = only(check_at_home(machine, depth))
    assert (finding.kind, finding.object, finding.snapshots) == (Damage.MISSING, new, (second.id,))
    assert (finding.files, finding.paths) == (1, (path_of(machine, "new"),))
    assert "snapshot create" in finding.advice


def test_without_index_and_identity_it_is_not_told_which_files(machine: Machine) -> None:
    machine.snapshot()
    lose(machine, *machine.objects("blobs/"))
    finding = only(check(machine, Depth.LISTED, reader=machine.reader(identity=False)))
    assert (finding.kind, finding.files, finding.paths) == (Damage.MISSING, None, ())


def test_an_index_that_has_newer_homes_does_not_say_that_an_old_blob_costs_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is where the old snapshot cannot be mended."""
    monkeypatch.setattr(create, "mend_snapshots", lambda *_: ())
    first = machine.snapshot()
    (old,) = machine.objects("blobs/")
    lose(machine, old)
    machine.snapshot()  # stores everything anew
    finding = only(check_at_home(machine, Depth.LISTED))
    assert (finding.object, finding.snapshots, finding.files) == (old, (first.id,), None)
    finding = only(check_at_home(machine, Depth.OPENED))
    assert (finding.object, finding.files) == (old, 6)


@pytest.mark.parametrize("depth", ALL)
def test_files_are_counted_once_though_several_snapshots_hold_them_and_some_are_named(
    machine: Machine, depth: Depth
) -> None:
    for number in range(PATHS_NAMED + 5):
        (machine.tree / "folder0" / f"{number:03}").write_bytes(os.urandom(500))
    machine.snapshot()
    machine.snapshot()
    lose(machine, *machine.objects("blobs/"))
    finding = only(check_at_home(machine, depth))
    assert len(finding.snapshots) == 2
    assert finding.files == PATHS_NAMED + 5 + 6
    assert len(finding.paths) == PATHS_NAMED
    assert list(finding.paths) == sorted(finding.paths)


@pytest.mark.parametrize("depth", ALL)
@pytest.mark.parametrize("kind", ["blobs/", "export"])
def test_an_object_of_another_size_is_named(machine: Machine, depth: Depth, kind: str) -> None:
    snapshot = machine.snapshot()
    name = next(iter(machine.objects("blobs/"))) if kind == "blobs/" else names.export_name(snapshot.id)
    spoil(machine, name, machine.memory.objects[name][0][:-1])
    finding = only(check(machine, depth))
    assert (finding.kind, finding.object, finding.snapshots) == (Damage.SIZE, name, (snapshot.id,))


@pytest.mark.parametrize("depth", FETCHING)
@pytest.mark.parametrize("at", [0, 200, 50_000, -1])
def test_a_flipped_bit_anywhere_in_any_object_is_found(machine: Machine, depth: Depth, at: int) -> None:
    three_snapshots(machine)
    sound = dict(machine.memory.objects)
    for name in sorted(machine.objects() - {names.CONFIG}):  # without which there is no store to verify
        flip(machine, name, min(at, len(sound[name][0]) - 1))
        finding = only(check(machine, depth))
        if name.startswith("blobs/") or (name.endswith(".age") and name.startswith("metadata/")):
            assert (finding.kind, finding.object) == (Damage.CHANGED, name)
        else:
            assert finding.object in (name.removesuffix(".sig"), name.rpartition("/")[0] + "/")
        machine.memory.objects = dict(sound)


def test_a_flip_where_no_file_lies_is_found_and_costs_no_file(machine: Machine) -> None:
    machine.configure(blob_size=32 << 20)
    (machine.tree / "a large one").write_bytes(Random(2).randbytes(3_000_000))  # its first chunk is a frame by itself
    machine.snapshot()
    (machine.tree / "a large one").unlink()
    later = machine.snapshot()
    (blob,) = machine.blobs_of(later.id)
    flip(machine, blob, 600_000)
    finding = only(check(machine, Depth.OPENED, snapshots=("latest",)))
    assert (finding.kind, finding.object, finding.files) == (Damage.CHANGED, blob, 0)
    assert "are right, though" in finding.detail
    finding = only(check(machine, Depth.OPENED))
    assert (finding.files, finding.paths) == (1, (path_of(machine, "a large one"),))


def test_chunks_that_lie_elsewhere_than_the_export_says_are_found(machine: Machine) -> None:
    machine.snapshot()
    with machine.index() as index:
        (one, first), (other, second) = index.rows("SELECT id, raw_offset FROM chunks ORDER BY id LIMIT 2")
        index.run("UPDATE chunks SET raw_offset = ? WHERE id = ?", (second, one))
        index.run("UPDATE chunks SET raw_offset = ? WHERE id = ?", (first, other))
    wrong = machine.create(SourceConfig("other", (os.fsencode(machine.tree),))).snapshot
    assert wrong is not None
    assert check(machine, Depth.HASHED).findings == ()
    finding = only(check(machine, Depth.OPENED))
    assert (finding.kind, finding.object) == (Damage.CONTENT, machine.blobs_of(wrong.id)[0])
    assert finding.files == 2
    assert "2 of the 8 chunks" in finding.detail


def test_a_bad_export_costs_the_snapshots_that_stand_on_it_and_no_others(machine: Machine) -> None:
    three_snapshots(machine)
    whole = machine.snapshot(SourceConfig("other", (os.fsencode(machine.tree),)))
    middle = sorted(one.id for one in machine.catalog().entries)[1]
    flip(machine, names.export_name(middle), -1)
    verified = check(machine, Depth.OPENED)
    finding = only(verified)
    assert (finding.kind, finding.object) == (Damage.CHANGED, names.export_name(middle))
    assert len(finding.snapshots) == 2
    assert whole.id not in finding.snapshots
    lose(machine, names.export_name(middle))
    assert only(check(machine, Depth.OPENED)).kind == Damage.MISSING


@pytest.mark.parametrize(
    ("left_out", "number", "says"),
    [
        (b"INSERT INTO chunks ", -1, "do not add up"),
        (b"INSERT INTO blobs ", -1, "a blob that it does not name"),
        (b"INSERT INTO directories ", -2, "a file lies in no directory"),
        (b"INSERT INTO directories ", 1, "not one tree"),
    ],
)
def test_an_export_that_does_not_cover_every_file_is_found(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, left_out: bytes, number: int, says: str
) -> None:
    def lines(*given: Any) -> Iterator[bytes]:
        whole = b"".join(whole_lines(*given)).splitlines(keepends=True)
        whole.remove([line for line in whole if line.startswith(left_out)][number])
        return iter(whole)

    monkeypatch.setattr(publish, "whole_lines", lines)
    snapshot = machine.snapshot()
    assert check(machine, Depth.HASHED).findings == ()
    finding = only(check(machine, Depth.OPENED))
    assert (finding.kind, finding.object) == (Damage.CONTENT, names.export_name(snapshot.id))
    assert says in finding.detail


def test_a_manifest_that_names_fewer_blobs_than_its_export_is_found(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.configure(blob_size=64 * 1024)
    whole = publish.homes_at
    monkeypatch.setattr(publish, "homes_at", lambda *given: whole(*given)[:-1])
    snapshot = machine.snapshot()
    assert check(machine, Depth.HASHED).findings == ()
    finding = only(check(machine, Depth.OPENED))
    assert (finding.kind, finding.object) == (Damage.CONTENT, names.export_name(snapshot.id))
    assert "names other blobs than its manifest" in finding.detail


def test_the_index_is_not_believed_by_deep(machine: Machine) -> None:
    snapshot = machine.snapshot()
    flip(machine, names.export_name(snapshot.id), 100)
    assert only(check_at_home(machine, Depth.OPENED)).object == names.export_name(snapshot.id)


def test_a_store_that_fails_is_not_damage(machine: Machine) -> None:
    machine.snapshot()

    def fail(verb: str, name: str) -> None:
        if verb == "get" and name.startswith("blobs/"):
            raise StoreUnavailable("the network is down")

    machine.store.before = fail
    for depth in FETCHING:
        with pytest.raises(StoreUnavailable):
            check(machine, depth)


def test_a_blob_that_is_listed_and_cannot_be_got_is_damage(machine: Machine) -> None:
    machine.snapshot()
    (blob,) = machine.objects("blobs/")

    def vanish(verb: str, name: str) -> None:
        if verb == "get" and name == blob:
            machine.memory.objects.pop(name, None)

    machine.store.before = vanish
    finding = only(check(machine, Depth.HASHED))
    assert (finding.kind, finding.object) == (Damage.MISSING, blob)


def test_what_goes_meanwhile_because_its_snapshot_is_removed_is_no_damage(machine: Machine) -> None:
    machine.snapshot()
    (machine.tree / "folder0" / "file0").write_bytes(os.urandom(5_000))
    later = machine.snapshot()

    def prune(verb: str, name: str) -> None:
        if (verb, name) == ("list", "blobs/"):
            lose(machine, names.manifest_name(later.id), names.signature_name(later.id))
            lose(machine, names.export_name(later.id), *set(machine.blobs_of(later.id)))

    machine.store.after = lambda verb, name: None
    machine.store.before = prune
    verified = check(machine, Depth.LISTED, snapshots=(str(later.id),))
    assert verified.findings == ()
    assert verified.exit_code == 0


def test_missing_wrapped_forms_are_damage_and_more_of_them_are_not(machine: Machine) -> None:
    snapshot = machine.snapshot()
    folder = names.key_folder(machine.vault.key.id)
    machine.memory.put(names.key_name(machine.vault.key.id, 1), b"the form of a recipient added since")
    assert check(machine, Depth.LISTED).findings == ()
    lose(machine, names.key_name(machine.vault.key.id, 0))
    for depth in ALL:  # what the manifest holds a copy of still opens
        finding = only(check(machine, depth))
        assert (finding.kind, finding.object, finding.snapshots) == (Damage.KEY, folder, (snapshot.id,))


def test_what_cannot_be_a_wrapped_form_is_not_fetched(machine: Machine) -> None:
    machine.snapshot()
    huge = names.key_name(machine.vault.key.id, 7)
    machine.memory.put(huge, bytes(FORM_LIMIT + 1))
    machine.store.forget_calls()
    assert check(machine, Depth.LISTED, reader=machine.reader(identity=False)).findings == ()
    assert huge not in machine.store.names_of("get")


def test_a_swapped_wrapped_form_is_damage(machine: Machine) -> None:
    machine.snapshot()
    flip(machine, names.key_name(machine.vault.key.id, 0), -1)
    assert only(check(machine, Depth.LISTED)).kind == Damage.KEY


def test_who_may_not_read_keys_is_told_that_they_were_not_compared(machine: Machine) -> None:
    machine.snapshot()

    def deny(verb: str, name: str) -> None:
        if verb == "get" and name.startswith("keys/"):
            raise StoreDenied("403")

    machine.store.before = deny
    verified = check(machine, Depth.LISTED, reader=machine.reader(identity=False))
    assert verified.findings == ()
    assert "not compared" in verified.notes[0]


def test_a_changed_vaultpy_json_is_damage(machine: Machine) -> None:
    snapshot = machine.snapshot()
    reader = machine.reader()
    elsewhere = replace(reader, at=replace(reader.at, settings_hash=bytes(32)))
    finding = only(check(machine, Depth.LISTED, reader=elsewhere))
    assert (finding.kind, finding.object, finding.snapshots) == (Damage.SETTINGS, "vaultpy.json", (snapshot.id,))


def test_deep_needs_an_identity(machine: Machine) -> None:
    machine.snapshot()
    with pytest.raises(NoIdentity, match="no identity was given"):
        check(machine, Depth.OPENED, reader=machine.reader(identity=False))


def test_what_no_identity_opens_is_exit_12_and_is_hashed_all_the_same(machine: Machine) -> None:
    snapshot = machine.snapshot()
    other = load_identities(X25519Identity.generate(os.urandom).to_text().encode(), None)
    reader = replace(machine.reader(), identities=other)
    verified = check(machine, Depth.OPENED, reader=reader)
    assert (verified.exit_code, verified.unopened) == (12, (snapshot.id,))
    (blob,) = machine.objects("blobs/")
    flip(machine, blob, 1_000)
    assert check(machine, Depth.OPENED, reader=reader).exit_code == 4


@pytest.mark.parametrize("depth", ALL)
def test_verifying_changes_nothing_but_what_the_index_knows_of_checks(machine: Machine, depth: Depth) -> None:
    three_snapshots(machine)
    lose(machine, sorted(machine.objects("blobs/"))[0])
    before = dict(machine.memory.objects), state(machine), index_rows(machine)
    machine.store.forget_calls()
    check_at_home(machine, depth)
    assert (dict(machine.memory.objects), state(machine), index_rows(machine)) == before
    assert {verb for verb, _ in machine.store.calls} <= {"get", "list", "stat"}


@pytest.mark.parametrize("depth", ALL)
def test_verifying_a_sound_store_by_its_listing_writes_nothing_at_all(machine: Machine, depth: Depth) -> None:
    three_snapshots(machine)
    before = machine.vault.paths.index.read_bytes()
    check_at_home(machine, depth)
    assert (machine.vault.paths.index.read_bytes() == before) == (depth == Depth.LISTED)


def index_rows(machine: Machine) -> list[str]:
    """Everything that the index says, but for what verifications found."""
    with sqlite3.connect(machine.vault.paths.index) as connection:
        lines = [line for line in connection.iterdump() if not line.startswith('INSERT INTO "checks"')]
    connection.close()
    return lines


def state(machine: Machine) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(machine.folder.rglob("*"))
        if path.is_file() and path != machine.vault.paths.index
    }
