"""Looking at a store while hosts publish and keepers remove: what is on its way, or just went, is no damage."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from damage import check, check_at_home, lose
from machine import DAY, Died, Machine

from vaultpy.age import X25519Identity
from vaultpy.errors import ObjectNotFound
from vaultpy.events import ignore
from vaultpy.index.db import Index, open_index
from vaultpy.index.snapshots import State
from vaultpy.keys import load_identities
from vaultpy.model import SnapshotId
from vaultpy.ops.keys import add_recipient
from vaultpy.ops.reading import look as looking
from vaultpy.ops.reading.catalog import Catalog, read_catalog
from vaultpy.ops.reading.findings import Depth
from vaultpy.ops.reading.look import broken_snapshots, lost_snapshots, show_snapshot
from vaultpy.ops.reading.reader import Reader, open_wrapped, read_manifest
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.ops.removing.unpublish import remove_snapshots
from vaultpy.store import names
from vaultpy.store.names import METADATA, PURGES


def after_listing(machine: Machine, prefix: str, act: Callable[[], None]) -> None:
    """Once, right after a prefix was listed: before anything else is asked of the store."""
    asked = list[str]()

    def before(verb: str, name: str) -> None:
        if asked:
            machine.store.before = lambda verb, name: None
            act()
        elif (verb, name) == ("list", prefix):
            asked.append(name)

    machine.store.before = before


def remove(machine: Machine, *snapshots: SnapshotId) -> None:
    remove_snapshots(machine.memory, [snapshots], machine.clock(), os.urandom)


def take_away(machine: Machine, name: str) -> Callable[[], None]:
    """An object that is not there yet; the function that is returned brings it."""
    found = machine.memory.objects.pop(name)
    return lambda: machine.memory.objects.update({name: found})


def look(machine: Machine, reader: Reader | None = None) -> tuple[Catalog, list[SnapshotId]]:
    """What a list shows, and which of it as broken."""
    reader = reader or machine.reader()
    catalog = read_catalog(reader)
    return catalog, [one.id for one in broken_snapshots(reader, catalog)]


def test_a_manifest_that_comes_after_its_signature_was_listed_is_not_broken(machine: Machine) -> None:
    machine.snapshot()
    second = machine.snapshot()
    after_listing(machine, METADATA, take_away(machine, names.manifest_name(second.id)))
    assert look(machine)[1] == []


def test_a_signature_whose_manifest_is_missing_is_broken(machine: Machine) -> None:
    first = machine.snapshot()
    lose(machine, names.manifest_name(first.id))
    assert look(machine)[1] == [first.id]


def test_a_manifest_that_is_damaged_is_broken_also_where_a_record_names_it(machine: Machine) -> None:
    first = machine.snapshot()
    name = names.manifest_name(first.id)
    machine.memory.objects[name] = b"anything", machine.memory.objects[name][1]
    machine.mark(snapshots=(first.id,))
    assert look(machine)[1] == [first.id]


def test_a_snapshot_that_is_being_removed_is_not_broken(machine: Machine) -> None:
    machine.snapshot()
    second = machine.snapshot()
    machine.mark(snapshots=(second.id,))
    lose(machine, names.manifest_name(second.id))
    assert look(machine)[1] == []


@pytest.mark.parametrize("calls", range(4))
def test_a_snapshot_that_is_removed_while_it_is_looked_at_is_not_broken(machine: Machine, calls: int) -> None:
    machine.snapshot()
    second = machine.snapshot()
    asked = list[str]()

    def before(verb: str, name: str) -> None:
        if str(second.id) in name:
            asked.append(verb)
            if len(asked) == calls:
                remove(machine, second.id)

    if calls == 0:
        after_listing(machine, METADATA, lambda: remove(machine, second.id))
    else:
        machine.store.before = before
    assert look(machine)[1] == []
    machine.store.before = lambda verb, name: None
    assert check(machine, Depth.LISTED).findings == ()


def test_a_manifest_without_a_signature_is_damage_and_one_that_goes_meanwhile_is_gone(machine: Machine) -> None:
    first = machine.snapshot()
    lose(machine, names.signature_name(first.id))
    assert look(machine)[1] == [first.id]
    lose(machine, names.manifest_name(first.id))
    with pytest.raises(ObjectNotFound):
        read_manifest(machine.reader(), first.id, None)


def test_a_partial_snapshot_that_is_just_being_put_is_not_missed(machine: Machine) -> None:
    """The index knows of it first; a run that dies there leaves it so until the next."""

    def die(verb: str, name: str) -> None:
        if verb == "put" and name.endswith(".sig"):
            raise Died

    machine.snapshot()
    (machine.tree / "large").write_bytes(os.urandom(4_800_000))
    machine.store.after = lambda verb, name: machine.clock.advance(DAY if name.startswith(names.BLOBS) else 0)
    machine.store.before = die
    with pytest.raises(Died):
        machine.create()
    machine.store.before = lambda verb, name: None
    assert machine.rows("SELECT state FROM snapshots ORDER BY seq") == [(State.COMPLETE,), (State.PARTIAL,)]
    with open_index(machine.vault.paths.index, read_only=True) as index:
        reader = replace(machine.reader(), index=index, host=machine.vault.host)
        catalog, broken = look(machine, reader)
        assert (lost_snapshots(reader, catalog), broken) == ([], [])
    assert check_at_home(machine, Depth.LISTED).notes == ()


@pytest.mark.parametrize("half", [names.manifest_name, names.signature_name])
def test_a_snapshot_that_is_removed_while_the_index_is_rebuilt_is_not_unreadable(
    machine: Machine, half: Callable[[SnapshotId], str]
) -> None:
    first = machine.snapshot()
    second = machine.snapshot()

    def before(verb: str, name: str) -> None:
        if (verb, name) == ("get", half(first.id)):
            machine.store.before = lambda verb, name: None
            remove(machine, first.id)

    machine.store.before = before
    rebuilt = rebuild_index(machine.vault, [], ignore)
    assert rebuilt.unreadable == ()
    assert machine.rows("SELECT id FROM snapshots") == [(second.id.bytes,)]


def test_a_manifest_that_lost_its_signature_is_unreadable(machine: Machine) -> None:
    first = machine.snapshot()
    lose(machine, names.signature_name(first.id))
    ((id, why),) = rebuild_index(machine.vault, [], ignore).unreadable
    assert (id, "no signature" in why) == (first.id, True)


def test_records_are_listed_only_where_something_needs_an_explanation(machine: Machine) -> None:
    machine.snapshot()
    machine.store.forget_calls()
    look(machine)
    assert PURGES not in machine.store.names_of("list")


def test_problems_of_a_snapshot_that_the_index_forgets_meanwhile_are_still_shown(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = os.fsencode(machine.folder / "missing")
    made = machine.create(replace(machine.source, paths=(*machine.source.paths, missing)))
    assert made.snapshot is not None
    entry = machine.newest()
    find = looking.find_snapshot

    def forgotten(index: Index, snapshot: SnapshotId) -> object:
        monkeypatch.undo()
        row = find(index, snapshot)
        remove(machine, snapshot)
        machine.snapshot()
        return row

    with open_index(machine.vault.paths.index, read_only=True) as index:
        reader = replace(machine.reader(), index=index, host=machine.vault.host)
        monkeypatch.setattr(looking, "find_snapshot", forgotten)
        shown = show_snapshot(reader, entry)
    assert shown.problems is not None
    assert [one.path for one in shown.problems] == [missing]


def test_two_recipients_that_are_added_at_once_are_both_there(machine: Machine) -> None:
    identities = [X25519Identity.generate(os.urandom) for _ in range(2)]
    mine, others = (one.recipient().to_text() for one in identities)
    reader, key = machine.reader(), machine.vault.key.id
    began = list[str]()

    def before(verb: str, name: str) -> None:
        if verb == "put" and not began:
            began.append(name)
            add_recipient(reader, others, key)

    machine.store.before = before
    add_recipient(reader, mine, key)
    for one in identities:
        opens = load_identities(one.to_text().encode(), None)
        assert open_wrapped(replace(reader, identities=opens), key).identity.to_text() != ""
