"""Listings that never end: page after page that shows nothing, each with a token of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from vaultpy.errors import StoreContradiction
from vaultpy.store.s3.listing import EMPTY_PAGES, list_pages
from vaultpy.store.s3.versions import Marker, list_version_pages

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def empty_pages(before: int, entry: dict[str, Any]) -> Any:
    """So many empty pages, then one with an entry, which is the last."""
    numbers = count()

    def fetch(token: object) -> dict[str, Any]:
        number = next(numbers)
        if number == before:
            return {"IsTruncated": False, "Contents": [entry], "Versions": [entry]}
        on = {"NextContinuationToken": str(number), "NextKeyMarker": str(number), "NextVersionIdMarker": "v"}
        return {"IsTruncated": True, **on}

    return fetch


def test_empty_pages_are_passed_over_up_to_a_limit() -> None:
    entry = {"Key": "p/a", "Size": 1, "LastModified": NOW}
    assert len(list(list_pages(empty_pages(EMPTY_PAGES, entry), "p/", ""))) == 1
    with pytest.raises(StoreContradiction, match="shows nothing"):
        list(list_pages(empty_pages(EMPTY_PAGES + 1, entry), "p/", ""))


def test_empty_pages_of_versions_are_passed_over_up_to_a_limit() -> None:
    entry = {"Key": "p/a", "Size": 1, "LastModified": NOW, "VersionId": "v", "IsLatest": True}
    assert len(list(list_version_pages(empty_pages(EMPTY_PAGES, entry), "p/", ""))) == 1
    with pytest.raises(StoreContradiction, match="shows nothing"):
        list(list_version_pages(empty_pages(EMPTY_PAGES + 1, entry), "p/", ""))


def test_pages_of_delete_markers_alone_are_no_empty_ones() -> None:
    left = count()

    def fetch(marker: Marker | None) -> dict[str, Any]:
        number = next(left)
        more = number < 2 * EMPTY_PAGES
        return {"IsTruncated": more, "NextKeyMarker": str(number), "NextVersionIdMarker": "v", "DeleteMarkers": [{}]}

    assert list(list_version_pages(fetch, "p/", "")) == []
