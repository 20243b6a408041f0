"""Counting and limiting: they pass everything on, and keep their own promise."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from s3kit import FakeTime

from vaultpy.errors import ObjectNotFound
from vaultpy.store.base import Store
from vaultpy.store.counting import Count, CountingStore
from vaultpy.store.limit import LimitedStore, TokenBucket
from vaultpy.store.memory import MemoryStore


def limited(inner: Store) -> LimitedStore:
    return LimitedStore(inner, up=TokenBucket(10**9), down=TokenBucket(10**9))


@pytest.mark.parametrize("wrap", [CountingStore, LimitedStore, limited])
def test_a_wrapper_passes_everything_on(wrap: Callable[[Store], Store], tmp_path: Path) -> None:
    inner = MemoryStore(lambda: 42)
    store = wrap(inner)
    (tmp_path / "body").write_bytes(b"from a file")
    store.put("a", [b"12", b"345"])
    store.put("b", tmp_path / "body")
    assert inner.objects == {"a": (b"12345", 42), "b": (b"from a file", 42)}
    assert store.get("a") == b"12345"
    assert store.get("a", 1, 2) == b"23"
    assert store.get("a", 3) == b"45"
    assert store.stat("a") == inner.stat("a")
    assert store.stat("c") is None
    assert [entry.name for entry in store.list("")] == ["a", "b"]
    assert [entry.name for entry in store.list("b")] == ["b"]
    store.delete("a")
    assert list(inner.objects) == ["b"]
    assert (store.clock(), store.url) == (42, inner.url)
    with pytest.raises(ObjectNotFound):
        store.get("a")


def test_counts_are_by_verb_in_requests_and_bytes(tmp_path: Path) -> None:
    store = CountingStore(MemoryStore(lambda: 0))
    (tmp_path / "body").write_bytes(b"1234567")
    store.put("a", [b"12", b"345"])
    store.put("b", tmp_path / "body")
    store.get("a", 1, 2)
    with pytest.raises(ObjectNotFound):
        store.get("c")
    list(store.list(""))
    assert store.count("put") == Count(2, 12)
    assert store.count("get") == Count(2, 2)
    assert store.count("list") == Count(1, 0)
    assert store.count("delete") == Count(0, 0)


def test_counts_are_right_under_threads() -> None:
    store = CountingStore(MemoryStore(lambda: 0))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"n{number}", b"xy"), range(2000)))
    assert store.count("put") == Count(2000, 4000)


def bucket(time: FakeTime, rate: int = 100) -> TokenBucket:
    return TokenBucket(rate, clock=time.clock, sleep=time.sleep)


def test_the_average_holds_for_bodies_larger_than_a_second_s_worth(fake_time: FakeTime) -> None:
    store = LimitedStore(MemoryStore(lambda: 0), up=bucket(fake_time))
    began = fake_time.now
    for number in range(11):
        store.put(f"n{number}", b"x" * 1000)
    # The first thousand bytes were free but for the burst of a second; ten debts of 10 s have been waited for.
    assert fake_time.now - began == pytest.approx(99, abs=0.1)


def test_up_and_down_are_limited_apart(fake_time: FakeTime) -> None:
    store = LimitedStore(MemoryStore(lambda: 0), down=bucket(fake_time))
    for number in range(5):
        store.put(f"n{number}", b"x" * 1000)
    assert fake_time.slept == []
    for number in range(3):
        store.get(f"n{number}")
    assert sum(fake_time.slept) == pytest.approx(19, abs=0.1)


def test_a_rest_saves_up_one_second_s_worth_and_no_more(fake_time: FakeTime) -> None:
    tokens = bucket(fake_time)
    fake_time.now += 1000
    tokens.owe(100)
    tokens.wait()
    assert fake_time.slept == []
    tokens.owe(100)
    tokens.wait()
    assert sum(fake_time.slept) == pytest.approx(1, abs=0.02)


def test_what_failed_is_not_owed(fake_time: FakeTime) -> None:
    store = LimitedStore(MemoryStore(lambda: 0), down=bucket(fake_time))
    for _ in range(50):
        with pytest.raises(ObjectNotFound):
            store.get("missing")
    assert fake_time.slept == []


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        TokenBucket(0)
