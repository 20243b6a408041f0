"""A tree with one of everything that a file system can hold."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable
from pathlib import Path

FAR_FUTURE_NS = 7_258_118_400_123_456_789  # the year 2200
LONG_AGO_NS = -1_000_000_000_987_654_321  # 1938
MEGABYTE = 1_000_000


def make_odd_tree(top: Path) -> list[str]:
    """Fill a new folder; returns what this machine would not make."""
    top.mkdir()
    contents(top)
    names(top)
    links(top)
    refused = nodes(top) + owners(top) + xattrs(top)
    modes(top)
    times(top)
    return refused


def contents(top: Path) -> None:
    generator = random.Random(7)
    (top / "empty file").write_bytes(b"")
    (top / "empty folder").mkdir()
    for size in (1, 4095, 4096, 262_143, 262_144, 262_145, 30 * MEGABYTE):
        (top / f"random {size}").write_bytes(generator.randbytes(size))
    (top / "compressible").write_bytes(b"the same line\n" * 300_000)
    with (top / "mostly holes").open("wb") as file:
        file.truncate(60 * MEGABYTE)
        file.seek(50 * MEGABYTE)
        file.write(b"something in the middle of nothing")


def names(top: Path) -> None:
    raw = os.fsencode(top)
    for name in (
        b"latin-1 \xe4\xff",
        b"new\nline",
        b"\x01\x1b[31m\x7f",
        b"n" * 255,
        b" ",
        b"-rf",
        "ünïcødé ☃".encode(),
    ):
        os.mkdir(os.path.join(raw, b"folder " + name[:248]))
        for path in (name, os.path.join(b"folder " + name[:248], name)):
            with open(os.path.join(raw, path), "wb") as file:
                file.write(name)
    deep = top
    for level in range(40):
        deep = deep / f"level {level}"
    deep.mkdir(parents=True)
    (deep / "at the bottom").write_bytes(b"deep")


def links(top: Path) -> None:
    (top / "link").symlink_to("random 1")
    (top / "dangling").symlink_to("no such thing")
    (top / "absolute").symlink_to("/etc/passwd")
    (top / "to itself").symlink_to("to itself")
    os.symlink(b"\xff\xfe", os.path.join(os.fsencode(top), b"to no text"))
    (top / "another name").hardlink_to(top / "random 4096")
    (top / "level 0" / "a third name").hardlink_to(top / "random 4096")
    (top / "large too").hardlink_to(top / f"random {30 * MEGABYTE}")
    (top / "empty too").hardlink_to(top / "empty file")


def nodes(top: Path) -> list[str]:
    os.mkfifo(top / "fifo", 0o640)
    return _try("devices", lambda: _make_devices(top))


def _make_devices(top: Path) -> None:
    os.mknod(top / "character device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(top / "block device", stat.S_IFBLK | 0o660, os.makedev(7, 200))


def owners(top: Path) -> list[str]:
    def change() -> None:
        os.chown(top / "random 1", 54321, 12345)
        os.chown(top / "link", 1234, 4321, follow_symlinks=False)
        os.chown(top / "empty folder", 65534, 0)

    return _try("owners", change)


def xattrs(top: Path) -> list[str]:
    def change() -> None:
        os.setxattr(top / "random 1", "user.note", b"\x00binary\xff")
        os.setxattr(top / "random 1", "user.empty", b"")
        os.setxattr(top / "compressible", "user.long", b"x" * 3000)
        os.setxattr(top / "level 0", "user.folder", b"on a folder")

    return _try("extended attributes", change)


def modes(top: Path) -> None:
    for name, mode in (("setuid", 0o4755), ("setgid", 0o2755), ("nothing", 0o000), ("everything", 0o777)):
        (top / name).write_bytes(name.encode())
        (top / name).chmod(mode)
    for name, mode in (("sticky", 0o1777), ("setgid folder", 0o2775), ("closed folder", 0o500)):
        (top / name).mkdir()
        (top / name).chmod(mode)


def times(top: Path) -> None:
    for number, when in enumerate((0, 1, 999_999_999, LONG_AGO_NS, FAR_FUTURE_NS, 1_700_000_000_123_456_789)):
        (top / f"time {number}").write_bytes(b"%d" % when)
        os.utime(top / f"time {number}", ns=(0, when))
    os.utime(top / "dangling", ns=(0, LONG_AGO_NS), follow_symlinks=False)
    os.utime(top / "level 0", ns=(0, FAR_FUTURE_NS))
    os.utime(top, ns=(0, 1_234_567_890_987_654_321))


def _try(what: str, change: Callable[[], None]) -> list[str]:
    try:
        change()
    except OSError as error:
        return [f"{what} ({error.strerror})"]
    return []
