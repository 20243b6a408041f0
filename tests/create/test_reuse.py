"""Rule 3: a run builds only on blobs that it has seen, whole and unmarked, and only where its index knows all that this
host has in the store.  Only a definite "not found" means not found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from machine import Machine, fill, join_machine, make_machine, recipient_of

from vaultpy.documents import fold
from vaultpy.errors import (
    IndexBehind,
    StoreContradiction,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from vaultpy.manifest import encode, open_manifest
from vaultpy.model import BlobHash, SnapshotId
from vaultpy.ops.init import add_store_key
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.ops.restoring.restore import RestoreOptions, restore
from vaultpy.signature import MANIFEST_NAMESPACE, SigningKey, Trust, sign
from vaultpy.store import names
from vaultpy.store.base import ObjectInfo


def lose(machine: Machine, blob: str) -> None:
    machine.memory.delete(blob)


def cut_short(machine: Machine, blob: str) -> None:
    data, modified = machine.memory.objects[blob]
    machine.memory.objects[blob] = (data[:-1], modified)


def mark(machine: Machine, blob: str) -> None:
    hash = names.parse_blob_name(blob)
    assert hash is not None
    machine.mark(blobs=(BlobHash(hash),))


@pytest.mark.parametrize("befalls", [lose, cut_short, mark])
def test_files_on_a_blob_that_is_missing_or_cut_or_marked_at_the_start_are_stored_anew(
    machine: Machine, befalls: Callable[[Machine, str], None]
) -> None:
    [blob] = machine.blobs_of(machine.snapshot().id)
    befalls(machine, blob)
    machine.store.forget_calls()
    made = machine.snapshot()
    assert blob not in machine.blobs_of(made.id)
    assert len(machine.store.names_of("put", names.BLOBS)) == 1
    assert (made.repairs, len(machine.catalog().entries)) == (None, 2), (
        "it was seen at the start, not mended at the end"
    )
    machine.memory.delete(blob)
    assert machine.comes_back()
    assert made.counts is not None and made.counts.new_bytes == 6 * 20_000


def test_only_the_files_of_the_lost_blob_are_read_again(machine: Machine) -> None:
    machine.snapshot()
    before = machine.objects(names.BLOBS)
    (machine.tree / "later").write_bytes(os.urandom(30_000))
    machine.snapshot()
    [later] = machine.objects(names.BLOBS) - before
    machine.memory.delete(later)
    made = machine.snapshot()
    assert made.counts is not None and made.counts.new_bytes == 30_000
    assert machine.comes_back()


def test_an_old_copy_of_the_index_stops_the_run_and_rebuild_cures_it(machine: Machine) -> None:
    machine.snapshot()
    old = machine.folder / "old.sqlite"
    shutil.copy(machine.vault.paths.index, old)
    (machine.tree / "new").write_bytes(os.urandom(200_000))
    second = machine.snapshot()
    shutil.copy(old, machine.vault.paths.index)
    objects = dict(machine.memory.objects)
    with pytest.raises(IndexBehind) as caught:
        machine.create()
    assert str(second.id) in caught.value.message
    assert "index rebuild" in (caught.value.hint or "") and "init" in (caught.value.hint or "")
    assert machine.memory.objects == objects, "nothing was put"
    rebuilt = rebuild_index(machine.vault, [], machine.events.append)
    assert (rebuilt.snapshots, rebuilt.unreadable) == (2, ())
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.store.uploaded < 20_000
    assert machine.comes_back()


def test_a_rebuilt_index_goes_on_even_if_a_snapshot_can_never_be_read_again(machine: Machine) -> None:
    """A damaged export costs its snapshot, not the host's next ones."""
    machine.snapshot()
    (machine.tree / "new").write_bytes(b"new")
    damaged = machine.snapshot()
    name = f"metadata/{damaged.id}/db.zst.age"
    data, modified = machine.memory.objects[name]
    machine.memory.objects[name] = (data[:-1] + bytes([data[-1] ^ 1]), modified)
    rebuilt = rebuild_index(machine.vault, [], machine.events.append)
    assert [one[0] for one in rebuilt.unreadable] == [damaged.id]
    (machine.tree / "newer").write_bytes(b"newer")
    machine.snapshot()
    assert machine.comes_back()


def test_a_copied_manifest_or_a_strangers_newer_one_does_not_stop_a_rebuild(machine: Machine) -> None:
    made = machine.snapshot()
    for end in ("manifest.json.zst", "manifest.json.zst.sig"):
        machine.memory.put(f"metadata/{some_id(1)}/{end}", machine.memory.objects[f"metadata/{made.id}/{end}"][0])
    put_manifest(machine, some_id(2), fold(b'{"format":9}'), SigningKey.generate())
    rebuilt = rebuild_index(machine.vault, [], machine.events.append)
    assert (rebuilt.snapshots, [one[0] for one in rebuilt.unreadable]) == (1, [some_id(1)])
    machine.snapshot()
    assert machine.comes_back()


