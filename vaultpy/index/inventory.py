"""What a verification has to look at: every object that some snapshot names, and every place in a blob where some file
needs a chunk; each once, however many snapshots share it.

Lies in a scratch database, because a store of terabytes names more than memory should hold.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Set
from contextlib import AbstractContextManager
from itertools import islice
from operator import lt
from struct import iter_unpack
from typing import NamedTuple

from vaultpy.index.content import BadPlace, Place
from vaultpy.index.db import Index
from vaultpy.model import BlobHash, ChunkHash, Places

AT_ONCE = 4_096
"""Objects that are held at once: a snapshot of 10 TB needs 300,000."""


class NamedObject(NamedTuple):
    """An object as manifests name it: size in bytes, the BLAKE3 hash of its bytes, and (exports only) their SHA-256."""

    name: str
    size: int
    blake3: bytes
    sha256: bytes = b""


class ListedObject(NamedTuple):
    """A named object beside what the listing said: its size there, or None where it was not listed."""

    object: NamedObject
    listed: int | None


class Inventory:
    """Named objects and chunk places, in tables of an index that nothing else uses."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._counted: dict[BlobHash, int] = {}
        for sql in _TABLES:
            index.run(sql)

    def add_objects(self, snapshot: int, objects: Iterable[NamedObject]) -> None:
        """The snapshot of that number (the caller's own count) needs these objects."""
        left = iter(objects)
        with self._index.transaction():
            while some := list(islice(left, AT_ONCE)):
                self._index.run_many(_PUT_NAMED, some)
                self._index.run_many(_PUT_NEED, ((snapshot, *one) for one in some))

    def add_listing(self, listing: Iterable[tuple[str, int]]) -> None:
        """What the store lists: names and sizes."""
        with self._index.transaction():
            self._index.run_many(
                "UPDATE named SET listed = ?2 WHERE name = ?1", ((name, size) for name, size in listing)
            )

    def add_checked(self, names: Iterable[str]) -> None:
        """These objects were fetched and found right already."""
        self._index.run_many("UPDATE named SET checked = 1 WHERE name = ?", ((name,) for name in names))

    def add_history(self, history: Iterable[tuple[str, int | None, bool]]) -> None:
        """What is known of objects from before: when they were last read and right, and whether they were damaged since."""
        with self._index.transaction():
            self._index.run_many(
                "UPDATE named SET read_at = ?2, bad = nullif(?3, 0) WHERE name = ?1",
                ((name, read_at, int(bad)) for name, read_at, bad in history),
            )

    def skip_read_since(self, moment: int) -> None:
        """Leave out what was read at that time or after it, and was right."""
        self._index.run("UPDATE named SET skipped = 1 WHERE read_at >= ? AND bad IS NULL", (moment,))

    def keep_oldest(self, parts: int) -> None:
        """Of the objects, leave in one in so many: those whose last reading is the longest ago; and what was damaged."""
        count = -(-self.totals()[0] // parts)
        self._index.run(f"UPDATE named SET skipped = 1 WHERE bad IS NULL AND id NOT IN ({_OLDEST})", (count,))

    def keep_share(self, number: int, parts: int) -> None:
        """Of the objects, leave in the share of that number (from 0) of so many, by their hashes."""
        rows = self._index.rows("SELECT id, blake3 FROM named")
        others = ((row[0],) for row in rows if int.from_bytes(row[1][:8], "big") % parts != number)
        with self._index.transaction():
            self._index.run_many("UPDATE named SET skipped = 1 WHERE id = ?", others)

    def each_checked(self) -> Iterator[str]:
        """The names of the objects that were fetched and found right (`add_checked`)."""
        return (row[0] for row in self._index.each("SELECT DISTINCT name FROM named WHERE checked = 1"))

    def is_as_listed(self, name: str) -> bool | None:
        """Whether an object was listed as it is named; None where none of that name is."""
        row = self._index.row("SELECT min(listed IS size) FROM named WHERE name = ?", (name,))
        return None if row[0] is None else bool(row[0])

    def add_places(self, places: Iterable[Place]) -> None:
        """Here files need chunks."""
        self._counted.clear()
        with self._index.transaction():
            self._index.run_many("INSERT OR IGNORE INTO places VALUES (?, ?, ?, ?)", places)

    def adding_columns(self) -> AbstractContextManager[None]:
        """Around many calls of `add_columns`."""
        return self._index.transaction()

    def add_columns(self, blob: BlobHash, places: Places) -> None:
        """As `add_places`, for many in one blob."""
        self._counted.clear()
        values = blob, places.offsets.tobytes(), places.sizes.tobytes(), places.hashes
        self._index.run("INSERT INTO columns (blob, offsets, sizes, hashes) VALUES (?, ?, ?, ?)", values)

    def last_columns(self) -> int:
        """A mark after what `add_columns` brought so far."""
        return int(self._index.value("SELECT ifnull(max(id), 0) FROM columns"))

    def forget_columns(self, mark: int) -> None:
        """Forget what `add_columns` brought since a mark."""
        self._counted.clear()
        self._index.run("DELETE FROM columns WHERE id > ?", (mark,))

    def find_in_columns(self, mark: int, hashes: Set[bytes]) -> Iterator[Place]:
        """Where chunks lie of those that `add_columns` brought since a mark."""
        for blob, offsets, sizes, column in self._index.each(
            "SELECT blob, offsets, sizes, hashes FROM columns WHERE id > ?", (mark,)
        ):
            for position, hash in enumerate(_each_hash(column)):
                if hash in hashes:
                    yield blob, array("Q", offsets)[position], array("Q", sizes)[position], ChunkHash(hash)

    def add_bad(self, places: Iterable[BadPlace]) -> None:
        """What is there cannot be used; for a whole blob, or for the chunk that begins at an offset."""
        self._index.run_many("INSERT INTO bad VALUES (?, ?)", places)

    def add_affected(self, files: Iterable[tuple[BlobHash, bytes]]) -> None:
        """Paths that need something bad in a blob."""
        with self._index.transaction():
            self._index.run_many("INSERT OR IGNORE INTO affected VALUES (?, ?)", files)

    def totals(self) -> tuple[int, int]:
        """Number of the named objects, and their bytes as named."""
        count, size = self._index.row("SELECT count(*), ifnull(sum(size), 0) FROM named")
        return int(count), int(size)

    def not_as_listed(self) -> Iterator[ListedObject]:
        """The objects that were not listed, or with another size than they are named with."""
        for row in self._index.each(f"{_NAMED}, listed FROM named WHERE listed IS NOT size ORDER BY name"):
            yield ListedObject(NamedObject(*row[:4]), row[4])

    def count_checked(self) -> int:
        return int(self._index.value("SELECT count(*) FROM named WHERE checked = 1"))

    def to_fetch(self) -> tuple[int, int]:
        """Number and bytes of what `each_to_fetch` gives."""
        count, size = self._index.row(f"SELECT count(*), ifnull(sum(size), 0) FROM named WHERE {_TO_FETCH}")
        return int(count), int(size)

    def each_to_fetch(self) -> Iterator[NamedObject]:
        """The objects that were listed as they should be, and not checked yet."""
        return map(NamedObject._make, self._index.each(f"{_NAMED} FROM named WHERE {_TO_FETCH} ORDER BY name"))

    def snapshots_of(self, name: str) -> list[int]:
        """The numbers of the snapshots that need an object."""
        return [
            row[0]
            for row in self._index.rows(
                "SELECT DISTINCT n.snapshot FROM named o JOIN needs n ON n.object = o.id WHERE o.name = ?"
                " ORDER BY n.snapshot",
                (name,),
            )
        ]

    def places_in(self, blob: BlobHash) -> Places:
        """Where chunks are needed in a blob, each place once."""
        columns = self._index.rows("SELECT offsets, sizes, hashes FROM columns WHERE blob = ? ORDER BY id", (blob,))
        rows = self._index.rows("SELECT raw_offset, size, hash FROM places WHERE blob = ? ORDER BY raw_offset", (blob,))
        offsets, sizes = (
            array("Q", b"".join(one[0] for one in columns)),
            array("Q", b"".join(one[1] for one in columns)),
        )
        hashes = b"".join(one[2] for one in columns)
        if rows or not all(map(lt, offsets, offsets[1:])):
            rows = sorted({*rows, *zip(offsets, sizes, _each_hash(hashes), strict=True)})
            offsets, sizes = array("Q", (row[0] for row in rows)), array("Q", (row[1] for row in rows))
            hashes = b"".join(row[2] for row in rows)
        self._counted[blob] = len(offsets)
        return Places(offsets, sizes, hashes)

    def estimate_places(self) -> int:
        """About how many places there are; those that came by columns are counted as often as they came."""
        return int(
            self._index.value(
                "SELECT (SELECT count(*) FROM places) + (SELECT ifnull(sum(length(offsets)), 0) / 8 FROM columns)"
            )
        )

    def count_places(self) -> int:
        """How many places there are."""
        count = int(self._index.value("SELECT count(*) FROM places WHERE blob NOT IN (SELECT blob FROM columns)"))
        for (blob,) in self._index.rows("SELECT DISTINCT blob FROM columns"):
            if blob not in self._counted:
                self.places_in(blob)
            count += self._counted[blob]
        return count

    def bad_places(self) -> Iterator[BadPlace]:
        return self._index.each("SELECT DISTINCT blob, raw_offset FROM bad")

    def has_bad(self) -> bool:
        return self._index.row("SELECT 1 FROM bad") is not None

    def affected(self, blob: BlobHash, limit: int) -> tuple[tuple[bytes, ...], int]:
        """The first paths, in their order, that need something bad in a blob, and how many there are."""
        rows = self._index.rows("SELECT path FROM affected WHERE blob = ? ORDER BY path LIMIT ?", (blob, limit))
        count = self._index.value("SELECT count(*) FROM affected WHERE blob = ?", (blob,))
        return tuple(row[0] for row in rows), int(count)


def _each_hash(hashes: bytes) -> Iterator[bytes]:
    return (hash for (hash,) in iter_unpack("32s", hashes))


_PUT_NAMED = "INSERT OR IGNORE INTO named (name, size, blake3, sha256) VALUES (?, ?, ?, ?)"

_NAMED = "SELECT name, size, blake3, sha256"

_TO_FETCH = "listed = size AND checked IS NULL AND skipped IS NULL"

_OLDEST = "SELECT id FROM named ORDER BY read_at IS NOT NULL, read_at, blake3 LIMIT ?"

_TABLES = (
    "CREATE TABLE named (id INTEGER PRIMARY KEY, name TEXT, size INTEGER, blake3 BLOB, sha256 BLOB, listed INTEGER,"
    " checked INTEGER, read_at INTEGER, bad INTEGER, skipped INTEGER, UNIQUE (name, size, blake3, sha256))",
    "CREATE TABLE needs (object INTEGER, snapshot INTEGER, PRIMARY KEY (object, snapshot)) WITHOUT ROWID",
    "CREATE TABLE places (blob BLOB, raw_offset INTEGER, size INTEGER, hash BLOB,"
    " PRIMARY KEY (blob, raw_offset, size, hash)) WITHOUT ROWID",
    # The same by the thousand: native numbers of 8 bytes, and hashes of 32, end to end.
    "CREATE TABLE columns (id INTEGER PRIMARY KEY, blob BLOB, offsets BLOB, sizes BLOB, hashes BLOB)",
    "CREATE INDEX columns_by_blob ON columns (blob)",
    "CREATE TABLE bad (blob BLOB, raw_offset INTEGER)",
    "CREATE TABLE affected (blob BLOB, path BLOB, PRIMARY KEY (blob, path)) WITHOUT ROWID",
)

_PUT_NEED = """
    INSERT OR IGNORE INTO needs SELECT id, ?1 FROM named WHERE name = ?2 AND size = ?3 AND blake3 = ?4 AND sha256 = ?5"""
