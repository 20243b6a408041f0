"""One snapshot's rows: the files that are live at its sequence, chosen into a temporary table, and where their bytes lie.

Works alike on the host's own index and on a scratch index read from exports.  Results come in the order in which they are
used, one by one, so that a million files need no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from vaultpy.index.db import Index
from vaultpy.index.ids import COUNTER_BITS
from vaultpy.model import BlobHash, ChunkPlace, Kind


@dataclass(frozen=True, slots=True)
class Moment:
    """A snapshot in an index: the source's row and the sequence."""

    index: Index
    source_id: int
    seq: int


class FileAt(NamedTuple):
    """A path of a snapshot; `leader` is the first of its hard-link group (its own id, if it is that or in none)."""

    id: int
    directory_id: int
    name: bytes
    kind: int
    size: int
    mtime: int
    mode: int
    nlink: int
    uid: int
    gid: int
    user: bytes | None
    group: bytes | None
    link_target: bytes | None
    rdev: int | None
    changed: int | None
    has_xattrs: int
    leader: int


class PieceAt(NamedTuple):
    """A chunk that a file needs: in which blob, where in its raw bytes, and where in the file."""

    file: FileAt
    blob_id: int
    place: ChunkPlace
    file_offset: int


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


def group_links(moment: Moment) -> None:
    """Find the hard-link groups among the chosen: the same device, inode, size, times and content, and nlink over 1."""
    moment.index.run("DROP TABLE IF EXISTS temp.groups")
    moment.index.run(_MAKE_GROUPS, {"directory": Kind.DIRECTORY})
    moment.index.run("CREATE INDEX temp.groups_by_id ON groups (id)")
    moment.index.run(
        "UPDATE temp.chosen SET leader = (SELECT g.leader FROM temp.groups g WHERE g.id = chosen.id)"
        " WHERE id IN (SELECT id FROM temp.groups)"
    )


def chosen_files(moment: Moment, *, leaders: bool | None = None, kind: Kind | None = None) -> Iterator[FileAt]:
    """The chosen files, by id; only leaders (those not linked to another), or only those that are not, where asked."""
    where = ["1"]
    if leaders is not None:
        where.append("k.leader IS NULL OR k.leader = f.id" if leaders else "k.leader <> f.id")
    if kind is not None:
        where.append(f"f.kind = {int(kind)}")
    sql = f"{_CHOSEN} WHERE {' AND '.join(f'({one})' for one in where)} ORDER BY f.id"
    return map(FileAt._make, moment.index.each(sql))


def chosen_by_directory(moment: Moment, directories: Iterable[int]) -> Iterator[FileAt]:
    """The chosen files by directory, in the order given, and in each by name.  The sorting may use the disk, not memory."""
    moment.index.run("DROP TABLE IF EXISTS temp.ranks")
    moment.index.run("CREATE TEMP TABLE ranks (directory_id INTEGER PRIMARY KEY, rank INTEGER)")
    moment.index.run_many("INSERT INTO temp.ranks VALUES (?2, ?1)", enumerate(directories))
    sql = f"{_CHOSEN} JOIN temp.ranks r ON r.directory_id = f.directory_id ORDER BY r.rank, f.name"
    return map(FileAt._make, moment.index.each(sql))


def file_at(moment: Moment, file_id: int) -> FileAt:
    """One chosen file."""
    return FileAt._make(moment.index.row(f"{_CHOSEN} WHERE f.id = ?", (file_id,)))


def xattrs_at(moment: Moment, file_id: int) -> tuple[tuple[bytes, bytes], ...]:
    """The extended attributes of a file, whole."""
    found: dict[bytes, bytes] = {}
    for name, value in moment.index.rows(
        "SELECT name, value FROM xattrs WHERE file_id = ? ORDER BY name, part", (file_id,)
    ):
        found[name] = found.get(name, b"") + value
    return tuple(found.items())


def pieces(moment: Moment) -> Iterator[PieceAt]:
    """Every chunk that the chosen leaders need, in the order in which the blobs hold them."""
    index = moment.index
    index.run("DROP TABLE IF EXISTS temp.pieces")
    index.run("CREATE TEMP TABLE pieces (file_id INTEGER, chunk_id INTEGER, file_offset INTEGER)")
    index.run(_SMALL_PIECES)
    index.run(_LARGE_PIECES)
    return map(_piece, index.each(_PIECES))


def _piece(row: tuple[Any, ...]) -> PieceAt:
    blob_id, raw_offset, size, hash, file_offset = row[-5:]
    return PieceAt(FileAt._make(row[:-5]), blob_id, ChunkPlace(hash, raw_offset, size), file_offset)


