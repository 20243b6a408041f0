"""The wrapped forms of the store key that every manifest carries: what lies in keys/ may come damaged, or be a flood."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from uuid import uuid4

import pytest
from machine import Machine, recipient_of

from vaultpy.age import X25519Identity
from vaultpy.errors import ConfigError, IndexDatabaseError, StoreDenied
from vaultpy.keys import wrap
from vaultpy.manifest import Manifest, decode
from vaultpy.model import KeyId, SnapshotId
from vaultpy.ops import wrapped
from vaultpy.store import names


def manifest_of(machine: Machine, snapshot: SnapshotId) -> Manifest:
    return decode(machine.memory.objects[names.manifest_name(snapshot)][0])


def forms(machine: Machine) -> tuple[bytes, ...]:
    return tuple(machine.memory.objects[name][0] for name in sorted(machine.objects(names.KEYS)))


def spoil_gets(machine: Machine, count: int) -> None:
    """The next `count` forms come with a bit flipped."""
    left = [count]

    def change(name: str, start: int, data: bytes) -> bytes:
        if not name.startswith(names.KEYS) or not left[0]:
            return data
        left[0] -= 1
        return data[:-1] + bytes([data[-1] ^ 1])

    machine.store.changed_on_get = change


def test_a_form_that_comes_damaged_gets_into_no_manifest(machine: Machine) -> None:
    spoil_gets(machine, 1)
    assert manifest_of(machine, machine.snapshot().id).wrapped_keys == forms(machine)


def test_a_form_that_comes_damaged_to_a_host_without_state_gets_into_no_manifest(machine: Machine) -> None:
    shutil.rmtree(machine.vault.paths.folder / "keys")
    spoil_gets(machine, 1)
    assert manifest_of(machine, machine.snapshot().id).wrapped_keys == ()
    assert manifest_of(machine, machine.snapshot().id).wrapped_keys == forms(machine)


def test_a_host_that_lost_its_state_finds_the_forms_again(machine: Machine) -> None:
    shutil.rmtree(machine.vault.paths.folder / "keys")
    assert manifest_of(machine, machine.snapshot().id).wrapped_keys == forms(machine)


def test_a_recipient_added_elsewhere_is_in_the_next_manifest(machine: Machine) -> None:
    machine.snapshot()
    other = X25519Identity.generate(os.urandom).to_text()
    machine.memory.put(names.key_name(machine.vault.key.id, 1), wrap(b"what it holds", recipient_of(other)))
    assert manifest_of(machine, machine.snapshot().id).wrapped_keys == forms(machine)
    assert len(forms(machine)) == 2


def test_damaged_copies_in_a_manifest_lock_nobody_out(machine: Machine) -> None:
    for path in (machine.vault.paths.folder / "keys").rglob("*.age"):
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    machine.snapshot()
    assert machine.comes_back()


def test_a_flood_of_forms_is_no_flood_in_the_manifest(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapped, "FORMS", 3)
    for number in range(1, 10):
        machine.memory.put(names.key_name(machine.vault.key.id, number), b"junk %d" % number)
    assert len(manifest_of(machine, machine.snapshot().id).wrapped_keys) == 3
    assert machine.comes_back()


def refused(machine: Machine, match: str) -> None:
    """A run fails like that, and leaves no snapshot."""
    before = machine.objects(names.METADATA)
    made = machine.create()
    assert isinstance(made.error, ConfigError)
    assert match in made.error.message
    assert made.exit_code == ConfigError.exit_code
    assert machine.objects(names.METADATA) == before


def test_a_key_that_the_store_has_no_form_of_makes_no_snapshot(machine: Machine) -> None:
    """As after a slip in the configuration: nobody could open what is encrypted under that id."""
    key = machine.vault.key
    machine.configure(key=replace(key, id=KeyId(uuid4())))
    refused(machine, "has no form in the store")
    machine.configure(key=key)
    machine.snapshot()
    assert machine.comes_back()


def test_a_host_that_may_not_see_keys_and_has_no_form_goes_on(machine: Machine) -> None:
    """Its own copy and all manifests are gone, and nothing says that the key is not the true one."""
    shutil.rmtree(machine.vault.paths.folder / "keys")

    def deny(verb: str, name: str) -> None:
        if name.startswith(names.KEYS):
            raise StoreDenied("access denied")

    machine.store.before = deny
    assert manifest_of(machine, machine.snapshot().id).wrapped_keys == ()


def test_a_recipient_that_is_not_the_keys_makes_no_snapshot(machine: Machine) -> None:
    """Nothing in the store says which public half belongs to a key: the host remembers it."""
    machine.snapshot()
    key = machine.vault.key
    other = recipient_of(X25519Identity.generate(os.urandom).to_text())
    machine.configure(key=replace(key, recipient=other))
    refused(machine, f"its recipient is {key.recipient}, not {other}")
    machine.configure(key=key)
    machine.snapshot()
    assert machine.comes_back()


def test_a_state_folder_from_before_learns_the_recipient_from_its_next_run(machine: Machine) -> None:
    [kept] = (machine.vault.paths.folder / "keys").rglob(wrapped.RECIPIENT)
    kept.unlink()
    machine.snapshot()
    assert kept.read_text() == machine.vault.key.recipient


def test_forms_that_cannot_be_read_back_are_an_error_of_ours(machine: Machine) -> None:
    [kept] = (machine.vault.paths.folder / "keys").rglob(wrapped.RECIPIENT)
    kept.unlink()
    kept.mkdir()
    with pytest.raises(IndexDatabaseError, match="cannot be read: is a directory"):
        machine.snapshot()
