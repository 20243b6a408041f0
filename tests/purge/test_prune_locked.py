"""A manifest that somebody deleted or overwrote can be brought back while a lock keeps it: until then nothing of it goes."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from s3server import Server, serve_minio
from sites import DAY, HOUR, KEY, SECOND, SETTINGS, STRANGER, Site
from spies import SpiedStore
from versioned import Bucket, VersionedStore, versioned_bucket, versioned_memory

from vaultpy.errors import DamageError, ObjectNotFound, StoreDenied, StoreFormatError, UntrustedSigner, UsageError
from vaultpy.manifest import Manifest, encode
from vaultpy.model import BlobRef, SnapshotId, SnapshotState
from vaultpy.ops.removing.needs import Pardon
from vaultpy.ops.removing.prune import PruneOptions, PrunePlan, apply_prune, plan_prune
from vaultpy.ops.removing.unpublish import remove_snapshots
from vaultpy.signature import MANIFEST_NAMESPACE, SigningKey, sign
from vaultpy.store import names
from vaultpy.store.location import S3Location, parse_location
from vaultpy.store.versions import ObjectVersion, versions_of

LOCK = 10 * DAY


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if shutil.which("minio") is None:
        pytest.skip("minio is not on PATH: locks are tried on the model alone")
    with serve_minio(tmp_path_factory.mktemp("minio")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


def bucket_site(server: Server, *, days: int | None) -> Site:
    """In a bucket with versions, and, with `days`, Object Lock and that default retention."""
    bucket = f"test-{secrets.token_hex(6)}"
    location = parse_location(server.url(bucket, "home"))
    assert isinstance(location, S3Location)
    client = server.client()
    try:
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=days is not None)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        if days is not None:
            client.put_object_lock_configuration(
                Bucket=bucket,
                ObjectLockConfiguration={
                    "ObjectLockEnabled": "Enabled",
                    "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": days}},
                },
            )
    finally:
        client.close()
    return versioned_bucket(location)


@pytest.fixture(params=["model", "minio"])
def locking(request: pytest.FixtureRequest) -> Site:
    """A store that locks what is put for 10 days."""
    if request.param == "model":
        return versioned_memory(LOCK)
    return bucket_site(request.getfixturevalue("minio"), days=LOCK // DAY)


@pytest.fixture(params=["model", "minio"])
def keeping(request: pytest.FixtureRequest) -> Site:
    """A store that keeps versions, and locks none."""
    return versioned_memory(0) if request.param == "model" else bucket_site(request.getfixturevalue("minio"), days=None)


@pytest.fixture
def model() -> Site:
    return versioned_memory(LOCK)


def hide(site: Site, id: SnapshotId) -> None:
    """What a thief with the keeper's rights does: no word in purges/."""
    for name in (names.manifest_name, names.signature_name):
        site.store.delete(name(id))


def overwrite(site: Site, id: SnapshotId, data: bytes, key: SigningKey = KEY) -> None:
    hide(site, id)
    site.store.put(names.signature_name(id), sign(key, data, MANIFEST_NAMESPACE))
    site.store.put(names.manifest_name(id), data)


def candidates(plan: PrunePlan) -> set[str]:
    return {one.name for one in plan.candidates}


def objects_of(manifest: Manifest) -> set[str]:
    return {names.blob_name(ref.hash) for ref in manifest.blobs} | {
        names.export_name(ref.id) for ref in manifest.exports
    }


def hidden_manifests(site: Site) -> list[ObjectVersion]:
    listed = versions_of(site.store).list_versions(names.METADATA)
    return [one for one in listed if names.parse_manifest_name(one.name) and not one.latest]


def test_what_a_removed_snapshot_needs_stays_until_its_lock_ends(locking: Site) -> None:
    going, staying = (locking.snapshot([locking.blob()]) for _ in range(2))
    remove_snapshots(locking.store, [[going.snapshot]], locking.now, os.urandom)
    locking.pass_time(LOCK - HOUR)
    plan = plan_prune(locking.reader())
    assert (candidates(plan), plan.manifests, plan.locked) == (set(), 1, 1)
    locking.pass_time(2 * HOUR)
    plan = plan_prune(locking.reader())
    assert (candidates(plan), plan.manifests, plan.locked) == (objects_of(going), 1, 0)
    assert locking.has(*staying.blobs, *going.blobs) == [True, True]


def test_versions_that_nothing_locks_need_nothing(keeping: Site) -> None:
    going = keeping.snapshot([keeping.blob()])
    remove_snapshots(keeping.store, [[going.snapshot]], keeping.now, os.urandom)
    keeping.pass_time(DAY + HOUR)
    plan = plan_prune(keeping.reader())
    assert (candidates(plan), plan.locked) == (objects_of(going), 0)


def test_a_legal_hold_is_a_lock_without_an_end(locking: Site) -> None:
    held, other = (locking.snapshot([locking.blob()]) for _ in range(2))
    for manifest in (held, other):
        hide(locking, manifest.snapshot)
    [version] = [one for one in hidden_manifests(locking) if str(held.snapshot) in one.name]
    assert isinstance(locking.store, VersionedStore | Bucket)
    locking.store.hold(version)
    locking.pass_time(100 * LOCK)
    assert candidates(plan_prune(locking.reader())) == objects_of(other)


