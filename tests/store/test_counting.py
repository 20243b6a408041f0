"""Counting: everything is passed on, and counted as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vaultpy.errors import ObjectNotFound
from vaultpy.store.counting import Count, CountingStore
from vaultpy.store.memory import MemoryStore


def test_everything_is_passed_on(tmp_path: Path) -> None:
    inner = MemoryStore(lambda: 42)
    store = CountingStore(inner)
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
