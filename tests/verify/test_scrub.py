"""An object that passes: fetched once, read meanwhile, hashed at the end."""

from __future__ import annotations

import hashlib
import random

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.errors import StoreUnavailable
from vaultpy.index.inventory import NamedObject
from vaultpy.ops.checking import passing as passing_objects
from vaultpy.ops.checking.inspect import Job
from vaultpy.ops.checking.passing import PassingObject
from vaultpy.ops.checking.scrub import scrub
from vaultpy.store.counting import CountingStore
from vaultpy.store.memory import MemoryStore

PIECE, TAIL = 100, 30
SIZES = [0, 1, PIECE - 1, PIECE, PIECE + 1, PIECE + TAIL, 2 * PIECE, 5 * PIECE + 7]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing_objects, "PIECE", PIECE)
    monkeypatch.setattr(passing_objects, "TAIL", TAIL)


def put(size: int, *, sha256: bool = False) -> tuple[MemoryStore, bytes, NamedObject]:
    store = MemoryStore(lambda: 0)
    data = random.Random(size).randbytes(size)
    store.put("object", data)
    digest = hashlib.sha256(data).digest() if sha256 else b""
    return store, data, NamedObject("object", size, blake3.blake3(data).digest(), digest)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sha256", [True, False])
def test_whole_objects_have_their_hashes_and_others_have_not(size: int, sha256: bool) -> None:
    store, data, named = put(size, sha256=sha256)
    assert PassingObject(store, named).finish()
    assert not PassingObject(store, named._replace(blake3=bytes(32))).finish()
    if sha256:
        assert not PassingObject(store, named._replace(sha256=bytes(32))).finish()
    for at in {0, size // 2, size - 1} if size else ():
        changed = bytearray(data)
        changed[at] ^= 4
        store.objects["object"] = bytes(changed), 0
        assert not PassingObject(store, named).finish()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_read_while_it_passes_is_what_is_there(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from(SIZES))
    store, content, named = put(size)
    passing = PassingObject(store, named)
    for _ in range(data.draw(st.integers(0, 6))):
        start = data.draw(st.integers(0, size))
        length = data.draw(st.integers(0, size - start))
        assert passing.read(start, length) == content[start : start + length]
    assert passing.finish()


def test_reading_forward_costs_no_fetch_but_one_for_the_end() -> None:
    store, _, named = put(10 * PIECE)
    counting = CountingStore(store)
    passing = PassingObject(counting, named)
    passing.read(0, 10)
    passing.read(10 * PIECE - TAIL, TAIL)
    for start in range(0, 9 * PIECE, 70):
        passing.read(start, 90)
    assert passing.finish()
    assert (counting.count("get").requests, counting.count("get").bytes) == (11, 10 * PIECE + TAIL)


def test_what_has_passed_is_forgotten() -> None:
    store, _, named = put(5 * PIECE + 7)
    passing = PassingObject(store, named)
    for start in range(0, 5 * PIECE - TAIL, 60):
        passing.read(start, 60)
        assert len(passing._near) <= 2 * PIECE + 60


def test_objects_come_out_in_their_order_whatever_is_wrong_with_them() -> None:
    store, _, named = put(50)
    jobs = []
    for number in range(20):
        data = bytes([number]) * 10
        store.put(f"{number:02}", data if number % 3 else data[:-1])
        jobs.append(Job(NamedObject(f"{number:02}", 10, blake3.blake3(data).digest() if number % 2 else bytes(32))))
    jobs.append(Job(named))
    seen = list(scrub(store, [], jobs))
    assert [one.object for one in seen] == [job.object for job in jobs]
    assert [one.lost is not None for one in seen[:20]] == [number % 3 == 0 for number in range(20)]
    assert [one.changed for one in seen[:20]] == [number % 3 != 0 and number % 2 == 0 for number in range(20)]


def test_a_store_that_fails_ends_it() -> None:
    class Failing(MemoryStore):
        def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
            raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        list(scrub(Failing(lambda: 0), [], [Job(NamedObject("a", 10, bytes(32)))] * 10))
