"""Hostile exports: each a function that spoils a dump's rows, or its lines, under a name.

Signed by the right host's key they get past every signature, so what reads rows has to refuse them or be unmoved; signed
by an enemy nothing may even look.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hostile import Dump, Row, blob

Spoil = Callable[[Dump, Path], None]
"""Changes a dump; the path is a place outside the target, where nothing may ever appear."""

HUGE = str((1 << 63) - 1)
LEAST = str(-(1 << 63) + 1)
SPOILS: dict[str, Spoil] = {}


def spoil(name: str) -> Callable[[Spoil], Spoil]:
    def note(function: Spoil) -> Spoil:
        SPOILS[name] = function
        return function

    return note


def small(dump: Dump) -> Row:
    return dump.file(b"letter0")


def change_file(**columns: str) -> Spoil:
    def change(dump: Dump, outside: Path) -> None:
        small(dump).update(columns)

    return change


def named(name: bytes) -> Spoil:
    return change_file(name=blob(name))


NAMES = {
    "a dot": b".",
    "two dots": b"..",
    "nothing": b"",
    "a slash": b"a/b",
    "up and away": b"../../../planted",
    "absolute": b"/planted",
    "a NUL": b"a\0b",
    "255 bytes": b"n" * 255,
    "256 bytes": b"n" * 256,
    "60000 bytes": b"n" * 30_000,
    "escapes": b"\x1b]0;owned\x07\x1b[2J\r\x9b31m",
    "a newline": b"one\nvaultpy: all is well",
    "right to left": "\u202egnp.exe\u2066".encode(),
    "half a surrogate": b"\xed\xa0\x80",
    "not UTF-8": b"\xff\xfe\x80",
    "a dash": b"--rf",
    "our own temporary": b".vaultpy-0000000000000000",
    "composed": "\u00e9".encode(),
    "decomposed": "e\u0301".encode(),
    "a star": b"*",
}
SPOILS |= {f"file named {what}": named(name) for what, name in NAMES.items()}


def _folder_named(name: bytes) -> Spoil:
    def change(dump: Dump, outside: Path) -> None:
        row = dump.folder(b"letters")
        dump.find("files", name=row["name"])["name"] = blob(name)
        row["name"] = blob(name)

    return change


SPOILS |= {f"folder named {what}": _folder_named(name) for what, name in NAMES.items()}


def _link(target: bytes) -> Spoil:
    def change(dump: Dump, outside: Path) -> None:
        dump.file(b"link")["link_target"] = blob(target)

    return change


SPOILS |= {
    "link to nothing": _link(b""),
    "link with a NUL": _link(b"a\0b"),
    "link of 20000 bytes": _link(b"a/" * 10_000),
    "link with escapes": _link(b"\x1b[2J"),
    "link without a target": lambda dump, outside: dump.file(b"link").update(link_target="NULL"),
}


@spoil("link out, and a file of the same name below it")
def _link_then_file(dump: Dump, outside: Path) -> None:
    folder = dump.folder(b"letters")
    entry = dump.find("files", name=folder["name"])
    dump.add("files", dump.file(b"link"), directory_id=entry["directory_id"], name=folder["name"],
             link_target=blob(bytes(outside)))  # fmt: skip


@spoil("link out in place of a folder's entry")
def _link_for_folder(dump: Dump, outside: Path) -> None:
    entry = dump.find("files", name=blob(b"letters"))
    entry.update(kind="3", link_target=blob(bytes(outside)))


@spoil("folder with the name of a link")
def _folder_as_link(dump: Dump, outside: Path) -> None:
    link = dump.file(b"link")
    link["link_target"] = blob(bytes(outside))
    parent = dump.find("directories", id=link["directory_id"])
    made = dump.add_folder(parent, b"link")
    dump.add("files", small(dump), directory_id=made["id"], name=blob(b"planted"))


@spoil("hard link of a link out and a file")
def _linked_link(dump: Dump, outside: Path) -> None:
    link, file = dump.file(b"link"), small(dump)
    link.update(link_target=blob(bytes(outside / "canary")), nlink="2")
    file.update({name: link[name] for name in ("inode", "device", "mtime", "size", "nlink", "ctime")})


@spoil("hard links of different sizes")
def _links_of_sizes(dump: Dump, outside: Path) -> None:
    small(dump).update(nlink="3", inode="7", device="7")
    dump.file(b"letter1").update(nlink="3", inode="7", device="7")


@spoil("hard links of devices")
def _linked_devices(dump: Dump, outside: Path) -> None:
    for name in (b"one", b"two"):
        dump.add("files", dump.file(b"link"), name=blob(name), kind="6", link_target="NULL", rdev="2049", nlink="2",
                 inode="9")  # fmt: skip


def _node(kind: int, rdev: str) -> Spoil:
    def change(dump: Dump, outside: Path) -> None:
        dump.file(b"link").update(kind=str(kind), rdev=rdev, link_target="NULL")

    return change


SPOILS |= {
    "disk device": _node(6, "2049"),
    "memory device": _node(5, "257"),
    "device number below zero": _node(5, "-1"),
    "device number of 63 bits": _node(6, HUGE),
    "device without a number": _node(5, "NULL"),
    "fifo": _node(4, "NULL"),
    "kind 0": change_file(kind="0"),
    "kind 7": change_file(kind="7"),
    "kind below zero": change_file(kind="-1"),
    "kind of 63 bits": change_file(kind=HUGE),
    "setuid of root": change_file(mode=str(0o6755), uid="0", gid="0"),
    "mode of more bits": change_file(mode=str(0o100644)),
    "mode below zero": change_file(mode="-1"),
    "owner -1": change_file(uid="-1", gid="-1"),
    "owner 2^32-1": change_file(uid=str(2**32 - 1), gid=str(2**32 - 1)),
    "owner of 63 bits": change_file(uid=HUGE, gid=HUGE),
    "owner far below zero": change_file(uid=LEAST, gid=LEAST),
    "owner name with a NUL": change_file(user=blob(b"ro\0ot")),
    "owner name of escapes": change_file(user=blob(b"\x1b[2J"), group=blob(b"\xff")),
    "owner name of 20000 bytes": change_file(user=blob(b"r" * 20_000)),
    "time at the end": change_file(mtime=HUGE),
    "time at the beginning": change_file(mtime=LEAST),
    "size below zero": change_file(size="-1"),
    "size of 63 bits": change_file(size=HUGE),
    "size one more": lambda dump, outside: small(dump).update(size=str(int(small(dump)["size"]) + 1)),
    "size without content": change_file(chunk_hash="NULL"),
    "content without a size": change_file(size="0"),
    "content of a chunk that is not there": change_file(chunk_hash=blob(bytes(32))),
    "links without number": change_file(nlink=HUGE),
    "links below zero": change_file(nlink="-1"),
    "inode below zero": change_file(inode="-1", device="-1", nlink="2"),
    "file of flags": change_file(flags=HUGE),
    "immutable": change_file(flags="16"),
    "flags below zero": change_file(flags="-1"),
    "born at the end": change_file(btime=HUGE),
    "changed twice": change_file(changed=HUGE),
    "holes of half a pair": change_file(holes=blob(b"\0" * 7)),
    "holes below zero": change_file(holes=blob(b"\xff" * 16)),
    "holes beyond the end": change_file(holes=blob(b"\0" * 7 + b"\x01" + b"\x7f" + b"\xff" * 7)),
    "holes over each other": change_file(holes=blob((b"\0" * 8 + b"\0" * 6 + b"\x10\x00") * 50)),
    "holes without end": change_file(holes=blob(b"\0" * 24_000)),
    "last sequence": change_file(last_seq="1"),
    "first sequence": change_file(first_seq="1"),
}


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
