"""Hostile rows of files and folders: names, links, kinds, numbers; hostile_dumps.py goes on with whole dumps.

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
