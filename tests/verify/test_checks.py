"""What a host remembers of verifications: what was read when, what is damaged; and what lists make of it."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest
from damage import check, check_at_home, flip, lose, spoil
from machine import DAY, Machine

from vaultpy.errors import UsageError
from vaultpy.events import ignore
from vaultpy.index.checks import Check, all_checks
from vaultpy.index.db import open_index
from vaultpy.ops.checking.verify import VerifyRequest, verify
from vaultpy.ops.reading.catalog import Entry, read_catalog
from vaultpy.ops.reading.checked import Share, key_of, name_of
from vaultpy.ops.reading.findings import Depth, Verified
from vaultpy.store import names


def many_blobs(machine: Machine, count: int) -> list[str]:
    """So many snapshots, each with a blob of its own."""
    for number in range(count):
        (machine.tree / f"new{number}").write_bytes(os.urandom(30_000))
        machine.snapshot()
    return sorted(machine.objects(names.BLOBS))


def at_home(machine: Machine, share: Share, depth: Depth = Depth.HASHED) -> Verified:
    """Verify everything on the machine itself, by its clock."""
    with open_index(machine.vault.paths.index, read_only=True) as index:
        reader = replace(machine.reader(), config=machine.vault.config, host=machine.vault.host, index=index)
        request = VerifyRequest(every=True, depth=depth, share=share)
        return verify(reader, request, ignore, clock=machine.clock)


def fetched(machine: Machine, share: Share) -> set[str]:
    """The objects that a verification of that share reads."""
    machine.store.forget_calls()
    at_home(machine, share)
    return {name for name in machine.store.names_of("get") if key_of(name) is not None}


def checks(machine: Machine) -> dict[str, Check]:
    with machine.index() as index:
        return {name_of(one.object): one for one in all_checks(index)}


def entries(machine: Machine) -> tuple[Entry, ...]:
    """What a list shows on the machine itself."""
    with open_index(machine.vault.paths.index, read_only=True) as index:
        reader = replace(machine.reader(), config=machine.vault.config, host=machine.vault.host, index=index)
        return read_catalog(reader).entries


def test_every_object_that_was_read_is_remembered_with_the_time(machine: Machine) -> None:
    many_blobs(machine, 3)
    at_home(machine, Share())
    found = checks(machine)
    objects = {name for name in machine.objects() if key_of(name) is not None}
    assert found.keys() == objects
    assert {(one.read_at, one.damage) for one in found.values()} == {(machine.clock.now, None)}


def test_nothing_is_read_again_that_was_right_within_the_time_given(machine: Machine) -> None:
    many_blobs(machine, 2)
    at_home(machine, Share())
    machine.clock.advance(10 * DAY)
    old = {name for name in machine.objects() if key_of(name) is not None}
    many_blobs(machine, 1)
    new = {name for name in machine.objects() if key_of(name) is not None} - old
    assert fetched(machine, Share(since=30 * DAY)) == new != set()
    machine.clock.advance(21 * DAY)
    assert fetched(machine, Share(since=30 * DAY)) == old


def test_what_was_damaged_is_read_again_whenever_it_was_read(machine: Machine) -> None:
    blobs = many_blobs(machine, 2)
    at_home(machine, Share())
    whole = machine.memory.objects[blobs[0]][0]
    flip(machine, blobs[0], 100)
    assert at_home(machine, Share()).exit_code == 4
    assert fetched(machine, Share(since=DAY)) == {blobs[0]}
    spoil(machine, blobs[0], whole)
    assert fetched(machine, Share(since=DAY)) == {blobs[0]}
    assert fetched(machine, Share(since=DAY)) == set()
    assert checks(machine)[blobs[0]].damage is None


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 30])
def test_a_share_a_day_reads_every_object_in_so_many_days(machine: Machine, parts: int) -> None:
    """And none twice meanwhile, but for the few that fill the last days."""
    many_blobs(machine, 5)
    objects = {name for name in machine.objects() if key_of(name) is not None}
    read = Counter[str]()
    for _ in range(parts):
        today = fetched(machine, Share(parts=parts))
        assert len(today) == -(-len(objects) // parts)
        read.update(today)
        machine.clock.advance(DAY)
    assert read.keys() == objects
    assert max(read.values()) - min(read.values()) <= (1 if parts <= len(objects) else parts // len(objects) + 1)


def test_a_day_that_was_missed_is_made_up_for(machine: Machine) -> None:
    """The share is the one read the longest ago, not the one whose day it is."""
    many_blobs(machine, 4)
    read = set[str]()
    for _ in range(4):
        read |= fetched(machine, Share(parts=4))
        machine.clock.advance(3 * DAY)
    assert read == {name for name in machine.objects() if key_of(name) is not None}


def test_without_an_index_the_share_goes_by_the_day(machine: Machine) -> None:
    """A keeper remembers nothing; daily runs read everything all the same."""
    many_blobs(machine, 4)
    objects = {name for name in machine.objects() if key_of(name) is not None}
    read: list[str] = []
    for _ in range(5):
        machine.store.forget_calls()
        request = VerifyRequest(every=True, depth=Depth.HASHED, share=Share(parts=5))
        verify(machine.reader(identity=False), request, ignore, clock=machine.clock)
        read += {name for name in machine.store.names_of("get") if key_of(name) is not None}
        machine.clock.advance(DAY)
    assert sorted(read) == sorted(objects), "each once"


def test_since_needs_an_index_and_says_so(machine: Machine) -> None:
    many_blobs(machine, 1)
    request = VerifyRequest(every=True, depth=Depth.HASHED, share=Share(since=DAY))
    with pytest.raises(UsageError, match="no index here"):
        verify(machine.reader(), request, ignore, clock=machine.clock)


@pytest.mark.parametrize("depth", [Depth.LISTED, Depth.HASHED, Depth.OPENED])
def test_a_snapshot_that_misses_a_blob_is_marked_in_lists_until_it_is_back(machine: Machine, depth: Depth) -> None:
    many_blobs(machine, 3)
    newest = machine.newest()
    only_there = sorted(set(machine.blobs_of(newest.id)) - set(machine.blobs_of(entries(machine)[1].id)))
    data = machine.memory.objects[only_there[0]][0]
    lose(machine, only_there[0])
    check_at_home(machine, depth)
    assert [one.flag is not None for one in entries(machine)] == [False, False, True]
    assert "damaged" in str(entries(machine)[2].flag)
    spoil_new(machine, only_there[0], data)
    assert [one.flag for one in entries(machine)] == [None] * 3, "a look is enough to see that it is back"
    check_at_home(machine, depth)
    assert [one.flag for one in entries(machine)] == [None] * 3
    assert all(one.damage is None for one in checks(machine).values())


def test_a_snapshot_with_a_bad_blob_is_marked_until_that_is_found_right(machine: Machine) -> None:
    blobs = many_blobs(machine, 2)
    whole = machine.memory.objects[blobs[0]][0]
    flip(machine, blobs[0], -1)
    check_at_home(machine, Depth.HASHED)
    hurt = [blobs[0] in machine.blobs_of(one.id) for one in entries(machine)]
    assert [one.flag is not None for one in entries(machine)] == hurt
    spoil(machine, blobs[0], whole)
    check_at_home(machine, Depth.LISTED)
    assert any(one.flag for one in entries(machine)), "its size says nothing about its bytes"
    check_at_home(machine, Depth.HASHED)
    assert not any(one.flag for one in entries(machine))


def test_a_snapshot_whose_export_is_gone_is_marked_without_any_verification(machine: Machine) -> None:
    """A list reads the listing that shows it anyway."""
    many_blobs(machine, 2)
    first = entries(machine)[0]
    lose(machine, f"metadata/{first.id}/db.zst.age")
    assert entries(machine)[0].flag is not None
    elsewhere = machine.catalog().entries
    assert [one.flag is not None for one in elsewhere] == [one.flag is not None for one in entries(machine)]


def test_a_hash_does_not_clear_what_only_opening_could_find(machine: Machine) -> None:
    """A blob whose bytes are those of its name, and whose content is not what the snapshot says, stays damaged."""
    blobs = many_blobs(machine, 1)
    with machine.index() as index, index.transaction():
        index.run("INSERT INTO checks VALUES (?, NULL, 'content', 1)", (key_of(blobs[0]),))
    check_at_home(machine, Depth.HASHED)
    assert checks(machine)[blobs[0]].damage == "content"
    check_at_home(machine, Depth.OPENED)
    assert checks(machine)[blobs[0]].damage is None


def test_what_is_not_there_any_more_is_forgotten(machine: Machine) -> None:
    many_blobs(machine, 2)
    at_home(machine, Share())
    with machine.index() as index, index.transaction():
        index.run("INSERT INTO checks VALUES (?, 1, NULL, NULL)", (bytes(32),))
    at_home(machine, Share())
    assert names.blob_name(bytes(32)) not in checks(machine)  # type: ignore[arg-type]


def test_a_verification_elsewhere_needs_no_index_and_finds_the_same(machine: Machine) -> None:
    blobs = many_blobs(machine, 2)
    lose(machine, blobs[0])
    here, there = check_at_home(machine, Depth.LISTED), check(machine, Depth.LISTED)
    assert [one.object for one in here.findings] == [one.object for one in there.findings] == [blobs[0]]


def test_an_index_that_cannot_be_written_is_a_note_and_no_failure(machine: Machine) -> None:
    many_blobs(machine, 1)
    with open_index(machine.vault.paths.index, read_only=True) as index:
        reader = replace(machine.reader(), config=machine.vault.config, host=machine.vault.host, index=index)
        kept = machine.vault.paths.index.with_name("kept")
        machine.vault.paths.index.rename(kept)
        verified = verify(reader, VerifyRequest(every=True, depth=Depth.HASHED), ignore)
        kept.rename(machine.vault.paths.index)
    assert verified.exit_code == 0
    assert any("could not be kept" in note for note in verified.notes)


def spoil_new(machine: Machine, name: str, data: bytes) -> None:
    machine.memory.put(name, data)