def test_a_thief_who_hides_a_snapshot_gets_nothing_pruned(locking: Site) -> None:
    """Neither recorded, nor deleted where a record names it already."""
    stolen = locking.snapshot([locking.blob()])
    hide(locking, stolen.snapshot)
    locking.record(blobs=tuple(ref.hash for ref in stolen.blobs), exports=tuple(ref.id for ref in stolen.exports))
    locking.pass_time(DAY + HOUR)
    plan = plan_prune(locking.reader())
    apply_prune(locking.store, plan, os.urandom)
    assert plan.doomed.blobs == plan.doomed.exports == 0
    assert objects_of(stolen) <= locking.listed()


def test_a_thief_who_overwrites_a_manifest_with_a_smaller_one_gets_nothing_pruned(locking: Site) -> None:
    robbed = locking.snapshot([locking.blob()])
    overwrite(locking, robbed.snapshot, encode(replace(robbed, blobs=(), exports=robbed.exports)))
    locking.pass_time(DAY + HOUR)
    plan = plan_prune(locking.reader())
    assert (candidates(plan), plan.manifests, plan.locked) == (set(), 1, 1)
    locking.pass_time(LOCK)
    assert candidates(plan_prune(locking.reader())) == {names.blob_name(ref.hash) for ref in robbed.blobs}


def test_a_snapshot_that_is_brought_back_is_read_once(locking: Site) -> None:
    made = locking.snapshot([locking.blob()])
    data = locking.store.get(names.manifest_name(made.snapshot))
    overwrite(locking, made.snapshot, data)
    locking.pass_time(DAY + HOUR)
    plan = plan_prune(locking.reader())
    assert (candidates(plan), plan.manifests, plan.locked) == (set(), 1, 1)


def test_a_hidden_partial_manifest_counts_only_while_it_is_fresh(model: Site) -> None:
    """As one that is not hidden."""
    blob = model.blob()
    model.pass_time(2 * DAY)
    partial = model.snapshot([blob], state=SnapshotState.PARTIAL)
    hide(model, partial.snapshot)
    model.pass_time(DAY)
    assert candidates(plan_prune(model.reader())) == set()
    model.pass_time(SECOND)
    assert candidates(plan_prune(model.reader())) == {names.blob_name(blob.hash)}


def test_a_hidden_complete_snapshot_retires_no_partial_one(model: Site) -> None:
    partial = model.snapshot([model.blob()], state=SnapshotState.PARTIAL)
    hide(model, model.snapshot().snapshot)
    model.pass_time(HOUR)
    assert plan_prune(model.reader()).retired == ()
    model.snapshot()
    assert plan_prune(model.reader()).retired == (partial.snapshot,)


def test_locks_are_not_asked_for_where_nothing_is_hidden(model: Site) -> None:
    model.snapshot([model.blob()])
    model.record()
    assert isinstance(model.store, VersionedStore)
    plan_prune(model.reader())
    assert model.store.asked == []


@pytest.fixture
def spoiled(model: Site) -> SnapshotId:
    """A hidden, locked manifest that cannot be read, of a snapshot of which nothing else is left."""
    made = model.manifest([model.blob()])
    model.store.put(names.signature_name(made.snapshot), b"rubbish")
    model.store.put(names.manifest_name(made.snapshot), b"rubbish")
    hide(model, made.snapshot)
    model.pass_time(DAY + HOUR)
    return made.snapshot


def test_a_locked_manifest_that_cannot_be_read_stops_a_prune_until_its_lock_ends(
    model: Site, spoiled: SnapshotId
) -> None:
    before = model.listed()
    with pytest.raises(DamageError, match=f"snapshot {spoiled}: version v[0-9]+ of its manifest is locked") as caught:
        plan_prune(model.reader())
    assert "--retire" in str(caught.value.hint)
    assert model.listed() == before
    model.pass_time(LOCK)
    assert len(plan_prune(model.reader()).candidates) == 2


def test_a_locked_manifest_that_cannot_be_read_can_be_given_up_again_and_again(
    model: Site, spoiled: SnapshotId
) -> None:
    options = PruneOptions(pardon=Pardon(given_up=frozenset({spoiled})))
    for _ in range(2):
        plan = plan_prune(model.reader(), options)
        assert plan.given_up == (spoiled,)
        apply_prune(model.store, plan, os.urandom)
    # Records are not signed: none of them makes a locked manifest superfluous.
    with pytest.raises(DamageError):
        plan_prune(model.reader())


def test_a_locked_manifest_without_any_signature_stops_a_prune(model: Site) -> None:
    made = model.snapshot([model.blob()])
    model.store.delete(names.manifest_name(made.snapshot))
    assert isinstance(model.store, VersionedStore)
    model.store.destroy(names.signature_name(made.snapshot))
    with pytest.raises(DamageError, match=r"is locked: .* has no signature"):
        plan_prune(model.reader())


