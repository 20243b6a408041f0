"""Documents are read whole, and nothing else may take their place and fill memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vaultpy.errors import DamageError, StoreContradiction
from vaultpy.store import whole
from vaultpy.store.base import Store
from vaultpy.store.local import create_local
from vaultpy.store.memory import MemoryStore
from vaultpy.store.open import open_store
from vaultpy.store.whole import get_document


@pytest.fixture(params=["folder", "memory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return create_local(tmp_path / "store")
    if request.param == "memory":
        return MemoryStore(lambda: 0)
    return open_store(request.getfixturevalue("s3_url"))


@pytest.mark.parametrize(("size", "refused"), [(9, False), (10, False), (11, True)])
def test_a_whole_object_is_read_up_to_a_limit(
    store: Store, size: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "WHOLE_LIMIT", 10)
    store.put("metadata/one", bytes(size))
    if not refused:
        assert store.get("metadata/one") == get_document(store, "metadata/one") == bytes(size)
        return
    with pytest.raises(StoreContradiction, match="at most are read whole"):
        store.get("metadata/one")
    with pytest.raises(DamageError, match="at most are read whole"):
        get_document(store, "metadata/one")
    assert store.get("metadata/one", 0, size) == bytes(size), "a range is as long as it was asked for"


def test_a_hole_of_a_terabyte_in_the_place_of_a_document_is_damage(tmp_path: Path) -> None:
    store = create_local(tmp_path / "store")
    store.put("metadata/one", b"")
    os.truncate(tmp_path / "store" / "metadata" / "one", 1 << 40)
    with pytest.raises(DamageError):
        get_document(store, "metadata/one")
