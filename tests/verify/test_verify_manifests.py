"""Snapshots whose manifest is broken, missing, or made by somebody else."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from damage import ALL, check, check_at_home, flip, lose, only, spoil
from machine import Machine, join_machine

from vaultpy.documents import fold, write_document
from vaultpy.errors import DamageError
from vaultpy.manifest import decode, encode
from vaultpy.model import host_id_of
from vaultpy.ops.reading import moment
from vaultpy.ops.reading.findings import Damage, Depth
from vaultpy.signature import MANIFEST_NAMESPACE, SigningKey, Trust, fingerprint, sign
from vaultpy.store import names


def stranger_takes(machine: Machine, name: str, signature: str) -> SigningKey:
    """Somebody else signs a snapshot's manifest as their own, and puts it in its place."""
    key = SigningKey.generate()
    manifest = decode(machine.memory.objects[name][0])
    text = key.public_text()
    data = encode(replace(manifest, signer=text, host=host_id_of(text)))
    spoil(machine, name, data)
    spoil(machine, signature, sign(key, data, MANIFEST_NAMESPACE))
    return key


@pytest.mark.parametrize("depth", ALL)
@pytest.mark.parametrize("at_home", [True, False])
@pytest.mark.parametrize("signature", [True, False])
def test_a_changed_bit_in_a_manifest_or_its_signature_is_damage(
    machine: Machine, depth: Depth, at_home: bool, signature: bool
) -> None:
    snapshot = machine.snapshot()
    look = check_at_home if at_home else check
    flip(machine, (names.signature_name if signature else names.manifest_name)(snapshot.id), 100)
    for request in ({"every": True}, {"snapshots": ()}, {"snapshots": (str(snapshot.id)[:30],)}):
        finding = only(look(machine, depth, **request))
        assert (finding.kind, finding.snapshots) == (Damage.MANIFEST, (snapshot.id,))
        assert finding.object == names.manifest_name(snapshot.id)


def test_the_other_snapshots_are_verified_beside_a_broken_one(machine: Machine) -> None:
    first = machine.snapshot()
    second = machine.snapshot()
    flip(machine, names.manifest_name(second.id), 50)
    verified = check(machine, Depth.OPENED)
    assert only(verified).snapshots == (second.id,)
    assert verified.snapshots == (first.id,)
    assert verified.chunks == 6


@pytest.mark.parametrize("depth", ALL)
def test_a_manifest_that_somebody_else_signed_is_refused(machine: Machine, depth: Depth) -> None:
    snapshot = machine.snapshot()
    name = names.manifest_name(snapshot.id)
    key = stranger_takes(machine, name, names.signature_name(snapshot.id))
    finding = only(check(machine, depth))
    assert (finding.kind, finding.object, finding.snapshots) == (Damage.SIGNER, name, (snapshot.id,))
    assert fingerprint(key.public_text()) in finding.detail
    assert "--signer" in finding.advice


def test_a_signature_by_another_key_than_the_manifest_names_is_damage(machine: Machine) -> None:
    snapshot = machine.snapshot()
    data = machine.memory.objects[names.manifest_name(snapshot.id)][0]
    spoil(machine, names.signature_name(snapshot.id), sign(SigningKey.generate(), data, MANIFEST_NAMESPACE))
    anybody = replace(machine.reader(), trust=Trust(frozenset(), True))
    assert only(check(machine, Depth.LISTED, reader=anybody)).kind == Damage.MANIFEST


def test_without_anybody_to_believe_the_signer_is_said_to_be_unchecked(machine: Machine) -> None:
    snapshot = machine.snapshot()
    reader = replace(machine.reader(identity=False), trust=None)
    for depth in (Depth.LISTED, Depth.HASHED):
        verified = check(machine, depth, reader=reader)
        assert (verified.unchecked, verified.exit_code) == ((snapshot.id,), 0)


@pytest.mark.parametrize("depth", ALL)
def test_the_store_key_vouches_for_its_maker_where_nobody_is_pinned(machine: Machine, depth: Depth) -> None:
    snapshot = machine.snapshot()
    reader = replace(machine.reader(), trust=None)
    verified = check(machine, depth, reader=reader)
    assert (verified.unchecked, verified.findings) == ((), ())
    stranger_takes(machine, names.manifest_name(snapshot.id), names.signature_name(snapshot.id))
    assert only(check(machine, depth, reader=reader)).kind == Damage.SIGNER