def piece_counts(moment: Moment) -> dict[int, int]:
    """How many chunks each chosen file of more than one has; after `pieces`."""
    return dict(moment.index.rows("SELECT file_id, count(*) FROM temp.pieces GROUP BY file_id HAVING count(*) > 1"))


def blob_of(moment: Moment, blob_id: int) -> tuple[BlobHash, int]:
    """Hash and stored size of a blob."""
    row = moment.index.row("SELECT hash, stored_size FROM blobs WHERE id = ?", (blob_id,))
    return BlobHash(row[0]), int(row[1])


def totals(moment: Moment) -> tuple[int, int]:
    """Number of the chosen paths, and bytes of the leaders among them."""
    row = moment.index.row(
        "SELECT count(*), sum(CASE WHEN k.leader IS NULL OR k.leader = f.id THEN f.size ELSE 0 END)"
        " FROM temp.chosen k JOIN files f ON f.id = k.id"
    )
    return int(row[0]), int(row[1] or 0)


def _new_chosen(moment: Moment) -> None:
    moment.index.run("DROP TABLE IF EXISTS temp.chosen")
    moment.index.run("CREATE TEMP TABLE chosen (id INTEGER PRIMARY KEY, leader INTEGER)")


def _params(moment: Moment) -> dict[str, int]:
    return {"source": moment.source_id, "seq": moment.seq}


_DIRECTORIES = f"""
    SELECT d.id, d.parent_id, d.name FROM directories d JOIN runs r ON r.no = d.id >> {COUNTER_BITS}
    WHERE d.source_id = :source AND r.seq <= :seq AND (d.last_seq IS NULL OR d.last_seq >= :seq)"""

_FILES = f"""
    FROM files f JOIN directories d ON d.id = f.directory_id JOIN runs r ON r.no = f.id >> {COUNTER_BITS}
    WHERE d.source_id = :source AND r.seq <= :seq AND (f.last_seq IS NULL OR f.last_seq >= :seq)"""

_COLUMNS = """
    f.id, f.directory_id, f.name, f.kind, f.size, f.mtime, f.mode, f.nlink, o.uid, o.gid, o.user, o."group",
    f.link_target, f.rdev, f.changed, EXISTS (SELECT 1 FROM xattrs x WHERE x.file_id = f.id), ifnull(k.leader, f.id)"""

_CHOSEN = f"""
    SELECT {_COLUMNS} FROM temp.chosen k JOIN files f ON f.id = k.id JOIN owners o ON o.id = f.owner_id"""

# A ctime that is not known (NULL) goes with the one that the rest of the group has: while a long run walks from one name
# of a young file to the next, the file grows old enough to be trusted.
_MAKE_GROUPS = """
    CREATE TEMP TABLE groups AS SELECT id, min(id) OVER (PARTITION BY device, inode, size, mtime, kind, chunk_id,
    link_target, chunks, ifnull(ctime, known)) AS leader FROM (
    SELECT *, max(ctime) OVER (PARTITION BY device, inode, size, mtime, kind, chunk_id, link_target, chunks) AS known FROM (
    SELECT f.*, (SELECT group_concat(t.chunk_id) FROM (SELECT chunk_id FROM file_chunks WHERE file_id = f.id
    ORDER BY idx) t) AS chunks
    FROM temp.chosen k JOIN files f ON f.id = k.id WHERE f.nlink > 1 AND f.kind <> :directory))"""

_SMALL_PIECES = """
    INSERT INTO temp.pieces SELECT f.id, f.chunk_id, 0 FROM temp.chosen k JOIN files f ON f.id = k.id
    WHERE f.chunk_id IS NOT NULL AND (k.leader IS NULL OR k.leader = f.id)"""

_LARGE_PIECES = """
    INSERT INTO temp.pieces
    SELECT t.file_id, t.chunk_id, sum(c.size) OVER (PARTITION BY t.file_id ORDER BY t.idx) - c.size
    FROM temp.chosen k JOIN file_chunks t ON t.file_id = k.id JOIN chunks c ON c.id = t.chunk_id
    WHERE k.leader IS NULL OR k.leader = t.file_id"""

_PIECES = f"""
    SELECT {_COLUMNS}, c.blob_id, c.raw_offset, c.size, c.hash, p.file_offset
    FROM temp.pieces p JOIN chunks c ON c.id = p.chunk_id JOIN files f ON f.id = p.file_id
    JOIN owners o ON o.id = f.owner_id JOIN temp.chosen k ON k.id = f.id ORDER BY c.blob_id, c.raw_offset"""
