"""A long run publishes, every quarter of the grace time, a signed list of the blobs it stored so far, which lists hide."""

from __future__ import annotations

import os
import random
import time

import pytest
from machine import DAY, SECOND, Died, Machine, open_with

from vaultpy.model import SnapshotState
from vaultpy.ops.reading.reader import read_manifest
from vaultpy.ops.removing.prune import plan_prune
from vaultpy.signature import Trust
from vaultpy.source import batch
from vaultpy.store import names

QUARTER = DAY // 4


@pytest.fixture
def long(machine: Machine) -> Machine:
    """A machine whose next run stores several blobs."""
    for number in range(4):
        (machine.tree / f"large{number}").write_bytes(os.urandom(1_200_000))
    return machine


def each_blob_takes(machine: Machine, nanoseconds: int) -> None:
    def after(verb: str, name: str) -> None:
        if verb == "put" and name.startswith(names.BLOBS):
            machine.clock.advance(nanoseconds)

    machine.store.after = after


def manifests(machine: Machine) -> list[str]:
    return [name for name in machine.objects(names.METADATA) if name.endswith("manifest.json.zst")]


def test_half_a_partial_manifest_of_a_run_that_died_stops_no_prune(long: Machine) -> None:
    """Its signature was there, its manifest was not, and the next run forgot both."""
    each_blob_takes(long, QUARTER)

    def die(verb: str, name: str) -> None:
        if verb == "put" and name.endswith("manifest.json.zst"):
            raise Died

    long.store.before = die
    with pytest.raises(Died):
        long.create()
    assert [name for name in long.objects(names.METADATA) if name.endswith(".sig")] != []
    assert manifests(long) == []
    long.store.before = lambda verb, name: None
    long.snapshot()
    plan_prune(long.reader())


def test_a_quick_run_publishes_no_partial_manifest(long: Machine) -> None:
    each_blob_takes(long, (QUARTER - 1) // 5)
    long.snapshot()
    assert len(manifests(long)) == 1


def test_after_a_quarter_of_the_grace_a_run_says_what_it_stored(long: Machine) -> None:
    each_blob_takes(long, QUARTER)
    made = long.snapshot()
    catalog = long.catalog()
    assert [entry.id for entry in catalog.entries] == [made.id], "lists hide partial snapshots"
    assert 1 <= len(catalog.partial) <= 5
    signer = Trust(frozenset([long.vault.host.signing_key.public_text()]), False)
    for partial in catalog.partial:
        manifest = read_manifest(long.reader(), partial.id, signer)
        assert (manifest.state, manifest.exports) == (SnapshotState.PARTIAL, ())
        assert manifest.blobs
        assert {names.blob_name(one.hash) for one in manifest.blobs} <= long.objects(names.BLOBS)
    assert catalog.broken == ()
    assert long.comes_back()


@pytest.mark.parametrize(("passed", "partials"), [(QUARTER - 1, 0), (QUARTER, 1)])
def test_the_quarter_is_counted_from_the_runs_start(machine: Machine, passed: int, partials: int) -> None:
    each_blob_takes(machine, passed)
    machine.snapshot()
    assert len(manifests(machine)) == 1 + partials


def test_a_run_that_dies_after_a_partial_manifest_leaves_no_snapshot_and_blobs_to_build_on(long: Machine) -> None:
    each_blob_takes(long, QUARTER)

    def die(verb: str, name: str) -> None:
        if name.endswith("db.zst.age"):
            raise Died

    long.store.before = die
    with pytest.raises(Died):
        long.create()
    catalog = long.catalog()
    assert catalog.entries == () and catalog.partial
    long.store.before = long.store.after = lambda verb, name: None
    long.store.forget_calls()
    made = long.snapshot()
    assert long.store.names_of("put", names.BLOBS) == []
    assert [entry.id for entry in long.catalog().entries] == [made.id]
    assert long.comes_back()


def test_a_run_that_stores_nothing_more_still_says_what_it_stored(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of walking through what is known already must not let the blobs of the beginning grow old."""
    machine.tree = machine.folder / "other"
    content = random.Random(1).randbytes(1_200_000)  # one chunk, large enough to fill a blob
    for folder in ("a", "b", "c"):
        (machine.tree / folder).mkdir(parents=True)
        (machine.tree / folder / f"file in {folder}").write_bytes(content)
    original = batch.open_regular

    def open_regular(dir_fd: int, name: bytes, expected: os.stat_result) -> int:
        if name == b"file in b":
            deadline = time.monotonic() + 10
            while not machine.objects(names.BLOBS) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1)  # it is there; now the run hears of it, at the end of this folder
        if name == b"file in c":
            machine.clock.advance(QUARTER)
        return original(dir_fd, name, expected)

    open_with(monkeypatch, open_regular)
    machine.snapshot()
    assert len(machine.objects(names.BLOBS)) == 1
    assert len(manifests(machine)) == 2


def test_a_death_around_a_partial_manifest_stops_no_later_run(long: Machine) -> None:
    for end in (".sig", "manifest.json.zst"):
        for when in ("before", "after"):
            (long.tree / f"more {end} {when}").write_bytes(os.urandom(1_200_000))
            each_blob_takes(long, QUARTER)
            waste_time = long.store.after

            def die(verb: str, name: str, end: str = end, when: str = when, waste=waste_time) -> None:  # type: ignore[no-untyped-def]
                if when == "after":
                    waste(verb, name)
                if verb == "put" and name.endswith(end):
                    raise Died

            setattr(long.store, when, die)
            with pytest.raises(Died):
                long.create()
            long.store.before = long.store.after = lambda verb, name: None
            long.clock.advance(60 * SECOND)
            long.snapshot()
            assert long.comes_back()
