"""The index's tables and views.

How the rows lie on disk differs from what people, exports and the store see in two ways, both for size and speed:

* A row id is `run << 32 | counter`; `runs.prefix` holds the 12 leading bytes of that run's UUIDs, so the row's UUIDv7 is
  the prefix followed by the counter (see `ids.py`).  The UUID's time field is the run's sequence number in milliseconds,
  so the first sequence a row belongs to is part of its id and needs no column.
* A file of one chunk (nearly all are) names it in `files.chunk_id`; the chunks of larger files are rows of `file_chunks`.
  The view `file_content` shows both as one.

A row of `files` or `directories` is one version of one path; `last_seq` NULL means that it is current.  Everything that a
file system says (names, link targets, values) is a BLOB; times are nanoseconds since 1970, signed 64 bit.

What SQLite is told is `tables.sql`, which `make docs` writes from this: SQLAlchemy costs every command 130 ms that loads it.
"""

from __future__ import annotations

import sys

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

metadata = MetaData()

Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

Table(
    "sources",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uuid", LargeBinary, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("host", LargeBinary, nullable=False, comment="UUID of the host it belongs to"),
    Column("key_id", LargeBinary, comment="store key of its newest snapshot"),
    UniqueConstraint("host", "name"),
)

Table(
    "runs",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("source_id", Integer, ForeignKey("sources.id"), nullable=False),
    Column("seq", Integer, nullable=False, comment="max(last + 1, now in ms), per host"),
    Column("prefix", LargeBinary, nullable=False, unique=True, comment="first 12 bytes of this run's row UUIDs"),
    Column("next_id", Integer, nullable=False, server_default=text("0"), comment="counters below this may be in use"),
)

