"""Removing: the record first, then the manifest, then its signature; wherever it dies."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from sites import DAY, HOUR, KEY, OTHER_SOURCE, STRANGER, Site, memory_site
from spies import Killed, SpiedStore, killing_at

from vaultpy.errors import DamageError, UntrustedSigner
from vaultpy.manifest import Manifest
from vaultpy.model import BlobRef, SnapshotId, SnapshotState
from vaultpy.ops.reading.catalog import read_catalog
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.records import read_records, removed_snapshots
from vaultpy.ops.removing.prune import plan_prune
from vaultpy.ops.removing.purge import Purged, PurgePlan, apply_purge, check_signers, plan_purge
from vaultpy.ops.removing.remove import apply_removal, plan_removal
from vaultpy.ops.removing.retention import Rules
from vaultpy.store import names
from vaultpy.store.base import Store

LATEST = Rules(latest=True)


def with_store(reader: Reader, store: Store) -> Reader:
    return replace(reader, at=replace(reader.at, store=store))


def daily(site: Site, count: int, **changes: object) -> list[Manifest]:
    """Snapshots a day apart, oldest first, each with a blob of its own."""
    made = []
    for _ in range(count):
        made.append(site.snapshot([site.blob()], **changes))  # type: ignore[arg-type]
        site.pass_time(DAY)
    return made


def plan(reader: Reader, rules: Rules = LATEST) -> PurgePlan:
    return plan_purge(read_catalog(reader), rules, reader.at.store.clock())


def purge(reader: Reader, rules: Rules = LATEST) -> Purged:
    return apply_purge(reader, plan(reader, rules), os.urandom)


def ids_listed(site: Site) -> list[SnapshotId]:
    return [one.id for one in read_catalog(site.reader()).entries]


def blobs_of(*manifests: Manifest) -> list[BlobRef]:
    return [ref for one in manifests for ref in one.blobs]


def test_a_purge_removes_manifest_and_signature_and_nothing_else(site: Site) -> None:
    old, middle, new = daily(site, 3)
    before = site.listed()
    done = purge(site.reader())
    assert set(done.removed.snapshots) == {old.snapshot, middle.snapshot}
    gone = {name(one.snapshot) for one in (old, middle) for name in (names.manifest_name, names.signature_name)}
    assert before - site.listed() == gone
    assert ids_listed(site) == [new.snapshot]


def test_the_record_comes_first_and_the_signature_last(memory: Site) -> None:
    daily(memory, 3)
    spied = SpiedStore(memory.store)
    purge(with_store(memory.reader(), spied))
    removal = [change for change in spied.log if change[0] == "delete" or not spied.log.index(change)]
    assert removal[0][0] == "put"
    assert removal[0][1].startswith(names.PURGES)
    for id in removed_snapshots(read_records(memory.store)):
        assert spied.log.index(("delete", names.manifest_name(id))) < spied.log.index(
            ("delete", names.signature_name(id))
        )


def test_a_purge_that_dies_anywhere_leaves_no_doubt_and_can_be_repeated() -> None:
    number = 0
    while True:
        site = memory_site()
        made = daily(site, 3)
        site.snapshot(state=SnapshotState.PARTIAL, sequence=1)
        spied = killing_at(site.store, number)
        try:
            purge(with_store(site.reader(), spied))
            survived = True
        except Killed:
            survived = False
        listed = site.listed(names.METADATA)
        for id in [one.snapshot for one in made]:
            # A manifest is never without its signature; a lonely signature is explained.
            assert names.manifest_name(id) not in listed or names.signature_name(id) in listed
            if names.manifest_name(id) not in listed and names.signature_name(id) in listed:
                assert id in removed_snapshots(read_records(site.store))
        plan_prune(site.reader())
        purge(site.reader())
        assert ids_listed(site) == [made[-1].snapshot]
        assert plan_prune(site.reader()).manifests == 1
        if survived:
            break
        number += 1
    assert number > 10


def test_a_purge_ends_by_recording_what_nothing_needs_any_more(site: Site) -> None:
    shared = site.blob()
    old = site.snapshot([shared, site.blob(), site.blob()])
    site.pass_time(2 * DAY)
    site.snapshot([shared])
    done = purge(site.reader())
    assert done.recorded is not None
    assert (done.recorded.blobs, done.recorded.exports) == (2, 1)
    (recorded,) = [one.named for one in read_records(site.store) if one.named.blobs]
    assert set(recorded.blobs) == {ref.hash for ref in old.blobs} - {shared.hash}
    assert [ref.id for ref in old.exports] == list(recorded.exports)
    assert site.has(*old.blobs) == [True] * 3


def test_a_stranger_stops_the_recording_and_not_the_purge(site: Site) -> None:
    old, new = daily(site, 2)
    theirs = site.snapshot([site.blob()], key=STRANGER)
    done = purge(site.reader())
    assert done.removed.snapshots == (old.snapshot,)
    assert done.recorded is None
    assert isinstance(done.stopped, UntrustedSigner)
    assert ids_listed(site) == [new.snapshot, theirs.snapshot]


def test_damage_stops_the_recording_and_is_told(site: Site) -> None:
    old, new = daily(site, 2)
    site.store.delete(names.signature_name(new.snapshot))
    done = purge(site.reader())
    assert old.snapshot in ids_listed(site)
    assert isinstance(done.stopped, DamageError)


def test_snapshots_of_strangers_are_neither_counted_nor_removed(site: Site) -> None:
    ours = daily(site, 2)
    theirs = daily(site, 5, key=STRANGER)
    purge(site.reader(), Rules(last=2))
    assert ids_listed(site) == [one.snapshot for one in (*ours, *theirs)]


def test_a_start_in_the_stores_future_pushes_nothing_out(site: Site) -> None:
    good = daily(site, 2)
    odd = [site.snapshot(started=site.now + 3 * DAY) for _ in range(3)]
    purge(site.reader(), Rules(last=2))
    assert ids_listed(site) == [one.snapshot for one in (*good, *odd)]


def test_a_start_before_that_of_an_older_snapshot_pushes_nothing_out(site: Site) -> None:
    good = daily(site, 3)
    odd = site.snapshot(started=site.now - 30 * DAY)
    purge(site.reader(), Rules(last=2))
    assert ids_listed(site) == [good[1].snapshot, good[2].snapshot, odd.snapshot]


def test_where_nobody_is_believed_nothing_is_purged(site: Site) -> None:
    daily(site, 2)
    reader = replace(site.reader(), trust=None)
    with pytest.raises(UntrustedSigner, match="SHA256:"):
        check_signers(reader, read_catalog(reader))
    check_signers(site.reader(), read_catalog(site.reader()))


def test_partial_ones_go_when_a_later_complete_one_retires_them(site: Site) -> None:
    partial = site.snapshot([site.blob()], state=SnapshotState.PARTIAL)
    daily(site, 1)
    running = site.snapshot([site.blob()], state=SnapshotState.PARTIAL)
    done = purge(site.reader())
    assert done.removed.snapshots == (partial.snapshot,)
    assert running.snapshot in read_catalog(site.reader()).metadata.manifests


def mended(site: Site) -> list[Manifest]:
    """A snapshot that was mended twice, and a newer one."""
    first = site.snapshot(sequence=7)
    second = site.snapshot(sequence=7, repairs=first.snapshot)
    third = site.snapshot(sequence=7, repairs=second.snapshot)
    site.pass_time(HOUR)
    return [first, second, third, site.snapshot()]


def test_with_a_mended_snapshot_go_the_ones_that_it_hides(site: Site) -> None:
    *_, new = mended(site)
    assert len(ids_listed(site)) == 2
    done = purge(site.reader())
    assert len(done.removed.snapshots) == 3
    assert site.listed(names.METADATA) >= {names.manifest_name(new.snapshot)}
    assert ids_listed(site) == [new.snapshot]


def test_no_crash_brings_a_hidden_snapshot_back_to_light() -> None:
    number = 0
    while True:
        site = memory_site()
        *_, third, new = mended(site)
        try:
            purge(with_store(site.reader(), killing_at(site.store, number)))
            break
        except Killed:
            assert set(ids_listed(site)) <= {third.snapshot, new.snapshot}
        number += 1


def test_repairing_a_snapshot_of_another_source_takes_nothing_of_it(site: Site) -> None:
    victim = site.snapshot(source=OTHER_SOURCE, sequence=7)
    stranger = site.snapshot(key=STRANGER, sequence=7)
    site.snapshot(sequence=7, repairs=victim.snapshot)
    site.snapshot(sequence=8, repairs=stranger.snapshot)
    new = site.snapshot()
    purge(site.reader(KEY, STRANGER))
    assert set(ids_listed(site)) == {victim.snapshot, stranger.snapshot, new.snapshot}


def test_what_the_store_does_not_let_go_is_not_called_removed(memory: Site) -> None:
    old, middle, _ = daily(memory, 3)
    spied = SpiedStore(memory.store, locked=lambda name: name == names.manifest_name(old.snapshot))
    done = purge(with_store(memory.reader(), spied))
    assert done.removed.refused == (old.snapshot,)
    assert done.removed.snapshots == (middle.snapshot,)
    assert "denied" in str(done.removed.answer)
    assert names.signature_name(old.snapshot) in memory.listed()


def test_remove_takes_what_was_named(site: Site) -> None:
    old, middle, new = daily(site, 3)
    reader = site.reader()
    apply_removal(reader, plan_removal(read_catalog(reader), [str(middle.snapshot)], force=False), os.urandom)
    assert ids_listed(site) == [old.snapshot, new.snapshot]
    assert middle.snapshot in removed_snapshots(read_records(site.store))
