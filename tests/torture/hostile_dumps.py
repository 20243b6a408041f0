"""Hostile exports, besides the rows of hostile_rows.py: each a function that spoils a dump's rows, or its lines, under a
name.
"""

from __future__ import annotations

from pathlib import Path

from hostile import Dump, blob
from hostile_rows import HUGE, SPOILS, Spoil, small, spoil


@spoil("sparse file of 8 EiB")
def _sparse(dump: Dump, outside: Path) -> None:
    size = (1 << 63) - 1
    dump.file(b"picture1").update(
        size=str(size), chunk_hash="NULL", holes=blob((0).to_bytes(8, "big") + size.to_bytes(8, "big"))
    )


@spoil("one chunk ten thousand times")
def _repeated(dump: Dump, outside: Path) -> None:
    """40 GB out of one megabyte."""
    row = dump.find("files", name=blob(b"long"))
    parts = [one for one in dump.rows["file_chunks"] if one["file_id"] == row["id"]]
    biggest = max(parts, key=lambda one: int(dump.find("chunks", hash=one["chunk_hash"])["size"]))
    dump.rows["file_chunks"] = [one for one in dump.rows["file_chunks"] if one["file_id"] != row["id"]]
    dump.rows["file_chunks"] += [biggest | {"idx": str(number)} for number in range(10_000)]
    row["size"] = str(10_000 * int(dump.find("chunks", hash=biggest["chunk_hash"])["size"]))


def _xattr(name: bytes, *values: bytes, part: int = 0) -> Spoil:
    def change(dump: Dump, outside: Path) -> None:
        for number, value in enumerate(values):
            dump.rows["xattrs"].append(
                {"file_id": small(dump)["id"], "name": blob(name), "part": str(part + number), "value": blob(value)}
            )

    return change


SPOILS |= {
    "xattr without a namespace": _xattr(b"plain", b"x"),
    "xattr of capabilities": _xattr(b"security.capability", bytes.fromhex("0100000200200000000000000000000000000000")),
    "xattr of SELinux": _xattr(b"security.selinux", b"system_u:object_r:shadow_t:s0\0"),
    "xattr of trust": _xattr(b"trusted.overlay.redirect", b"/etc/shadow"),
    "xattr of an ACL": _xattr(b"system.posix_acl_access", b"\xff" * 44),
    "xattr with a NUL": _xattr(b"user.a\0b", b"x"),
    "xattr without a name": _xattr(b"", b"x"),
    "xattr of a long name": _xattr(b"user." + b"n" * 251, b"x"),
    "xattr of a megabyte": _xattr(b"user.big", *[b"x" * 16_384] * 63),
    "xattr of too many parts": _xattr(b"user.big", b"x", part=64),
    "xattr of parts below zero": _xattr(b"user.big", b"x", part=-1),
    "xattr of a large part": _xattr(b"user.big", b"x" * 16_385),
}


@spoil("thousands of xattrs")
def _xattrs(dump: Dump, outside: Path) -> None:
    for number in range(5000):
        _xattr(b"user.n%d" % number, b"x" * 100)(dump, outside)


def change_chunk(**columns: str) -> Spoil:
    def change(dump: Dump, outside: Path) -> None:
        dump.find("chunks", hash=small(dump)["chunk_hash"]).update(columns)

    return change


SPOILS |= {
    "chunk at a place below zero": change_chunk(raw_offset="-1"),
    "chunk at a place of 63 bits": change_chunk(raw_offset=HUGE),
    "chunk at another place": change_chunk(raw_offset="1"),
    "chunk of nothing": change_chunk(size="0"),
    "chunk below zero": change_chunk(size="-5"),
    "chunk of 63 bits": change_chunk(size=HUGE),
    "chunk in a blob that is not named": change_chunk(blob_id=blob(bytes(16))),
    "chunk of another hash": change_chunk(hash=blob(bytes(32))),
}


def change_blob(**columns: str) -> Spoil:
    def change(dump: Dump, outside: Path) -> None:
        dump.rows["blobs"][0].update(columns)

    return change