Table(
    "snapshots",
    metadata,
    Column("id", LargeBinary, primary_key=True, comment="UUIDv7"),
    Column("source_id", Integer, ForeignKey("sources.id"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("parent_id", LargeBinary),
    Column("repairs", LargeBinary, comment="the snapshot that this one mends; same source and seq"),
    Column("state", Integer, nullable=False, comment="see snapshots.py: State"),
    Column("key_id", LargeBinary, nullable=False),
    Column("started_at", Integer, nullable=False),
    Column("completed_at", Integer),
    Column("version", Text, nullable=False),
    Column("tags", Text, nullable=False, server_default=text("'[]'"), comment="JSON list"),
    Column("pinned", Integer, nullable=False, server_default=text("0")),
    Column("files", Integer),
    Column("bytes", Integer),
    Column("new_bytes", Integer, comment="raw bytes of chunks that were not known before"),
    Column("stored_bytes", Integer, comment="bytes of the objects put for it"),
    Column("problems", Integer, nullable=False, server_default=text("0")),
    Column("manifest", LargeBinary, comment="the bytes to put, until they are confirmed"),
    Column("signature", LargeBinary),
    Index("snapshots_by_seq", "source_id", "seq"),
    sqlite_with_rowid=False,
)

Table(
    "exports",
    metadata,
    Column("id", LargeBinary, primary_key=True, comment="UUID of the metadata/ folder it lies in"),
    Column("size", Integer, nullable=False),
    Column("raw_size", Integer, nullable=False, comment="bytes of the SQL"),
    Column("blake3", LargeBinary, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

Table(
    "snapshot_exports",
    metadata,
    Column("snapshot_id", LargeBinary, ForeignKey("snapshots.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, comment="0 is the whole export that the chain stands on"),
    Column("export_id", LargeBinary, ForeignKey("exports.id"), nullable=False),
    sqlite_with_rowid=False,
)

Table(
    "directories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source_id", Integer, ForeignKey("sources.id"), nullable=False),
    Column("parent_id", Integer, comment="NULL for the one that is `/`"),
    Column("name", LargeBinary, nullable=False),
    Column("last_seq", Integer),
    Index("directories_live", "parent_id", sqlite_where=text("last_seq IS NULL")),
    Index("directories_closed", "last_seq", sqlite_where=text("last_seq IS NOT NULL")),
    Index("directories_root", "source_id", sqlite_where=text("parent_id IS NULL")),
)

Table(
    "owners",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", Integer, nullable=False),
    Column("gid", Integer, nullable=False),
    Column("user", LargeBinary),
    Column("group", LargeBinary),
    Index("owners_by_number", "uid", "gid"),
)

Table(
    "files",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("directory_id", Integer, nullable=False),
    Column("name", LargeBinary, nullable=False, comment="empty for `/` itself"),
    Column("kind", Integer, nullable=False, comment="model.Kind"),
    Column("size", Integer, nullable=False, comment="bytes read; 0 unless a regular file"),
    Column("mtime", Integer, nullable=False),
    Column("ctime", Integer, comment="NULL: read too soon after a change to ever count as unchanged"),
    Column("inode", Integer, nullable=False),
    Column("device", Integer, nullable=False),
    Column("nlink", Integer, nullable=False),
    Column("mode", Integer, nullable=False, comment="permission bits, setuid, setgid, sticky"),
    Column("owner_id", Integer, nullable=False),
    Column("chunk_id", Integer, comment="the only chunk of a one-chunk file"),
    Column("link_target", LargeBinary),
    Column("rdev", Integer, comment="device number of a device"),
    Column("flags", Integer, comment="file flags as chattr shows them"),
    Column("btime", Integer, comment="birth time"),
    Column("holes", LargeBinary, comment="pairs of offset and length, 8 bytes each, big-endian"),
    Column("changed", Integer, comment="1: it never held still while it was read"),
    Column("last_seq", Integer),
    Column("atime", Integer, comment="access time, before it was read; NULL unless the source asked for it"),
    Index("files_live", "directory_id", sqlite_where=text("last_seq IS NULL")),
    Index("files_closed", "last_seq", sqlite_where=text("last_seq IS NOT NULL")),
    Index("files_by_chunk", "chunk_id", sqlite_where=text("chunk_id IS NOT NULL")),
    Index("files_by_inode", "inode", sqlite_where=text("last_seq IS NULL AND chunk_id IS NOT NULL")),
    Index("files_with_atime", "last_seq", sqlite_where=text("atime IS NOT NULL")),
)

Table(
    "xattrs",
    metadata,
    Column("file_id", Integer, ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
    Column("name", LargeBinary, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("value", LargeBinary, nullable=False, comment="at most 16 KiB"),
    sqlite_with_rowid=False,
)

Table(
    "file_chunks",
    metadata,
    Column("file_id", Integer, ForeignKey("files.id", ondelete="CASCADE"), primary_key=True),
    Column("idx", Integer, primary_key=True),
    Column("chunk_id", Integer, nullable=False),
    Index("file_chunks_by_chunk", "chunk_id"),
    sqlite_with_rowid=False,
)

Table(
    "chunks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("size", Integer, nullable=False),
    Column("blob_id", Integer, nullable=False, comment="its home"),
    Column("raw_offset", Integer, nullable=False, comment="where it begins in the blob's frames, unfolded, end to end"),
    Index("chunks_by_blob", "blob_id"),
)

Table(
    "blobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uuid", LargeBinary, nullable=False, unique=True),
    Column("key_id", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("raw_size", Integer, nullable=False),
    Column("stored_size", Integer, nullable=False),
    Column("uploaded_at", Integer),
    Column("upload_seconds", Integer, comment="in nanoseconds"),
    Column("run_no", Integer, comment="the run that stored it, while that is known here"),
)

Table(
    "snapshot_blobs",
    metadata,
    Column("source_id", Integer, ForeignKey("sources.id"), primary_key=True),
    Column("blob_id", Integer, ForeignKey("blobs.id"), primary_key=True),
    Column("first_seq", Integer, primary_key=True),
    Column("last_seq", Integer),
    Index("snapshot_blobs_live", "source_id", "blob_id", sqlite_where=text("last_seq IS NULL")),
    sqlite_with_rowid=False,
)

Table(
    "problems",
    metadata,
    Column("snapshot_id", LargeBinary, ForeignKey("snapshots.id", ondelete="CASCADE"), nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("problems_by_snapshot", "snapshot_id"),
)

Table(
    "foreign_manifests",
    metadata,
    Column("id", LargeBinary, primary_key=True, comment="a snapshot in the store that is another host's"),
    sqlite_with_rowid=False,
)

Table(
    "checks",
    metadata,
    Column("object", LargeBinary, primary_key=True, comment="a blob's hash, or the UUID of an export"),
    Column("read_at", Integer, comment="when all its bytes were last found right"),
    Column("damage", Text, comment="what was wrong at the last look; NULL: nothing"),
    Column("found_at", Integer, comment="when that was first found"),
    Index("checks_damaged", "object", sqlite_where=text("damage IS NOT NULL")),
    sqlite_with_rowid=False,
)

_UUID = "hex(r.prefix) || printf('%08X', {0} & 4294967295)"

VIEWS = {
    "file_content": """
        SELECT id AS file_id, 0 AS idx, chunk_id FROM files WHERE chunk_id IS NOT NULL
        UNION ALL SELECT file_id, idx, chunk_id FROM file_chunks""",
    "snapshot_files": f"""
        SELECT s.id AS snapshot_id, {_UUID.format("f.id")} AS file_uuid, f.*, r.seq AS first_seq
        FROM snapshots s JOIN directories d ON d.source_id = s.source_id
        JOIN files f ON f.directory_id = d.id JOIN runs r ON r.no = f.id >> 32
        WHERE r.seq <= s.seq AND (f.last_seq IS NULL OR f.last_seq >= s.seq)""",
    "chunk_files": f"""
        SELECT c.hash, t.idx, f.id AS file_id, {_UUID.format("f.id")} AS file_uuid,
        f.directory_id, f.name
        FROM chunks c JOIN file_content t ON t.chunk_id = c.id JOIN files f ON f.id = t.file_id
        JOIN runs r ON r.no = f.id >> 32""",
    "uploads": """
        SELECT b.uuid, b.hash, b.raw_size, b.stored_size, b.uploaded_at, b.upload_seconds, r.source_id, r.seq
        FROM blobs b LEFT JOIN runs r ON r.no = b.run_no WHERE b.uploaded_at IS NOT NULL""",
}


def statements() -> tuple[str, ...]:
    """The tables, their indexes and the views, in an order in which SQLite takes them."""
    dialect = sqlite.dialect()
    found = []
    for table in metadata.sorted_tables:
        found.append(str(CreateTable(table).compile(dialect=dialect)))
        for extra in sorted(table.indexes, key=lambda i: str(i.name)):
            found.append(str(CreateIndex(extra).compile(dialect=dialect)))
    return (*found, *(f"CREATE VIEW {name} AS {select}" for name, select in VIEWS.items()))


def tables_sql() -> str:
    """The text of `tables.sql`."""
    lines = (line.rstrip() for one in statements() for line in f"{one.strip()};\n".splitlines())
    return "-- Written by `make docs` from schema.py.\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(tables_sql())