def test_a_snapshot_of_another_host_is_refused_until_its_signer_is_named(machine: Machine, tmp_path: Path) -> None:
    machine.snapshot()
    (tmp_path / "second").mkdir()
    second = join_machine(tmp_path / "second", machine.clock, machine.memory, machine.identity)
    far = second.snapshot()
    finding = only(check(machine, Depth.LISTED))
    assert (finding.kind, finding.snapshots) == (Damage.SIGNER, (far.id,))
    both = Trust(frozenset(one.vault.host.signing_key.public_text() for one in (machine, second)), False)
    assert check(machine, Depth.OPENED, reader=replace(machine.reader(), trust=both)).findings == ()


def test_a_signature_without_a_manifest_is_a_missing_manifest(machine: Machine) -> None:
    first = machine.snapshot()
    second = machine.snapshot()
    lose(machine, names.manifest_name(second.id))
    for request in ({"every": True}, {"snapshots": (str(second.id),)}):
        finding = only(check(machine, Depth.LISTED, **request))
        assert (finding.kind, finding.snapshots) == (Damage.MANIFEST, (second.id,))
    assert check(machine, Depth.LISTED, snapshots=(str(first.id),)).findings == ()


def test_a_signature_whose_snapshot_was_removed_is_no_damage(machine: Machine) -> None:
    machine.snapshot()
    second = machine.snapshot()
    lose(machine, names.manifest_name(second.id))
    machine.mark(snapshots=(second.id,))
    verified = check_at_home(machine, Depth.LISTED)
    assert (verified.findings, verified.notes) == ((), ())


def test_a_manifest_that_comes_after_its_signature_is_no_damage(machine: Machine) -> None:
    machine.snapshot()
    second = machine.snapshot()
    name = names.manifest_name(second.id)
    manifest = machine.memory.objects[name]
    lose(machine, name)

    def publish(verb: str, about: str) -> None:
        if (verb, about) == ("list", "purges/"):
            machine.memory.objects[name] = manifest

    machine.store.before = publish
    assert check(machine, Depth.LISTED).findings == ()


def test_a_damaged_record_excuses_nothing(machine: Machine) -> None:
    machine.snapshot()
    second = machine.snapshot()
    lose(machine, names.manifest_name(second.id))
    machine.mark(snapshots=(second.id,))
    (record,) = machine.objects("purges/")
    flip(machine, record, 5)
    assert only(check(machine, Depth.LISTED)).kind == Damage.MANIFEST


def test_a_record_of_a_newer_format_is_a_note(machine: Machine) -> None:
    machine.snapshot()
    second = machine.snapshot()
    lose(machine, names.manifest_name(second.id))
    machine.mark()
    (record,) = machine.objects("purges/")
    spoil(machine, record, fold(write_document({"format": 2})))
    verified = check(machine, Depth.LISTED)
    assert only(verified).kind == Damage.MANIFEST
    assert "what was removed cannot be told" in verified.notes[0]


def test_what_the_index_knows_and_the_store_lacks_is_a_note(machine: Machine) -> None:
    machine.snapshot()
    second = machine.snapshot()
    lose(machine, names.manifest_name(second.id), names.signature_name(second.id))
    verified = check_at_home(machine, Depth.LISTED)
    assert verified.findings == ()
    assert str(second.id) in verified.notes[0]
    assert check_at_home(machine, Depth.LISTED, snapshots=("latest",)).notes == ()


def test_a_manifest_removed_between_its_two_halves_is_no_damage(machine: Machine) -> None:
    first = machine.snapshot()
    second = machine.snapshot()
    gets = 0

    def remove(verb: str, name: str) -> None:
        nonlocal gets
        gets += (verb, name) == ("get", names.signature_name(second.id))
        if gets == 2:  # the catalog has read it; now it is read to be verified
            machine.memory.objects.pop(names.manifest_name(second.id), None)
            machine.memory.objects.pop(names.signature_name(second.id), None)

    machine.store.before = remove
    verified = check(machine, Depth.LISTED)
    assert (verified.findings, verified.snapshots) == ((), (first.id,))


def test_a_hardware_key_is_asked_once_for_all_snapshots_of_a_key(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaultpy.ops.reading import manifests

    opened = []
    open_key = manifests.open_key

    def counted(*given: object) -> object:
        opened.append(given)
        return open_key(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(manifests, "open_key", counted)
    for _ in range(3):
        machine.snapshot()
    check(machine, Depth.OPENED)
    assert len(opened) == 1


def test_the_scratch_folder_goes_also_when_the_store_fails(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.snapshot()
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(moment.tempfile, "tempdir", os.fspath(tmp_path / "scratch"))

    def fail(verb: str, name: str) -> None:
        if (verb, name) == ("list", "blobs/"):
            raise DamageError("anything")

    machine.store.before = fail
    with pytest.raises(DamageError):
        check(machine, Depth.OPENED)
    assert list((tmp_path / "scratch").iterdir()) == []
