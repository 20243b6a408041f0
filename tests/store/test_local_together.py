"""One folder, several processes: what one does between two calls of another makes neither of them fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vaultpy.store.base import ObjectInfo
from vaultpy.store.local import LocalStore, create_local

FOLDER = "metadata/018f0000-0000-7000-8000-000000000000"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return create_local(tmp_path / "store")


@pytest.fixture
def other(store: LocalStore) -> LocalStore:
    """Another process's."""
    return LocalStore(store.root)


def around(
    monkeypatch: pytest.MonkeyPatch, call: str, *, before: Callable[[], Any] = int, after: Callable[[], Any] = int
) -> None:
    """Have somebody act before and after the first system call of that name; an `after` of a call that fails, too."""
    real = getattr(os, call)

    def beside(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(os, call, real)
        before()
        try:
            return real(*given, **named)
        finally:
            after()

    monkeypatch.setattr(os, call, beside)


def test_two_who_remove_a_snapshot_at_once_both_succeed(
    store: LocalStore, other: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("manifest", "signature"):
        store.put(f"{FOLDER}/{name}", b"1")
    around(monkeypatch, "unlink", after=lambda: other.delete(f"{FOLDER}/signature"))
    store.delete(f"{FOLDER}/manifest")
    assert list(store.list("")) == []
    assert not (store.root / FOLDER).exists()


def test_an_object_that_goes_while_it_is_put_again_is_put(
    store: LocalStore, other: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run puts again what a dead one had put, as somebody removes that."""
    store.put(f"{FOLDER}/manifest", b"1")
    around(monkeypatch, "link", after=lambda: other.delete(f"{FOLDER}/manifest"))
    store.put(f"{FOLDER}/manifest", b"1")
    assert store.get(f"{FOLDER}/manifest") == b"1"


def test_a_listing_shows_what_is_there_all_the_time_whatever_comes_and_goes(
    store: LocalStore, other: LocalStore
) -> None:
    for number in range(6):
        store.put(f"metadata/{number}/manifest", b"1")
    seen: list[ObjectInfo] = []
    for info in store.list("metadata/"):
        if not seen:
            for gone in (1, 5):
                other.delete(f"metadata/{gone}/manifest")
            other.put("metadata/3/signature", b"1")
            other.put("metadata/9/manifest", b"1")
        seen.append(info)
    stayed = {f"metadata/{number}/manifest" for number in (0, 2, 3, 4)}
    assert stayed <= {info.name for info in seen} <= stayed | {"metadata/3/signature"}