def test_rubbish_over_a_whole_manifest_stops_prunes_only_while_it_is_what_the_name_shows(locking: Site) -> None:
    """Else it would until its own lock ends, and nobody could do anything about it."""
    made = locking.snapshot([locking.blob()])
    data = locking.store.get(names.manifest_name(made.snapshot))
    overwrite(locking, made.snapshot, b"rubbish")
    with pytest.raises(DamageError):
        plan_prune(locking.reader())
    overwrite(locking, made.snapshot, data)
    locking.pass_time(DAY + HOUR)
    plan = plan_prune(locking.reader())
    assert (candidates(plan), plan.locked) == (set(), 1)
    hide(locking, made.snapshot)
    plan = plan_prune(locking.reader())
    assert (candidates(plan), plan.locked) == (set(), 2)


def test_a_strangers_locked_manifest_stops_a_prune_until_it_is_trusted(model: Site) -> None:
    theirs = model.snapshot([model.blob()], key=STRANGER)
    hide(model, theirs.snapshot)
    model.pass_time(DAY + HOUR)
    with pytest.raises(UntrustedSigner):
        plan_prune(model.reader())
    assert candidates(plan_prune(model.reader(KEY, STRANGER))) == set()
    trusting = PruneOptions(pardon=Pardon(trusted=frozenset({theirs.snapshot})))
    assert candidates(plan_prune(model.reader(), trusting)) == set()


def test_a_known_host_cannot_cover_what_another_one_signed(model: Site) -> None:
    theirs = model.snapshot([model.blob()], key=STRANGER)
    cover = replace(model.manifest(), snapshot=theirs.snapshot)
    overwrite(model, theirs.snapshot, encode(cover))
    with pytest.raises(UntrustedSigner):
        plan_prune(model.reader())


def test_a_locked_manifest_of_a_newer_format_stops_a_prune(model: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made = model.manifest([model.blob()])
    with monkeypatch.context() as patch:
        patch.setattr("vaultpy.manifest.FORMAT", 2)
        model.publish(made)
    hide(model, made.snapshot)
    with pytest.raises(StoreFormatError):
        plan_prune(model.reader())


def test_a_pardon_for_nothing_hidden_is_a_typo(model: Site) -> None:
    made = model.snapshot()
    hide(model, made.snapshot)
    for pardon in (Pardon(given_up=frozenset({made.snapshot})), Pardon(trusted=frozenset({model.manifest().snapshot}))):
        with pytest.raises(UsageError):
            plan_prune(model.reader(), PruneOptions(pardon=pardon))


class Closed(VersionedStore):
    """Does not let its versions be listed."""

    def list_versions(self, prefix: str) -> Iterator[ObjectVersion]:
        raise StoreDenied("list versions: access denied")


def test_a_prune_that_may_not_see_versions_stops() -> None:
    site = Site(Closed(lambda: SETTINGS.created, 0), [SETTINGS.created])
    site.blob()
    with pytest.raises(StoreDenied):
        plan_prune(site.reader())


@pytest.mark.parametrize("number", range(14))
@pytest.mark.parametrize("recorded", [False, True], ids=["theft", "removal"])
def test_a_snapshot_that_is_removed_in_the_middle_of_a_prune_needs_its_blobs(
    model: Site, number: int, recorded: bool
) -> None:
    """Whenever it goes, it is seen before as what its name shows, or after as what a lock keeps."""
    staying, going = (model.snapshot([model.blob()]) for _ in range(2))
    model.pass_time(DAY + HOUR)

    def remove() -> None:
        if recorded:
            model.record(snapshots=(going.snapshot,))
        hide(model, going.snapshot)

    reader = model.reader()
    spied = replace(reader, at=replace(reader.at, store=SpiedStore(model.store, {number: [remove]})))
    try:
        plan = plan_prune(spied)
    except DamageError as error:
        assert "vanished" in error.message and not recorded
    else:
        assert not candidates(plan) & (objects_of(going) | objects_of(staying))


def test_a_blob_that_only_a_locked_snapshot_needs_is_not_waiting_either(model: Site) -> None:
    blob: BlobRef = model.blob()
    hide(model, model.snapshot([blob]).snapshot)
    model.record(blobs=(blob.hash,))
    model.pass_time(DAY + HOUR)
    assert plan_prune(model.reader()).waiting == ()


def test_a_signature_that_goes_while_it_is_looked_for_leaves_the_others(
    model: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lifecycle rule of a bucket takes old versions at any time."""
    made = model.snapshot([model.blob()])
    overwrite(model, made.snapshot, model.store.get(names.manifest_name(made.snapshot)))
    hide(model, made.snapshot)
    model.pass_time(DAY + HOUR)
    versions = versions_of(model.store)
    get = versions.get_version
    going = next(one for one in versions.list_versions(names.METADATA) if names.parse_signature_name(one.name))

    def lose(version: ObjectVersion) -> bytes:
        if version == going:
            raise ObjectNotFound(f"version {version.id} is not in the store")
        return get(version)

    monkeypatch.setattr(model.store, "get_version", lose)
    plan = plan_prune(model.reader())
    assert (candidates(plan), plan.locked) == (set(), 2)
