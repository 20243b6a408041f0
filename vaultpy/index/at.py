"""One snapshot's rows: the files that are live at its sequence, chosen into a temporary table, and where their bytes lie.

Works alike on the host's own index and on a scratch index read from exports.  Results come in the order in which they are
used, one by one, so that a million files need no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from vaultpy.index.db import Index
from vaultpy.index.ids import COUNTER_BITS


@dataclass(frozen=True, slots=True)
class Moment:
    """A snapshot in an index: the source's row and the sequence."""

    index: Index
    source_id: int
    seq: int


class FileAt(NamedTuple):
    """A path of a snapshot; `leader` is the first of its hard-link group (its own id, if it is that or in none, or
    where links were not asked for)."""

    id: int
    directory_id: int
    name: bytes
    kind: int
    size: int
    mtime: int
    mode: int
    nlink: int
    owner_id: int
    uid: int
    gid: int
    user: bytes | None
    group: bytes | None
    link_target: bytes | None
    rdev: int | None
    changed: int | None
    flags: int | None
    btime: int | None
    atime: int | None
    holes: bytes | None
    has_xattrs: int
    leader: int


def directories_at(moment: Moment) -> Iterator[tuple[int, int | None, bytes]]:
    """Id, parent's id and name of each directory, parents before children."""
    return moment.index.each(f"{_DIRECTORIES} ORDER BY d.id", _params(moment))


def choose_all(moment: Moment) -> int:
    """Make `chosen` hold every file of the snapshot; returns how many."""
    _new_chosen(moment)
    return moment.index.run(f"INSERT INTO temp.chosen (id) SELECT f.id {_FILES}", _params(moment))


def choose_some(moment: Moment, wanted: Iterable[int]) -> int:
    """Make `chosen` hold the files with these ids; returns how many."""
    _new_chosen(moment)
    moment.index.run_many("INSERT OR IGNORE INTO temp.chosen (id) VALUES (?)", ((one,) for one in wanted))
    return int(moment.index.value("SELECT count(*) FROM temp.chosen"))


def names_at(moment: Moment) -> Iterator[tuple[int, int, bytes]]:
    """Id, directory and name of every file of the snapshot, in order of directories."""
    return moment.index.each(f"SELECT f.id, f.directory_id, f.name {_FILES} ORDER BY f.directory_id", _params(moment))


def names_of(moment: Moment, directories: Iterable[int]) -> Iterator[tuple[int, int, bytes]]:
    """The same of these directories of the snapshot alone, in no order; for a few, where `names_at` reads every row."""
    moment.index.run("DROP TABLE IF EXISTS temp.looked")
    moment.index.run("CREATE TEMP TABLE looked (id INTEGER PRIMARY KEY)")
    moment.index.run_many("INSERT INTO temp.looked VALUES (?)", ((one,) for one in directories))
    return moment.index.each(_NAMES_OF, {"seq": moment.seq})


def chosen_by_directory(moment: Moment, directories: Iterable[int]) -> Iterator[FileAt]:
    """The chosen files by directory, in the order given, and in each by name.  The sorting may use the disk, not memory."""
    moment.index.run("DROP TABLE IF EXISTS temp.ranks")
    moment.index.run("CREATE TEMP TABLE ranks (directory_id INTEGER PRIMARY KEY, rank INTEGER)")
    moment.index.run_many("INSERT INTO temp.ranks VALUES (?2, ?1)", enumerate(directories))
    sql = f"{_CHOSEN} JOIN temp.ranks r ON r.directory_id = f.directory_id ORDER BY r.rank, f.name"
    return map(FileAt._make, moment.index.each_in_peace(sql))


def xattrs_at(moment: Moment, file_id: int) -> tuple[tuple[bytes, bytes], ...]:
    """The extended attributes of a file, whole."""
    found: dict[bytes, bytes] = {}
    for name, value in moment.index.rows(
        "SELECT name, value FROM xattrs WHERE file_id = ? ORDER BY name, part", (file_id,)
    ):
        found[name] = found.get(name, b"") + value
    return tuple(found.items())


def _new_chosen(moment: Moment) -> None:
    moment.index.run("DROP TABLE IF EXISTS temp.chosen")
    moment.index.run("CREATE TEMP TABLE chosen (id INTEGER PRIMARY KEY)")


def _params(moment: Moment) -> dict[str, int]:
    return {"source": moment.source_id, "seq": moment.seq}


_DIRECTORIES = f"""
    SELECT d.id, d.parent_id, d.name FROM directories d JOIN runs r ON r.no = d.id >> {COUNTER_BITS}
    WHERE d.source_id = :source AND r.seq <= :seq AND (d.last_seq IS NULL OR d.last_seq >= :seq)"""

_FILES = f"""
    FROM files f JOIN directories d ON d.id = f.directory_id JOIN runs r ON r.no = f.id >> {COUNTER_BITS}
    WHERE d.source_id = :source AND r.seq <= :seq AND (f.last_seq IS NULL OR f.last_seq >= :seq)"""

# In halves, each with an index of its own: what is current, and what was closed at or after that sequence.
_NAMES_OF = f"""
    SELECT f.id, f.directory_id, f.name FROM temp.looked k CROSS JOIN files f ON f.directory_id = k.id
    JOIN runs r ON r.no = f.id >> {COUNTER_BITS} WHERE f.last_seq IS NULL AND r.seq <= :seq
    UNION ALL
    SELECT f.id, f.directory_id, f.name FROM files f CROSS JOIN temp.looked k ON k.id = f.directory_id
    JOIN runs r ON r.no = f.id >> {COUNTER_BITS} WHERE f.last_seq >= :seq AND r.seq <= :seq"""

FILE_COLUMNS = """
    f.id, f.directory_id, f.name, f.kind, f.size, f.mtime, f.mode, f.nlink, f.owner_id, o.uid, o.gid, o.user, o."group",
    f.link_target, f.rdev, f.changed, f.flags, f.btime, f.atime, f.holes,
    EXISTS (SELECT 1 FROM xattrs x WHERE x.file_id = f.id)"""
"""A FileAt's but for the last, of `files f` and `owners o`."""

_CHOSEN = f"""
    SELECT {FILE_COLUMNS}, f.id FROM temp.chosen k JOIN files f ON f.id = k.id JOIN owners o ON o.id = f.owner_id"""
