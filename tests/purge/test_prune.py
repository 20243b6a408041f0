"""Pruning: what nothing needs is recorded, and deleted between one and two graces later if that still holds."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace

import pytest
from sites import DAY, GRACE, HOUR, SECOND, SETTINGS, Site, memory_site
from spies import Killed, SpiedStore, killing_at

from vaultpy.model import BlobHash, ExportId, SnapshotId, SnapshotState
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.records import put_candidates, read_records
from vaultpy.ops.removing.prune import Amount, Pruned, PruneOptions, PrunePlan, apply_prune, plan_prune
from vaultpy.store import names
from vaultpy.store.base import ObjectInfo
from vaultpy.units import Duration

NS_GRACE = GRACE * SECOND
PARTIAL = SnapshotState.PARTIAL


def plan(site: Site, **options: object) -> PrunePlan:
    return plan_prune(site.reader(), PruneOptions(**options))  # type: ignore[arg-type]


def prune(site: Site, **options: object) -> Pruned:
    return apply_prune(site.store, plan(site, **options), os.urandom)


def recorded(site: Site) -> set[BlobHash | ExportId]:
    return {key for one in read_records(site.store) for key in (*one.named.blobs, *one.named.exports)}


def test_a_store_without_snapshots_has_nothing_to_prune(site: Site) -> None:
    assert prune(site) == Pruned(Amount(), Amount(), Amount(), (), prune(site).removed, 0)


@pytest.mark.parametrize(("age", "taken"), [(NS_GRACE - 1, 0), (NS_GRACE, 0), (NS_GRACE + 1, 1)])
def test_only_what_is_older_than_the_grace_is_recorded(site: Site, age: int, taken: int) -> None:
    ref = site.blob(1000)
    site.pass_time(age)
    done = prune(site)
    assert done.recorded == Amount(taken, 0, taken * 1000)
    assert recorded(site) == ({ref.hash} if taken else set())
    assert site.has(ref) == [True]


def test_what_a_snapshot_names_is_never_recorded(site: Site) -> None:
    refs = [site.blob(), site.blob()]
    site.snapshot(refs)
    site.pass_time(10 * DAY)
    assert prune(site).recorded == Amount()


@pytest.mark.parametrize(
    ("age", "deleted"), [(NS_GRACE - 1, 0), (NS_GRACE, 1), (2 * NS_GRACE, 1), (2 * NS_GRACE + 1, 0)]
)
def test_a_record_may_be_acted_on_between_one_and_two_graces(site: Site, age: int, deleted: int) -> None:
    ref = site.blob(1000)
    site.pass_time(2 * DAY)
    prune(site)
    site.pass_time(age)
    done = prune(site)
    assert done.deleted == Amount(deleted, 0, deleted * 1000)
    assert site.has(ref) == [not deleted]


def test_a_record_goes_with_the_last_object_that_it_names(site: Site) -> None:
    site.blob()
    site.pass_time(2 * DAY)
    prune(site)
    assert len(site.listed(names.PURGES)) == 1
    site.pass_time(DAY)
    prune(site)
    assert site.listed(names.PURGES) == set()


def test_what_a_live_record_names_is_not_recorded_again(site: Site) -> None:
    site.blob()
    site.pass_time(2 * DAY)
    prune(site)
    site.pass_time(HOUR)
    found = plan(site)
    assert (len(found.candidates), len(found.waiting)) == (0, 1)
    assert prune(site).records == ()


def test_a_void_record_permits_nothing_and_its_objects_are_recorded_anew(site: Site) -> None:
    ref = site.blob()
    site.pass_time(2 * DAY)
    prune(site)
    site.pass_time(2 * DAY + 1)
    done = prune(site)
    assert (done.deleted, done.recorded.blobs, done.spent) == (Amount(), 1, 0)
    site.pass_time(DAY)
    done = prune(site)
    assert (done.deleted.blobs, done.spent) == (1, 1)
    assert site.has(ref) == [False]
    assert site.listed(names.PURGES) == set()


@pytest.mark.parametrize(("age", "spent"), [(3 * NS_GRACE, 0), (3 * NS_GRACE + 1, 1)])
def test_a_record_warns_hosts_for_a_grace_after_it_became_void(site: Site, age: int, spent: int) -> None:
    site.record(blobs=(BlobHash(bytes(32)),))
    site.pass_time(age)
    assert prune(site).spent == spent
    assert len(site.listed(names.PURGES)) == 1 - spent


def test_removal_records_last_for_three_graces_too(site: Site) -> None:
    site.record(snapshots=(SnapshotId(uuid.UUID(int=9)),))
    for _ in range(3):
        site.pass_time(DAY)
        assert prune(site).spent == 0
    site.pass_time(DAY)
    assert prune(site).spent == 1


def test_a_snapshot_that_appears_after_the_record_saves_what_it_names(site: Site) -> None:
    saved, lost = site.blob(), site.blob()
    site.pass_time(2 * DAY)
    prune(site)
    site.snapshot([saved])
    site.pass_time(DAY)
    assert prune(site).deleted.blobs == 1
    assert site.has(saved, lost) == [True, False]


def test_a_record_with_something_left_stays_until_it_is_void(site: Site) -> None:
    """Another prune may have looked before the snapshot appeared; hosts have to see the record until that is over."""
    saved, _ = site.blob(), site.blob()
    site.pass_time(2 * DAY)
    prune(site)
    site.snapshot([saved])
    site.pass_time(DAY)
    prune(site)
    assert recorded(site) >= {saved.hash}


def test_an_object_that_was_put_again_after_the_record_is_young_again(site: Site) -> None:
    ref = site.blob()
    site.pass_time(2 * DAY)
    prune(site)
    site.pass_time(DAY)
    name = names.blob_name(ref.hash)
    data = site.store.get(name)
    site.store.delete(name)
    site.store.put(name, data)
    assert prune(site).deleted == Amount()
    assert site.has(ref) == [True]


def test_nothing_is_deleted_in_the_run_that_records_it(site: Site) -> None:
    site.blob()
    site.pass_time(100 * DAY)
    assert prune(site).deleted == Amount()


@pytest.mark.parametrize(("age", "kept"), [(NS_GRACE, True), (NS_GRACE + 1, False)])
def test_a_partial_snapshot_protects_its_blobs_while_it_is_fresh(site: Site, age: int, kept: bool) -> None:
    ref = site.blob()
    site.pass_time(DAY)
    site.snapshot([ref], state=PARTIAL)
    site.pass_time(age)
    assert recorded(site) == set()
    prune(site)
    assert (ref.hash not in recorded(site)) is kept


def test_a_fresh_partial_snapshot_saves_what_was_recorded(site: Site) -> None:
    ref = site.blob()
    site.pass_time(2 * DAY)
    prune(site)
    site.pass_time(DAY)
    site.snapshot([ref], state=PARTIAL)
    assert prune(site).deleted == Amount()


def test_a_retired_partial_snapshot_goes(site: Site) -> None:
    partial = site.snapshot([site.blob()], state=PARTIAL)
    site.pass_time(HOUR)
    complete = site.snapshot()
    running = site.snapshot(state=PARTIAL)
    done = prune(site)
    assert done.removed.snapshots == (partial.snapshot,)
    there = {names.parse_manifest_name(name) for name in site.listed(names.METADATA)} - {None}
    assert there == {complete.snapshot, running.snapshot}


def test_a_run_that_mends_its_own_snapshot_keeps_its_partial_ones(site: Site) -> None:
    """It goes on under the sequence of the manifest that it mends."""
    before = site.snapshot(state=PARTIAL, sequence=7)
    site.pass_time(HOUR)
    site.snapshot(sequence=7)
    site.pass_time(HOUR)
    site.snapshot(state=PARTIAL, sequence=7)
    assert plan(site).retired == (before.snapshot,)


def test_whole_chains_of_exports_stay(site: Site) -> None:
    base = site.snapshot()
    site.pass_time(HOUR)
    middle = site.snapshot(chain=base.exports)
    site.pass_time(HOUR)
    last = site.snapshot(chain=middle.exports)
    for one in (base, middle):
        site.store.delete(names.manifest_name(one.snapshot))
        site.store.delete(names.signature_name(one.snapshot))
    site.pass_time(2 * DAY)
    assert prune(site).recorded == Amount()
    site.store.delete(names.manifest_name(last.snapshot))
    site.store.delete(names.signature_name(last.snapshot))
    assert prune(site).recorded.exports == 3
    site.pass_time(DAY)
    assert prune(site).deleted.exports == 3
    assert site.listed(names.METADATA) == set()


def test_an_export_without_manifest_and_signature_is_of_an_unfinished_run(site: Site) -> None:
    site.export(ExportId(uuid.UUID(int=77)))
    site.pass_time(DAY + 1)
    assert prune(site).recorded.exports == 1


def test_what_is_none_of_ours_is_left_alone(site: Site) -> None:
    strange = {"blobs/readme.txt", "metadata/notes", "blobs/ab/cd/ab", "purges/x.json", "other/thing"}
    for name in strange:
        site.store.put(name, b"x")
    for _ in range(3):
        site.pass_time(DAY + HOUR)
        prune(site)
    assert site.listed() >= strange


def test_a_longer_grace_may_be_asked_for_and_a_shorter_one_may_not(site: Site) -> None:
    site.blob()
    site.pass_time(2 * DAY)
    assert prune(site, grace=Duration(seconds=3 * 86_400)).recorded == Amount()
    assert plan(site, grace=Duration(seconds=1)).window.grace == NS_GRACE
    assert prune(site, grace=Duration(seconds=1)).recorded.blobs == 1


def test_the_stores_own_grace_is_the_least(memory: Site) -> None:
    memory.blob()
    memory.pass_time(2 * DAY)
    reader = memory.reader()
    patient = replace(reader, at=replace(reader.at, settings=replace(SETTINGS, grace=3 * 86_400)))
    assert plan_prune(patient).candidates == ()


def test_planning_changes_nothing(site: Site) -> None:
    site.snapshot([site.blob()], state=PARTIAL)
    site.snapshot()
    site.blob()
    site.pass_time(2 * DAY)
    prune(site)
    site.blob()
    site.pass_time(DAY + 1)
    before = site.listed()
    found = plan(site)
    assert found.doomed.blobs
    assert found.candidates
    assert site.listed() == before


def locked_reader(site: Site, *locked: str) -> Reader:
    reader = site.reader()
    return replace(reader, at=replace(reader.at, store=SpiedStore(site.store, locked=lambda name: name in locked)))


def test_a_refusal_means_not_yet_and_is_no_error(memory: Site) -> None:
    held, free = memory.blob(1000), memory.blob(10)
    memory.pass_time(2 * DAY)
    prune(memory)
    memory.pass_time(DAY)
    reader = locked_reader(memory, names.blob_name(held.hash))
    done = apply_prune(reader.at.store, plan_prune(reader), os.urandom)
    assert (done.deleted, done.refused) == (Amount(1, 0, 10), Amount(1, 0, 1000))
    assert "access denied" in str(done.answer)
    assert memory.has(held, free) == [True, False]
    assert recorded(memory) >= {held.hash}
    memory.pass_time(HOUR)
    assert prune(memory).deleted.blobs == 1


def test_a_record_that_cannot_be_read_permits_nothing_and_goes_by_age(site: Site) -> None:
    ref = site.blob()
    name = names.purge_name(uuid.UUID(int=5))
    site.store.put(name, b"no record")
    site.pass_time(DAY)
    assert prune(site).deleted == Amount()
    site.pass_time(2 * DAY + 1)
    assert prune(site).spent == 1
    assert name not in site.listed()
    assert site.has(ref) == [True]


def test_many_candidates_are_split_over_records_that_can_be_read(memory: Site) -> None:
    objects = [ObjectInfo(names.blob_name(BlobHash(bytes([number]) * 32)), 1, 0) for number in range(5)]
    assert len(put_candidates(memory.store, objects, memory.now, os.urandom, limit=2)) == 3
    assert sorted(len(one.named.blobs) for one in read_records(memory.store)) == [1, 2, 2]
    assert put_candidates(memory.store, [], memory.now, os.urandom) == ()


def test_the_leftover_of_a_removal_that_died_is_cleared_away(site: Site) -> None:
    kept, removed = site.snapshot(), site.snapshot()
    site.record(snapshots=(removed.snapshot,))
    site.store.delete(names.manifest_name(removed.snapshot))
    assert plan(site).leftovers == ()
    for _ in range(4):
        site.pass_time(DAY)
        prune(site)
    listed = site.listed()
    assert names.signature_name(removed.snapshot) not in listed
    assert names.signature_name(kept.snapshot) in listed


def test_a_removal_record_stays_as_long_as_only_it_explains_a_signature(memory: Site) -> None:
    removed = memory.snapshot()
    name = memory.record(snapshots=(removed.snapshot,))
    memory.store.delete(names.manifest_name(removed.snapshot))
    memory.pass_time(5 * DAY)
    reader = locked_reader(memory, names.signature_name(removed.snapshot))
    apply_prune(reader.at.store, plan_prune(reader), os.urandom)
    assert name in memory.listed()
    prune(memory)
    assert prune(memory).spent == 1


def test_a_record_that_tells_of_removals_too_outlives_its_objects(site: Site) -> None:
    ref = site.blob()
    name = site.record(snapshots=(SnapshotId(uuid.UUID(int=9)),), blobs=(ref.hash,))
    site.pass_time(DAY + 1)
    assert prune(site).deleted.blobs == 1
    assert name in site.listed()


def test_a_removal_record_alone_removes_nothing(site: Site) -> None:
    ref = site.blob()
    alive = site.snapshot([ref])
    site.record(snapshots=(alive.snapshot,), blobs=(ref.hash,))
    for _ in range(4):
        site.pass_time(DAY)
        prune(site)
    assert site.has(ref) == [True]
    assert {names.manifest_name(alive.snapshot), names.signature_name(alive.snapshot)} <= site.listed()


def test_a_prune_that_dies_anywhere_is_simply_run_again() -> None:
    number = 0
    while True:
        site = memory_site()
        kept, lost = site.blob(), [site.blob() for _ in range(3)]
        site.snapshot(state=PARTIAL)
        site.snapshot([kept])
        site.pass_time(2 * DAY)
        prune(site)
        late = site.blob()
        site.pass_time(DAY + HOUR)
        reader = site.reader()
        dying = killing_at(site.store, number)
        try:
            apply_prune(dying, plan_prune(replace(reader, at=replace(reader.at, store=dying))), os.urandom)
            survived = True
        except Killed:
            survived = False
        prune(site)
        assert site.has(kept, late, *lost) == [True, True, False, False, False]
        site.pass_time(DAY)
        prune(site)
        assert site.has(kept, late) == [True, False]
        if survived:
            break
        number += 1
    assert number > 10
