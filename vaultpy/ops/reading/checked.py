"""What this host remembers of verifications: which objects need not be read again yet, and which are damaged.

Without an index (a keeper, a fresh machine) a verification works as well, and remembers nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from vaultpy.errors import IndexDatabaseError, UsageError
from vaultpy.index.checks import (
    ObjectKey,
    all_checks,
    clear_damage,
    damaged_objects,
    forget_checks,
    note_damage,
    note_right,
)
from vaultpy.index.db import Index, open_index
from vaultpy.index.inventory import Inventory
from vaultpy.model import BlobHash, ExportId
from vaultpy.ops.reading.findings import Damage, Depth, Faults
from vaultpy.store import names

DAY_NS = 24 * 3600 * 1_000_000_000

_OF_OBJECTS = (Damage.MISSING, Damage.SIZE, Damage.CHANGED, Damage.CONTENT)
_BY_LISTING = (Damage.MISSING, Damage.SIZE)


@dataclass(frozen=True, slots=True)
class Share:
    """Which objects to read: those not read right within `since` nanoseconds, or one in `parts` (None: all)."""

    since: int | None = None
    parts: int | None = None


EVERYTHING = Share()


def key_of(name: str) -> ObjectKey | None:
    """What the index calls an object; None for what is neither blob nor export."""
    blob, export = names.parse_blob_name(name), names.parse_export_name(name)
    return blob if blob is not None else export.bytes if export is not None else None


def name_of(key: ObjectKey) -> str:
    """The reverse."""
    return names.blob_name(BlobHash(key)) if len(key) == 32 else names.export_name(ExportId(UUID(bytes=key)))


def leave_in(inventory: Inventory, index: Index | None, share: Share, now: int) -> None:
    """Leave in the inventory what is to be read this time.

    One in so many is, with an index, those read the longest ago; without, the share whose turn it is today, so that reading
    one in 30 daily reads each in 30 days.  What was found damaged is always read again.  Raises UsageError for `since`
    without an index.
    """
    if index is None and share.since is not None:
        raise UsageError(
            "verify --since: there is no index here that knows what was read", hint="--sample 1/30 needs none"
        )
    if index is not None:
        history = ((name_of(one.object), one.read_at, one.damage is not None) for one in all_checks(index))
        inventory.add_history(history)
    if share.since is not None:
        inventory.skip_read_since(now - share.since)
    if share.parts is not None and index is not None:
        inventory.keep_oldest(share.parts)
    elif share.parts is not None:
        inventory.keep_share(now // DAY_NS % share.parts, share.parts)


def remember(path: Path, inventory: Inventory, faults: Faults, depth: Depth, now: int, *, whole: bool) -> str | None:
    """Write down what was found in the index at `path`; why that could not be done, else None.

    `whole`: everything that the store has was looked at, so that what was not named is gone.
    """
    damage = {
        key: fault.kind for fault in faults if fault.kind in _OF_OBJECTS and (key := key_of(fault.object)) is not None
    }
    try:
        with open_index(path) as index, index.transaction():
            note_right(
                index, _right(inventory, damage), now, except_for="" if depth == Depth.OPENED else Damage.CONTENT
            )
            clear_damage(index, list(_back(index, inventory, damage)))
            note_damage(index, ((key, kind.value) for key, kind in damage.items()), now)
            if whole:
                forget_checks(index, list(_unnamed(index, inventory)))
    except IndexDatabaseError as error:
        return f"what was found could not be kept: {error.message}"
    return None


def _right(inventory: Inventory, damage: dict[ObjectKey, Damage]) -> Iterator[ObjectKey]:
    keys = map(key_of, inventory.each_checked())
    return (key for key in keys if key is not None and key not in damage)


def _back(index: Index, inventory: Inventory, damage: dict[ObjectKey, Damage]) -> Iterator[ObjectKey]:
    """What was missing, or had another size, and is now listed as it should be."""
    for one in damaged_objects(index):
        if one.damage in _BY_LISTING and one.object not in damage and inventory.is_as_listed(name_of(one.object)):
            yield one.object


def _unnamed(index: Index, inventory: Inventory) -> Iterator[ObjectKey]:
    return (one.object for one in all_checks(index) if inventory.is_as_listed(name_of(one.object)) is None)
