"""Which chunks a snapshot's rows put where, and the reverse: which of its files need a chunk that is not right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vaultpy.index.at import Moment, choose_all
from vaultpy.index.db import Index
from vaultpy.model import BlobHash, ChunkHash

Place = tuple[BlobHash, int, int, ChunkHash]
"""The blob, where in its raw bytes the chunk begins, the chunk's size, and its hash."""

BadPlace = tuple[BlobHash, int | None]
"""A blob, and where in its raw bytes a chunk that is not right begins; None: nothing in the blob can be had."""


def chunk_places(index: Index) -> Iterator[Place]:
    """Where every chunk of an index lies: of one that was read from exports, all that its snapshot's files need."""
    return index.each("SELECT b.hash, c.raw_offset, c.size, c.hash FROM chunks c JOIN blobs b ON b.id = c.blob_id")


def files_at_places(moment: Moment, places: Iterable[BadPlace]) -> Iterator[tuple[BlobHash, int, bytes]]:
    """The files of a snapshot that need a chunk at one of these places: the blob, the file's directory and its name."""
    index = moment.index
    choose_all(moment)
    index.run("DROP TABLE IF EXISTS temp.bad")
    index.run("CREATE TEMP TABLE bad (chunk_id INTEGER PRIMARY KEY, blob BLOB)")
    index.run_many(_PUT_BAD, ((blob, raw_offset) for blob, raw_offset in places))
    return index.each(_FILES_AT_BAD)


_PUT_BAD = """
    INSERT OR IGNORE INTO temp.bad SELECT c.id, b.hash FROM chunks c JOIN blobs b ON b.id = c.blob_id
    WHERE b.hash = ?1 AND (?2 IS NULL OR c.raw_offset = ?2)"""

_FILES_AT_BAD = """
    SELECT x.blob, f.directory_id, f.name FROM temp.chosen k JOIN files f ON f.id = k.id
    JOIN temp.bad x ON x.chunk_id = f.chunk_id
    UNION
    SELECT x.blob, f.directory_id, f.name FROM temp.chosen k JOIN file_chunks t ON t.file_id = k.id
    JOIN temp.bad x ON x.chunk_id = t.chunk_id JOIN files f ON f.id = k.id"""
