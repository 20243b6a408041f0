"""Listings, believed only while they make sense: a store that seems to lack objects is the most dangerous answer of all."""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from vaultpy.errors import StoreContradiction
from vaultpy.store.base import ObjectInfo

Page = Mapping[str, Any]
Place = TypeVar("Place")
EMPTY_PAGES = 1000
"""Pages without an entry that are asked for in a row: some servers pass over deleted objects so, none for ever."""

_SHOWN = ("Contents", "Versions", "DeleteMarkers")
"""What a page may have.  Delete markers are an answer, too: a bucket may hold any number of them."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def list_pages(fetch: Callable[[str | None], Page], root: str, prefix: str) -> Iterator[ObjectInfo]:
    """All objects below key prefix `root + prefix`, named without `root`; `fetch` gets a page for a token (None: first).

    Raises StoreContradiction for a page that is no listing, says truncated without a token, goes backwards, repeats a key
    or a token, or holds a key that was not asked for; and for pages without end that hold none.
    """
    last = ""
    for page in follow_pages(fetch, lambda page: next_token(page, root + prefix), f"listing of {root + prefix!r}"):
        for entry in page.get("Contents", ()):
            info = _read_entry(entry, root)
            key = entry["Key"]
            if not key.startswith(root + prefix):
                raise StoreContradiction(f"listing of {root + prefix!r} holds {key[:200]!r}, which is not below it")
            if key <= last:
                raise StoreContradiction(f"listing of {root + prefix!r} goes backwards at {key[:200]!r}")
            last = key
            # Consoles make empty "folders": they are nothing that we put.
            if not key.endswith("/"):
                yield info


def follow_pages(
    fetch: Callable[[Place | None], Page], following: Callable[[Page], Place | None], what: str
) -> Iterator[Page]:
    """The page at None, and each at the place that the one before says it goes on at, until one says None.

    Raises StoreContradiction for a place that comes twice in a row, and for too many pages in a row that show nothing.
    """
    place: Place | None = None
    empty = 0
    while True:
        page = fetch(place)
        empty = 0 if any(page.get(kind) for kind in _SHOWN) else empty + 1
        if empty > EMPTY_PAGES:
            raise StoreContradiction(f"{what} goes on for {EMPTY_PAGES} pages and shows nothing")
        yield page
        came_from, place = place, following(page)
        if place is None:
            return
        if place == came_from:
            raise StoreContradiction(f"{what} goes on at the same place twice")


def next_token(page: Page, key_prefix: str) -> str | None:
    """Where a listing goes on; None at its end."""
    truncated = page.get("IsTruncated")
    if truncated is None:
        # An error or a proxy's page under status 200 looks like a listing without objects.
        raise StoreContradiction(f"listing of {key_prefix!r} does not say whether it is whole")
    if not truncated:
        return None
    token = page.get("NextContinuationToken")
    if not token:
        raise StoreContradiction(f"listing of {key_prefix!r} is cut short and does not say how to go on")
    return str(token)


def server_time(page: Page) -> int:
    """The server's clock when it answered, in nanoseconds since 1970: the Date header."""
    date = page.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return nanoseconds(email.utils.parsedate_to_datetime(str(date)))
    except (ValueError, TypeError):
        raise StoreContradiction(f"listing has no date that can be read: {str(date)[:80]!r}") from None


def nanoseconds(time: datetime) -> int:
    """Since 1970; a time without a zone is UTC, as HTTP's are."""
    return (time.replace(tzinfo=time.tzinfo or UTC) - _EPOCH) // timedelta(microseconds=1) * 1000


def _read_entry(entry: Mapping[str, Any], root: str) -> ObjectInfo:
    try:
        key, size, modified = entry["Key"], entry["Size"], entry["LastModified"]
    except KeyError as missing:
        raise StoreContradiction(f"listing has an entry without {missing.args[0]}") from None
    return ObjectInfo(key[len(root) :], size, nanoseconds(modified))