SPOILS |= {
    "blob of nothing": change_blob(raw_size="0"),
    "blob below zero": change_blob(raw_size="-1"),
    "blob of 63 bits": change_blob(raw_size=HUGE),
    "blob stored in another size": change_blob(stored_size="1"),
    "blob of another hash": change_blob(hash=blob(bytes(32))),
    "blob of another key": change_blob(key_id=blob(bytes(16))),
    "blob twice": lambda dump, outside: dump.rows["blobs"].append(dict(dump.rows["blobs"][0])),
    "no blobs": lambda dump, outside: dump.rows["blobs"].clear(),
}


# The tree.


@spoil("folder that is its own parent")
def _self(dump: Dump, outside: Path) -> None:
    row = dump.folder(b"letters")
    row["parent_id"] = row["id"]


@spoil("two folders in each other")
def _ring(dump: Dump, outside: Path) -> None:
    one, other = dump.folder(b"letters"), dump.folder(b"nothing in it")
    one["parent_id"], other["parent_id"] = other["id"], one["id"]


@spoil("two roots")
def _roots(dump: Dump, outside: Path) -> None:
    dump.folder(b"letters").update(parent_id="NULL", name="X''")


@spoil("no root")
def _no_root(dump: Dump, outside: Path) -> None:
    root = dump.find("directories", parent_id="NULL")
    root["parent_id"] = dump.folder(b"letters")["id"]


@spoil("folder below nothing")
def _orphan(dump: Dump, outside: Path) -> None:
    dump.folder(b"letters")["parent_id"] = blob(bytes(16))


@spoil("file below nothing")
def _homeless(dump: Dump, outside: Path) -> None:
    small(dump)["directory_id"] = blob(bytes(16))


@spoil("folder of another source")
def _foreign(dump: Dump, outside: Path) -> None:
    dump.folder(b"letters")["source_id"] = blob(bytes(16))


@spoil("folder entry without a folder")
def _bare(dump: Dump, outside: Path) -> None:
    template = dump.find("files", name=blob(b"nothing in it"))
    dump.add("files", template, name=blob(b"bare"))


@spoil("folder without an entry")
def _unnamed(dump: Dump, outside: Path) -> None:
    dump.rows["files"].remove(dump.find("files", name=blob(b"nothing in it")))


@spoil("folder of a later run than the snapshot")
def _later(dump: Dump, outside: Path) -> None:
    """Its id says that it began after the snapshot that shows it."""
    row = dump.folder(b"letters")
    old, new = row["id"], "X'" + "7F" * 6 + row["id"][14:]
    for table in ("directories", "files"):
        for one in dump.rows[table]:
            for column in ("id", "parent_id", "directory_id"):
                if column in one and one[column] == old:
                    one[column] = new


@spoil("file of a later run than the snapshot")
def _later_file(dump: Dump, outside: Path) -> None:
    row = small(dump)
    row["id"] = "X'" + "7F" * 6 + row["id"][14:]
    row["first_seq"] = str(int("7F" * 6, 16))


@spoil("children before their parents")
def _backwards(dump: Dump, outside: Path) -> None:
    """Ids that fall on the way down: nothing may rely on a parent's being lower."""
    ids = sorted(row["id"] for row in dump.rows["directories"])
    mirrored = dict(zip(ids, reversed(ids), strict=True))
    for table in ("directories", "files"):
        for one in dump.rows[table]:
            for column in ("parent_id", "directory_id") if table == "files" else ("id", "parent_id"):
                if column in one:
                    one[column] = mirrored.get(one[column], one[column])


@spoil("one name twice")
def _twice(dump: Dump, outside: Path) -> None:
    dump.add("files", small(dump))


@spoil("one row twice")
def _same_row(dump: Dump, outside: Path) -> None:
    dump.rows["files"].append(dict(small(dump)))


@spoil("names that differ in case and form")
def _alike(dump: Dump, outside: Path) -> None:
    for name in ("Letter0", "LETTER0", "letter0\u200b", "\u00e9", "e\u0301"):
        dump.add("files", small(dump), name=blob(name.encode()))


@spoil("no files")
def _empty(dump: Dump, outside: Path) -> None:
    dump.rows["files"].clear()


@spoil("nothing at all")
def _nothing(dump: Dump, outside: Path) -> None:
    for rows in dump.rows.values():
        rows.clear()


