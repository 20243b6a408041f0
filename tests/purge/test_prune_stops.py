"""What a prune cannot understand, it names, and stops before it changed anything."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from sites import DAY, KEY, SETTINGS, STRANGER, Site
from spies import SpiedStore

from vaultpy.errors import (
    DamageError,
    StoreFormatError,
    StoreUnavailable,
    UntrustedSigner,
    UsageError,
    VaultpyError,
)
from vaultpy.index.db import Index, create_index
from vaultpy.index.snapshots import SnapshotRow, State, ensure_source, forget_snapshots, insert_snapshot
from vaultpy.manifest import Manifest, encode
from vaultpy.model import SnapshotId, SnapshotState, StoreId
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.removing.needs import Pardon
from vaultpy.ops.removing.prune import PruneOptions, apply_prune, plan_prune
from vaultpy.signature import MANIFEST_NAMESPACE, SigningKey, Trust, fingerprint, sign
from vaultpy.store import names
from vaultpy.store.base import ObjectInfo

SECOND_LISTING = 5
"""Calls that a prune of one snapshot makes before it lists metadata/ again: clock, records, metadata, manifest, signature."""
NO_PARDON = Pardon()
ABSENT = SnapshotId(uuid.UUID(int=999))


def stop_of(reader: Reader, pardon: Pardon = NO_PARDON) -> VaultpyError:
    """The error that a prune stops with; nothing was changed."""
    before = {info.name for info in reader.at.store.list("")}
    with pytest.raises(VaultpyError) as caught:
        plan_prune(reader, PruneOptions(pardon=pardon))
    assert {info.name for info in reader.at.store.list("")} == before
    return caught.value


def replace_object(site: Site, name: str, data: bytes) -> None:
    site.store.delete(name)
    site.store.put(name, data)


@pytest.fixture
def victim(site: Site) -> Manifest:
    """A whole snapshot, with a blob that nothing needs lying beside it, due for deletion."""
    made = site.snapshot([site.blob()])
    site.record(blobs=(site.blob().hash, made.blobs[0].hash))
    site.pass_time(DAY + 1)
    return made


def test_a_whole_store_stops_nothing(site: Site, victim: Manifest) -> None:
    assert apply_prune(site.store, plan_prune(site.reader()), os.urandom).deleted.blobs == 1


def test_a_manifest_changed_in_one_byte(site: Site, victim: Manifest) -> None:
    name = names.manifest_name(victim.snapshot)
    data = bytearray(site.store.get(name))
    data[len(data) // 2] ^= 1
    replace_object(site, name, bytes(data))
    error = stop_of(site.reader())
    assert isinstance(error, DamageError)
    assert str(victim.snapshot) in error.message
    assert "--retire" in str(error.hint)


def test_an_empty_manifest_is_damaged_and_not_one_that_names_nothing(site: Site, victim: Manifest) -> None:
    replace_object(site, names.manifest_name(victim.snapshot), b"")
    assert isinstance(stop_of(site.reader()), DamageError)


def test_a_manifest_signed_by_a_stranger_in_the_hosts_name(site: Site, victim: Manifest) -> None:
    forged = encode(replace(victim, blobs=()))
    replace_object(site, names.manifest_name(victim.snapshot), forged)
    replace_object(site, names.signature_name(victim.snapshot), sign(STRANGER, forged, MANIFEST_NAMESPACE))
    assert isinstance(stop_of(site.reader(KEY, STRANGER)), DamageError)


def test_a_manifest_signed_for_another_purpose(site: Site, victim: Manifest) -> None:
    data = site.store.get(names.manifest_name(victim.snapshot))
    replace_object(site, names.signature_name(victim.snapshot), sign(KEY, data, "file"))
    assert isinstance(stop_of(site.reader()), DamageError)


def test_a_true_manifest_in_anothers_place(site: Site, victim: Manifest) -> None:
    empty = site.snapshot()
    for name in (names.manifest_name, names.signature_name):
        replace_object(site, name(victim.snapshot), site.store.get(name(empty.snapshot)))
    assert isinstance(stop_of(site.reader()), DamageError)


def test_a_true_manifest_of_another_store(site: Site, victim: Manifest) -> None:
    site.publish(site.manifest(store=StoreId(uuid.UUID(int=8))))
    assert isinstance(stop_of(site.reader()), DamageError)


def test_a_manifest_without_a_signature(site: Site, victim: Manifest) -> None:
    site.store.delete(names.signature_name(victim.snapshot))
    assert "no signature" in stop_of(site.reader()).message


def test_a_signature_without_a_manifest_that_nothing_explains(site: Site, victim: Manifest) -> None:
    site.store.delete(names.manifest_name(victim.snapshot))
    error = stop_of(site.reader())
    assert isinstance(error, DamageError)
    assert f"snapshot {victim.snapshot}: it has a signature and no manifest" in error.message


def test_a_signature_without_a_manifest_that_a_record_explains_stops_nothing(site: Site, victim: Manifest) -> None:
    site.record(snapshots=(victim.snapshot,))
    site.store.delete(names.manifest_name(victim.snapshot))
    assert plan_prune(site.reader()).doomed.blobs == 2


def test_a_manifest_of_a_newer_format(site: Site, victim: Manifest) -> None:
    raw = zstandard.ZstdDecompressor().decompress(encode(victim)).replace(b'"format":1', b'"format":2', 1)
    newer = zstandard.ZstdCompressor(write_checksum=True).compress(raw)
    replace_object(site, names.manifest_name(victim.snapshot), newer)
    replace_object(site, names.signature_name(victim.snapshot), sign(KEY, newer, MANIFEST_NAMESPACE))
    error = stop_of(site.reader())
    assert isinstance(error, StoreFormatError)
    assert error.hint == "use a newer vaultpy"


@pytest.mark.parametrize("state", SnapshotState)
def test_a_stranger_and_how_to_go_on(site: Site, victim: Manifest, state: SnapshotState) -> None:
    theirs = site.snapshot([site.blob()], key=STRANGER, state=state)
    error = stop_of(site.reader())
    assert isinstance(error, UntrustedSigner)
    assert fingerprint(STRANGER.public_text()) in error.message
    assert str(theirs.snapshot) in error.message
    for way in ("signers in the config", "--signer", "--trust", "--retire"):
        assert way in str(error.hint)
    plan_prune(site.reader(KEY, STRANGER))
    plan_prune(site.reader(trust=Trust(frozenset(), True)))


def test_a_keeper_without_signers_believes_nobody(site: Site, victim: Manifest) -> None:
    assert isinstance(stop_of(replace(site.reader(), trust=None)), UntrustedSigner)


def test_everything_in_the_way_is_named(site: Site) -> None:
    broken = [site.snapshot() for _ in range(7)]
    for one in broken:
        site.store.delete(names.signature_name(one.snapshot))
    assert "and 2 more" in stop_of(site.reader()).message


def test_trusting_one_manifest_keeps_what_it_names(site: Site, victim: Manifest) -> None:
    theirs = site.snapshot([site.blob()], key=STRANGER)
    site.snapshot([site.blob()], key=SigningKey.generate())
    pardon = Pardon(trusted=frozenset({theirs.snapshot}))
    assert "1 in number" in stop_of(site.reader(), pardon).message


def test_trusting_a_damaged_manifest_does_not_help(site: Site, victim: Manifest) -> None:
    site.store.delete(names.signature_name(victim.snapshot))
    assert isinstance(stop_of(site.reader(), Pardon(trusted=frozenset({victim.snapshot}))), DamageError)


def spoil_manifest(site: Site, id: SnapshotId) -> None:
    replace_object(site, names.manifest_name(id), b"spoiled")


def lose_manifest(site: Site, id: SnapshotId) -> None:
    site.store.delete(names.manifest_name(id))


def lose_signature(site: Site, id: SnapshotId) -> None:
    site.store.delete(names.signature_name(id))


@pytest.mark.parametrize("harm", [spoil_manifest, lose_manifest, lose_signature])
def test_a_manifest_that_is_given_up_goes_and_stops_no_later_prune(
    site: Site, victim: Manifest, harm: Callable[[Site, SnapshotId], None]
) -> None:
    harm(site, victim.snapshot)
    pardon = Pardon(given_up=frozenset({victim.snapshot}))
    done = apply_prune(site.store, plan_prune(site.reader(), PruneOptions(pardon=pardon)), os.urandom)
    assert done.removed.snapshots == (victim.snapshot,)
    assert not {names.manifest_name(victim.snapshot), names.signature_name(victim.snapshot)} & site.listed()
    plan_prune(site.reader())
    plan_prune(site.reader(), PruneOptions(pardon=pardon))


def test_a_strangers_manifest_can_be_given_up(site: Site) -> None:
    theirs = site.snapshot([site.blob()], key=STRANGER)
    pardon = Pardon(given_up=frozenset({theirs.snapshot}))
    apply_prune(site.store, plan_prune(site.reader(), PruneOptions(pardon=pardon)), os.urandom)
    assert plan_prune(site.reader()).manifests == 0


def test_giving_up_a_whole_snapshot_is_refused(site: Site, victim: Manifest) -> None:
    error = stop_of(site.reader(), Pardon(given_up=frozenset({victim.snapshot})))
    assert isinstance(error, UsageError)
    assert "is whole" in error.message


@pytest.mark.parametrize(
    "pardon", [Pardon(given_up=frozenset({ABSENT})), Pardon(trusted=frozenset({ABSENT}))], ids=["retire", "trust"]
)
def test_a_pardon_for_nothing_is_a_typo(site: Site, victim: Manifest, pardon: Pardon) -> None:
    assert isinstance(stop_of(site.reader(), pardon), UsageError)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with create_index(tmp_path / "index.sqlite") as made:
        yield made


def remember(index: Index, manifest: Manifest, state: State) -> None:
    source_id, _ = ensure_source(index, "home", manifest.host, 1, os.urandom)
    row = SnapshotRow(
        manifest.snapshot,
        manifest.source,
        "home",
        manifest.host,
        manifest.sequence,
        None,
        None,
        state,
        manifest.key,
        manifest.started,
        manifest.completed,
        "0",
        (),
        False,
        None,
        0,
    )
    with index.transaction():
        insert_snapshot(index, row, source_id)


@pytest.mark.parametrize("state", [State.COMPLETE, State.UNCLEAN])
def test_a_host_misses_a_manifest_that_the_store_hides(
    site: Site, victim: Manifest, index: Index, state: State
) -> None:
    remember(index, victim, state)
    site.store.delete(names.manifest_name(victim.snapshot))
    site.store.delete(names.signature_name(victim.snapshot))
    plan_prune(site.reader())
    error = stop_of(site.reader(index=index))
    assert isinstance(error, DamageError)
    assert f"snapshot {victim.snapshot}: this host's index knows it" in error.message
    site.record(snapshots=(victim.snapshot,))
    plan_prune(site.reader(index=index))


def test_the_record_of_a_removal_stays_while_a_host_has_not_run_since(
    site: Site, victim: Manifest, index: Index
) -> None:
    """A host that cannot make snapshots for some days still prunes: nothing else tells it that this one was removed."""
    remember(index, victim, State.COMPLETE)
    site.store.delete(names.manifest_name(victim.snapshot))
    site.store.delete(names.signature_name(victim.snapshot))
    record = site.record(snapshots=(victim.snapshot,))
    for _ in range(5):
        site.pass_time(DAY)
        apply_prune(site.store, plan_prune(site.reader(index=index)), os.urandom)
    assert record in site.listed(names.PURGES)
    with index.transaction():
        forget_snapshots(index, [victim.snapshot])
    apply_prune(site.store, plan_prune(site.reader(index=index)), os.urandom)
    assert record not in site.listed(names.PURGES)


def test_a_host_that_lost_a_manifest_for_good_can_give_it_up(site: Site, victim: Manifest, index: Index) -> None:
    remember(index, victim, State.COMPLETE)
    site.store.delete(names.manifest_name(victim.snapshot))
    site.store.delete(names.signature_name(victim.snapshot))
    reader = site.reader(index=index)
    pardon = Pardon(given_up=frozenset({victim.snapshot}))
    apply_prune(site.store, plan_prune(reader, PruneOptions(pardon=pardon)), os.urandom)
    plan_prune(reader)


@pytest.mark.parametrize("state", [State.PUBLISHING, State.PARTIAL])
def test_a_host_does_not_miss_what_was_never_published(
    site: Site, victim: Manifest, index: Index, state: State
) -> None:
    remember(index, site.manifest(), state)
    plan_prune(site.reader(index=index))


def with_actions(site: Site, number: int, *actions: Callable[[], None]) -> Reader:
    reader = site.reader()
    return replace(reader, at=replace(reader.at, store=SpiedStore(site.store, {number: actions})))


@pytest.mark.parametrize("number", range(12))
def test_a_host_that_is_just_publishing_stops_no_prune(memory: Site, number: int) -> None:
    """The signature is there from the beginning, the manifest comes at some moment of the prune."""
    memory.snapshot([memory.blob()])
    coming = memory.manifest([memory.blob()])
    data = encode(coming)
    memory.store.put(names.signature_name(coming.snapshot), sign(KEY, data, MANIFEST_NAMESPACE))

    def finish() -> None:
        memory.store.put(names.manifest_name(coming.snapshot), data)

    reader = with_actions(memory, number, finish)
    if number <= SECOND_LISTING:
        assert plan_prune(reader).manifests == 2
    else:
        with pytest.raises(DamageError, match="no manifest"):
            plan_prune(reader)


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_purge_beside_it_stops_no_prune(memory: Site, number: int, steps: int) -> None:
    """A removal goes through, or stands still after one or two of its steps, at some moment of the prune."""
    memory.snapshot()
    going = memory.snapshot([memory.blob()])

    def remove() -> None:
        memory.record(snapshots=(going.snapshot,))
        for name in (names.manifest_name, names.signature_name)[: steps - 1]:
            memory.store.delete(name(going.snapshot))

    plan_prune(with_actions(memory, number, remove))


@pytest.mark.parametrize("number", [3, 4])
def test_a_manifest_that_vanishes_while_it_is_read_is_missing(memory: Site, number: int) -> None:
    going = memory.snapshot([memory.blob()])

    def vanish() -> None:
        lose_manifest(memory, going.snapshot)
        lose_signature(memory, going.snapshot)

    with pytest.raises(DamageError, match="it vanished while it was read"):
        plan_prune(with_actions(memory, number, vanish))


class Shortened:
    """A store whose listings break off in the middle, aloud."""

    def __init__(self, site: Site, after: int) -> None:
        self._inner, self._after, self.url = site.store, after, site.store.url

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for number, info in enumerate(self._inner.list(prefix)):
            if number == self._after:
                raise StoreUnavailable("list: the connection broke")
            yield info


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_listing_that_breaks_off_is_not_taken_for_the_whole(site: Site, victim: Manifest, after: int) -> None:
    reader = site.reader()
    broken = replace(reader, at=replace(reader.at, store=Shortened(site, after)))
    with pytest.raises(StoreUnavailable):
        plan_prune(broken)


def test_the_settings_of_the_store_hold(site: Site) -> None:
    assert plan_prune(site.reader()).window.grace == SETTINGS.grace * 1_000_000_000