def test_a_lost_index_is_rebuilt_by_the_run_itself(machine: Machine) -> None:
    machine.snapshot()
    machine.vault.paths.index.unlink()
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.store.uploaded < 20_000
    assert machine.comes_back()


def test_a_known_manifest_that_is_gone_frees_nothing_for_reuse(machine: Machine) -> None:
    """Somebody removed the newest snapshot: what only it held may be deleted any time, so it is stored anew."""
    machine.snapshot()
    kept = machine.objects(names.BLOBS)
    (machine.tree / "new").write_bytes(os.urandom(50_000))
    removed = machine.snapshot()
    [only_its] = machine.objects(names.BLOBS) - kept
    machine.memory.delete(names.manifest_name(removed.id))
    machine.memory.delete(names.signature_name(removed.id))
    made = machine.snapshot()
    assert only_its not in machine.blobs_of(made.id)
    assert kept <= set(machine.blobs_of(made.id)), "the blobs of the snapshot that is there now are built on"
    machine.memory.delete(only_its)
    assert machine.comes_back()


def test_rows_that_no_snapshot_shows_any_more_are_dropped_at_the_next_start(machine: Machine) -> None:
    """The index does not grow for ever when another machine purges."""
    made = []
    for _ in range(4):
        (machine.tree / "folder0" / "file0").write_bytes(os.urandom(5_000))
        made.append(machine.snapshot())
    versions = "SELECT count(*) FROM files WHERE name = ?"
    assert machine.value(versions, b"file0") == 4
    for middle in made[1:3]:
        machine.memory.delete(names.manifest_name(middle.id))
        machine.memory.delete(names.signature_name(middle.id))
    machine.snapshot()
    assert machine.value(versions, b"file0") == 2
    assert machine.value("SELECT count(*) FROM blobs") == len(machine.objects(names.BLOBS)) - 2
    assert machine.comes_back()


DENIALS = [
    StoreDenied("403"),
    StoreUnavailable("500"),
    StoreUnavailable("timed out"),
    StoreContradiction("goes backwards"),
]


@pytest.mark.parametrize("prefix", [names.METADATA, names.PURGES, names.BLOBS])
@pytest.mark.parametrize("midway", [False, True])
@pytest.mark.parametrize("error", DENIALS, ids=str)
def test_a_listing_that_fails_stops_the_run_and_nothing_is_taken_for_gone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, prefix: str, midway: bool, error: StoreError
) -> None:
    if isinstance(error, StoreDenied) and prefix == names.METADATA:
        return  # the first listing of a run: refused, it means a host that may not list at all (below)
    machine.snapshot()
    machine.mark(blobs=(BlobHash(b"x" * 32),))
    rows = machine.rows("SELECT id, last_seq FROM files ORDER BY id")
    snapshots = machine.rows("SELECT id, state FROM snapshots")
    objects = dict(machine.memory.objects)
    original = machine.store.list

    def listed(asked: str) -> Iterator[ObjectInfo]:
        found = original(asked)
        if asked != prefix:
            return found
        return _failing(found, error) if midway else _failing(iter(()), error)

    with monkeypatch.context() as patch:
        patch.setattr(machine.store, "list", listed)
        with pytest.raises(type(error)):
            machine.create()
    assert machine.memory.objects == objects
    assert machine.rows("SELECT id, last_seq FROM files ORDER BY id") == rows
    assert machine.rows("SELECT id, state FROM snapshots") == snapshots


def _failing(found: Iterator[ObjectInfo], error: StoreError) -> Iterator[ObjectInfo]:
    for info in found:
        yield info
        break
    raise error


@pytest.mark.parametrize("reuse_blind", [False, True])
def test_a_host_that_may_not_list_builds_only_on_what_it_is_told_to(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, reuse_blind: bool
) -> None:
    """It stores everything anew on each run, or trusts its index where `reuse_blind` says so; it forgets nothing."""
    first = machine.snapshot()
    machine.configure(reuse_blind=reuse_blind)
    before = machine.objects(names.BLOBS)

    def refused(prefix: str) -> Iterator[ObjectInfo]:
        raise StoreDenied(f"listing {prefix} is refused")

    with monkeypatch.context() as patch:
        patch.setattr(machine.store, "list", refused)
        second = machine.snapshot()
        assert len(machine.rows("SELECT id FROM snapshots")) == 2
    assert (machine.objects(names.BLOBS) == before) == reuse_blind
    assert set(machine.blobs_of(second.id)).isdisjoint(before) != reuse_blind
    assert machine.value("SELECT count(*) FROM snapshot_exports WHERE snapshot_id = ?", second.id.bytes) == 1
    assert machine.comes_back()
    third = machine.snapshot()
    assert [entry.id for entry in machine.catalog().entries] == [first.id, second.id, third.id]


