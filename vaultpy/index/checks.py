"""What verifications found about the store's objects, and when: so that they need not read everything every time, that lists
mark what is damaged, and that the next run stores anew what is not right any more.

An object is a blob by its hash (32 bytes) or an export by its UUID (16 bytes); of any host, as far as it was verified here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from uuid import UUID

from vaultpy.index.db import Index
from vaultpy.index.snapshots import State
from vaultpy.model import SnapshotId

MISSING = "missing"
"""The damage of what a listing does not show."""

ObjectKey = bytes
"""A blob's hash, or the bytes of an export's UUID."""


@dataclass(frozen=True, slots=True)
class Check:
    """`read_at`: when all its bytes were last found right, in nanoseconds; `damage`: what was wrong at the last look, found
    first at `found_at`."""

    object: ObjectKey
    read_at: int | None
    damage: str | None
    found_at: int | None


def all_checks(index: Index) -> Iterator[Check]:
    return (Check(*row) for row in index.each("SELECT object, read_at, damage, found_at FROM checks"))


def put_checks(index: Index, checks: Iterable[Check]) -> None:
    """Take over what another index knew; in the caller's transaction."""
    rows = ((one.object, one.read_at, one.damage, one.found_at) for one in checks)
    index.run_many("INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?)", rows)


def damaged_objects(index: Index) -> list[Check]:
    """The objects that were last found damaged."""
    rows = index.rows("SELECT object, read_at, damage, found_at FROM checks WHERE damage IS NOT NULL ORDER BY object")
    return [Check(*row) for row in rows]


def note_right(index: Index, objects: Iterable[ObjectKey], now: int, *, except_for: str) -> None:
    """These were read whole and are right; damage of the kind `except_for` was not looked for, and stays."""
    index.run_many(_RIGHT, ((one, now, except_for) for one in objects))


def note_damage(index: Index, damage: Iterable[tuple[ObjectKey, str]], now: int) -> None:
    """These are damaged, in that way."""
    index.run_many(_DAMAGED, ((one, kind, now) for one, kind in damage))


def clear_damage(index: Index, objects: Iterable[ObjectKey]) -> None:
    """What was found of these does not hold any more."""
    index.run_many("UPDATE checks SET damage = NULL, found_at = NULL WHERE object = ?", ((one,) for one in objects))


def forget_checks(index: Index, objects: Iterable[ObjectKey]) -> None:
    index.run_many("DELETE FROM checks WHERE object = ?", ((one,) for one in objects))


def damaged_blobs(index: Index) -> frozenset[int]:
    """The ids of indexed blobs that were last found damaged."""
    rows = index.rows("SELECT b.id FROM checks k JOIN blobs b ON b.hash = k.object WHERE k.damage IS NOT NULL")
    return frozenset(row[0] for row in rows)


def note_listing(index: Index, listed: Set[int], now: int) -> None:
    """Remember which blobs that complete snapshots need a whole listing did not show, by the ids of those that it showed as
    they should be; and forget it of those that it did, or that nothing needs any more."""
    missing = {id: hash for id, hash in index.rows("SELECT id, hash FROM blobs") if id not in listed}
    needed = {hash for id, hash in missing.items() if index.row(_NEEDED_BLOB, (State.COMPLETE, id)) is not None}
    _note_missing(index, needed, "SELECT 1 FROM blobs WHERE hash = ?", now)


def note_exports(index: Index, listed: Set[ObjectKey], now: int) -> None:
    """The same for exports, by the keys of those that a listing showed as they should be."""
    used = {row[0] for row in index.rows(_NEEDED_EXPORTS, (State.COMPLETE,))}
    _note_missing(index, used - listed, "SELECT 1 FROM exports WHERE id = ?", now)


def _note_missing(index: Index, missing: Set[ObjectKey], known: str, now: int) -> None:
    """What is missing of one kind of object; `known` tells whether the index knows an object as one of that kind."""
    before = {
        one.object
        for one in damaged_objects(index)
        if one.damage == MISSING and index.row(known, (one.object,)) is not None
    }
    if before != missing:
        with index.transaction():
            clear_damage(index, before - missing)
            note_damage(index, ((key, MISSING) for key in missing - before), now)


def snapshots_hurt(index: Index, objects: Iterable[ObjectKey]) -> dict[SnapshotId, int]:
    """The snapshots that the index knows to need some of these objects, each with how many of them."""
    index.run("DROP TABLE IF EXISTS temp.hurt")
    index.run("CREATE TEMP TABLE hurt (object BLOB PRIMARY KEY)")
    index.run_many("INSERT OR IGNORE INTO temp.hurt VALUES (?)", ((one,) for one in objects))
    return {SnapshotId(UUID(bytes=row[0])): int(row[1]) for row in index.rows(_HURT)}


_NEEDED_BLOB = """
    SELECT 1 FROM snapshot_blobs t WHERE t.blob_id = ?2 AND EXISTS (SELECT 1 FROM snapshots s WHERE s.source_id = t.source_id
    AND s.state = ?1 AND s.seq >= t.first_seq AND (t.last_seq IS NULL OR s.seq <= t.last_seq))"""

_NEEDED_EXPORTS = """
    SELECT DISTINCT e.export_id FROM snapshot_exports e JOIN snapshots s ON s.id = e.snapshot_id WHERE s.state = ?"""

_RIGHT = """
    INSERT INTO checks (object, read_at) VALUES (?1, ?2) ON CONFLICT (object) DO UPDATE SET read_at = ?2,
    found_at = CASE WHEN damage = ?3 THEN found_at END, damage = CASE WHEN damage = ?3 THEN damage END"""

_DAMAGED = """
    INSERT INTO checks (object, damage, found_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (object) DO UPDATE SET damage = ?2, found_at = ifnull(found_at, ?3)"""

_HURT = """
    SELECT id, count(*) FROM (
    SELECT s.id, h.object FROM temp.hurt h JOIN blobs b ON b.hash = h.object JOIN snapshot_blobs t ON t.blob_id = b.id
    JOIN snapshots s ON s.source_id = t.source_id AND s.seq >= t.first_seq AND (t.last_seq IS NULL OR s.seq <= t.last_seq)
    UNION
    SELECT e.snapshot_id, h.object FROM temp.hurt h JOIN snapshot_exports e ON e.export_id = h.object) GROUP BY id"""