@spoil("depth of 10000")
def _deep(dump: Dump, outside: Path) -> None:
    at = dump.folder(b"letters")
    prefix = at["id"][:26]
    template = next(one for one in dump.rows["files"] if one["kind"] == "2" and one["name"] != "X''")
    for number in range(10_000):
        row = at | {"id": f"{prefix}{0x10000 + number:08X}'", "parent_id": at["id"], "name": blob(b"d")}
        dump.rows["directories"].append(row)
        dump.rows["files"].append(
            template | {"id": f"{prefix}{0x40000 + number:08X}'", "directory_id": at["id"], "name": blob(b"d")}
        )
        at = row


@spoil("200000 siblings")
def _siblings(dump: Dump, outside: Path) -> None:
    template = small(dump) | {"size": "0", "chunk_hash": "NULL"}
    prefix = template["id"][:26]
    dump.rows["files"] += [
        template | {"id": f"{prefix}{0x10000 + number:08X}'", "name": blob(b"%d" % number)} for number in range(200_000)
    ]


# What no export says.

LINES = {
    "a command of the shell": b".shell touch planted\n",
    "ATTACH": b"ATTACH DATABASE 'planted' AS other;\n",
    "VACUUM INTO": b"VACUUM INTO 'planted';\n",
    "PRAGMA": b"PRAGMA writable_schema = ON;\n",
    "a trigger": b"CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM files; END;\n",
    "a view": b"CREATE VIEW v AS SELECT 1;\n",
    "another table": b"INSERT INTO meta VALUES ('moved',X'00');\n",
    "an expression": b"INSERT INTO sources VALUES (randomblob(100000000),X'00',X'00');\n",
    "a subquery": b"INSERT INTO sources VALUES ((SELECT X'00'),X'00',X'00');\n",
    "a comment behind": b"DELETE FROM files WHERE id = X'00000000000000000000000000000000'; --\n",
    "delete without a key": b"DELETE FROM files;\n",
    "delete of nothing": b"DELETE FROM files WHERE id = X'00000000000000000000000000000000';\n",
    "update": b"UPDATE files SET name = X'00';\n",
    "lower case": b"INSERT INTO sources VALUES (x'aa',X'00',X'00');\n",
    "half a byte": b"INSERT INTO problems VALUES (X'00000000000000000000000000000000',X'0',X'',X'');\n",
    "a number too large": b"INSERT INTO chunks VALUES (X'%s',9999999999999999999,X'%s',0);\n" % (b"0" * 64, b"0" * 32),
    "minus nothing": b"INSERT INTO chunks VALUES (X'%s',-0,X'%s',0);\n" % (b"0" * 64, b"0" * 32),
    "a carriage return": b"\r\n",
    "an empty line": b"\n",
    "a NUL": b"\0\n",
    "no newline": b"INSERT INTO sources",
    "a line of 64 KiB and more": b"INSERT INTO problems VALUES (X'%s');\n" % (b"00" * 40_000),
    "a second header": b"-- vaultpy export 1, whole\n",
    "another comment": b"-- nothing to see\n",
    "two statements": b"DELETE FROM files WHERE id = X'00';DELETE FROM files WHERE id = X'00';\n",
}


def _line(line: bytes) -> Spoil:
    def change(dump: Dump, outside: Path) -> None:
        dump.extra.append(line)

    return change


SPOILS |= {f"line: {what}": _line(line) for what, line in LINES.items()}
SPOILS |= {
    "header of a delta": lambda dump, outside: dump.head.__setitem__(0, b"-- vaultpy export 1, changes\n"),
    "header of a later format": lambda dump, outside: dump.head.__setitem__(0, b"-- vaultpy export 2, whole\n"),
    "header of nothing": lambda dump, outside: dump.head.__setitem__(0, b"\n"),
    "tables with a default": lambda dump, outside: dump.head.__setitem__(
        1, b"CREATE TABLE snapshots (id BLOB PRIMARY KEY DEFAULT (randomblob(1000000000)));\n"
    ),
    "no tables": lambda dump, outside: dump.head.__delitem__(slice(1, None)),
}