def test_a_lost_blob_is_noticed_even_where_reuse_is_blind(machine: Machine) -> None:
    """`reuse_blind` builds on what the index says was uploaded; the second look, where it may list, still mends."""
    machine.configure(reuse_blind=True)
    [blob] = machine.blobs_of(machine.snapshot().id)
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.store.names_of("put", names.BLOBS) == []
    machine.memory.delete(blob)
    machine.snapshot()
    assert machine.comes_back()


def test_a_new_store_key_reuses_nothing(machine: Machine) -> None:
    machine.snapshot()
    old = machine.objects(names.BLOBS)
    vault = machine.vault
    signer = vault.host.signing_key.public_text()
    key = add_store_key(
        machine.store, vault.paths.folder, [recipient_of(machine.identity)], signer, machine.clock, os.urandom
    )
    machine.configure(key=key)
    made = machine.snapshot()
    assert set(machine.blobs_of(made.id)).isdisjoint(old)
    for blob in old:
        machine.memory.delete(blob)
    assert machine.comes_back()
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.store.names_of("put", names.BLOBS) == []


@pytest.fixture
def two(tmp_path: Path) -> tuple[Machine, Machine]:
    """Two hosts over one store."""
    folder = tmp_path / "one"
    folder.mkdir()
    one = make_machine(folder)
    other = tmp_path / "other"
    other.mkdir()
    second = join_machine(other, one.clock, one.memory, one.identity)
    fill(one.tree)
    fill(second.tree)
    return one, second


def test_another_hosts_manifest_is_fetched_once(two: tuple[Machine, Machine]) -> None:
    one, other = two
    theirs = names.manifest_name(other.snapshot().id)
    for _ in range(3):
        one.snapshot()
        assert one.store.names_of("get").count(theirs) == 1
    newer = names.manifest_name(other.snapshot().id)
    one.snapshot()
    assert one.store.names_of("get").count(theirs) == 1
    assert one.store.names_of("get").count(newer) == 1


def test_two_hosts_do_not_touch_each_others_snapshots(two: tuple[Machine, Machine]) -> None:
    one, other = two
    mine, theirs = one.snapshot(), other.snapshot()
    one.snapshot()
    entries = {entry.id: entry for entry in one.catalog().entries}
    assert {mine.id, theirs.id} <= entries.keys()
    assert other.newest().id in entries
    target = one.folder / "theirs"
    reader = replace(one.reader(), trust=Trust(frozenset([other.vault.host.signing_key.public_text()]), False))
    back = restore(reader, entries[theirs.id], os.fsencode(target), RestoreOptions(), one.events.append)
    assert back.failed == ()


def put_manifest(machine: Machine, id: SnapshotId, data: bytes, key: SigningKey) -> None:
    machine.memory.put(names.signature_name(id), sign(key, data, MANIFEST_NAMESPACE))
    machine.memory.put(names.manifest_name(id), data)


def some_id(number: int) -> SnapshotId:
    return SnapshotId(UUID(f"01900000-0000-7000-8000-{number:012x}"))


def test_a_manifest_that_only_claims_to_be_this_hosts_stops_nothing(machine: Machine) -> None:
    made = machine.snapshot()
    data = machine.memory.objects[names.manifest_name(made.id)][0]
    signature = machine.memory.objects[names.signature_name(made.id)][0]
    signer = Trust(frozenset([machine.vault.host.signing_key.public_text()]), False)
    manifest = open_manifest(data, signature, machine.vault.at.settings.id, made.id, signer)
    put_manifest(machine, some_id(1), encode(replace(manifest, snapshot=some_id(1))), SigningKey.generate())
    put_manifest(machine, some_id(2), b"not a manifest", SigningKey.generate())
    machine.memory.put(names.manifest_name(some_id(3)), data)
    machine.snapshot()
    assert machine.comes_back(next(entry for entry in machine.catalog().entries if entry.id == made.id))
    machine.store.forget_calls()
    machine.snapshot()
    assert machine.store.uploaded < 20_000, "and it makes nothing be stored again"


def test_a_copy_of_a_manifest_under_another_name_stops_nothing(machine: Machine) -> None:
    """Signed by this host, but not for that place: whoever can write to the store could make such copies."""
    made = machine.snapshot()
    for end in ("manifest.json.zst", "manifest.json.zst.sig"):
        machine.memory.put(f"metadata/{some_id(1)}/{end}", machine.memory.objects[f"metadata/{made.id}/{end}"][0])
    machine.snapshot()
    assert machine.comes_back(machine.newest())
