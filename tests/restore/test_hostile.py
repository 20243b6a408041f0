"""Snapshots and targets that want a restore to reach outside its target: nothing there is made, changed or removed.

The rows are spoilt after everything that would refuse them on the way: here the writing end stands alone.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from machine import look
from restoring import Site, make_site

from vaultpy.age import Identity
from vaultpy.index.at import Moment
from vaultpy.manifest import Manifest
from vaultpy.model import Kind
from vaultpy.ops.reading.moment import open_moment
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.restoring import restore as module
from vaultpy.ops.restoring.present import Overwrite

FILE = "(SELECT min(id) FROM files WHERE name = X'66696c6531')"  # file1
FOLDER = "(SELECT id FROM directories WHERE name = X'666f6c64657231')"  # folder1
NEW = (
    "INSERT INTO files (id, directory_id, name, kind, size, mtime, inode, device, nlink, mode, owner_id, link_target, rdev)"
    " SELECT max(id) + 1, {folder}, {name}, {kind}, 0, 1, 1, 1, 1, {mode}, min(owner_id), {target}, {rdev} FROM files"
)


def literal(value: bytes) -> str:
    return f"X'{value.hex()}'"


def new(name: bytes, kind: Kind, *, target: bytes = b"", rdev: int = 0, mode: int = 0o644, folder: str = FOLDER) -> str:
    return NEW.format(folder=folder, name=literal(name), kind=int(kind), mode=mode, target=literal(target), rdev=rdev)


def renamed(name: bytes, what: str = "files", row: str = FILE) -> str:
    return f"UPDATE {what} SET name = {literal(name)} WHERE id = {row}"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path, 1 << 20)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    (path / "folder").mkdir(parents=True)
    (path / "precious").write_bytes(b"precious")
    (path / "folder/file1").write_bytes(b"precious, too")
    return path


def spoil(monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    @contextlib.contextmanager
    def spoilt(reader: Reader, manifest: Manifest, identities: Sequence[Identity]) -> Iterator[Moment]:
        with open_moment(reader, manifest, identities) as moment:
            for sql in statements:
                assert moment.index.run(sql) > 0, sql
            yield moment

    monkeypatch.setattr(module, "open_moment", spoilt)


def tricks(outside: Path) -> dict[str, tuple[str, ...]]:
    reach = os.fsencode(outside)
    up = b"../" * 20 + reach[1:]
    device = os.makedev(1, 3)
    shared = "(SELECT inode FROM files WHERE name = X'7365636f6e64206e616d65')"
    return {
        "an absolute name": (renamed(reach + b"/evil"),),
        "an absolute name of a folder that is there": (renamed(reach + b"/folder"),),
        "an absolute name of a file that is there": (renamed(reach + b"/precious"),),
        "a name with .. of a folder that is there": (renamed(up + b"/folder"),),
        "a name with .. of a file that is there": (renamed(up + b"/precious"),),
        "a flag for a file elsewhere": (
            f"UPDATE files SET flags = 64 WHERE id = {FILE}",
            renamed(reach + b"/precious"),
        ),
        "a name with ..": (renamed(up + b"/evil"),),
        "a name that is ..": (renamed(b".."),),
        "a name that is .": (renamed(b"."),),
        "a name with a NUL": (renamed(b"evil\0.txt"),),
        "an empty name": (renamed(b""),),
        "a name with a slash": (renamed(b"folder/file1"),),
        "a name of 300 bytes": (renamed(b"x" * 300),),
        "a folder that is ..": (renamed(b"..", "directories", FOLDER),),
        "a folder elsewhere": (renamed(reach, "directories", FOLDER),),
        "a folder up and elsewhere": (renamed(up, "directories", FOLDER),),
        "a folder without a name": (renamed(b"", "directories", FOLDER),),
        "a link and a folder of one name": (
            new(
                b"folder1",
                Kind.SYMLINK,
                target=reach,
                folder=f"(SELECT parent_id FROM directories WHERE id = {FOLDER})",
            ),
        ),
        "a link and a file of one name": (new(b"file1", Kind.SYMLINK, target=reach + b"/precious"),),
        "a folder's row that is a link": (
            f"UPDATE files SET kind = {int(Kind.SYMLINK)}, link_target = {literal(reach)} WHERE name = X'666f6c64657231'",
        ),
        "a file and a folder of one name": (
            f"UPDATE files SET name = X'666f6c64657231', directory_id = (SELECT parent_id FROM directories WHERE id = {FOLDER})"
            f" WHERE id = {FILE}",
        ),
        "a link that leads out": (new(b"out", Kind.SYMLINK, target=reach + b"/precious"),),
        "a link with a NUL": (new(b"out", Kind.SYMLINK, target=b"a\0b"),),
        "a link to nothing": (new(b"out", Kind.SYMLINK, target=b""),),
        "a device": (new(b"device", Kind.CHARACTER_DEVICE, rdev=device),),
        "a device of no number": (new(b"device", Kind.BLOCK_DEVICE, rdev=-1),),
        "setuid": (f"UPDATE files SET mode = 2541 WHERE id = {FILE}",),
        "an owner that nobody is": (
            "UPDATE owners SET uid = -1, gid = 4294967295",
            f"UPDATE files SET mode = 2541 WHERE id = {FILE}",
        ),
        "a mode of many bits": (f"UPDATE files SET mode = 1 << 40 WHERE id = {FILE}",),
        "a capability": (
            f"INSERT INTO xattrs VALUES ({FILE}, {literal(b'security.capability')}, 0,"
            f" {literal(struct.pack('<IIIII', 0x02000001, 1 << 10, 0, 0, 0))})",
        ),
        "an attribute of no namespace": (f"INSERT INTO xattrs VALUES ({FILE}, {literal(b'evil')}, 0, X'00')",),
        "a huge size": (f"UPDATE files SET size = 1 << 62, nlink = 2 WHERE id = {FILE}",),
        "huge holes": (f"UPDATE files SET holes = {literal(struct.pack('>QQ', 1, (1 << 63) - 1))} WHERE id = {FILE}",),
        "a time that nothing is": (f"UPDATE files SET mtime = 9223372036854775807 WHERE id = {FILE}",),
        "a second name of a link that leads out": (
            new(b"out", Kind.SYMLINK, target=reach + b"/precious"),
            f"UPDATE files SET inode = {shared}, nlink = 2 WHERE link_target = {literal(reach + b'/precious')}",
        ),
        "a kind that is none": (
            f"UPDATE files SET kind = 6, size = 0, chunk_id = NULL, rdev = NULL WHERE id = {FILE}",
        ),
    }


@pytest.mark.parametrize("trick", sorted(tricks(Path("/x"))))
@pytest.mark.parametrize("again", [False, True], ids=["new", "again"])
def test_nothing_outside_is_touched(
    site: Site, outside: Path, monkeypatch: pytest.MonkeyPatch, trick: str, again: bool
) -> None:
    if again:
        site.restore()
    before = look(outside)
    around = sorted(site.target.parent.iterdir())
    spoil(monkeypatch, *tricks(outside)[trick])
    back = site.restore(privileges=False, overwrite=Overwrite.ALWAYS, delete=again)
    assert look(outside) == before
    assert sorted(site.target.parent.iterdir()) == sorted({*around, site.target})
    for path in site.target.rglob("*"):
        mode = path.lstat().st_mode
        assert not stat.S_ISCHR(mode) and not stat.S_ISBLK(mode) and (stat.S_ISDIR(mode) or not mode & 0o6000)
    # The rest is there: a trick costs at most what it is about.
    for name in ("large", "folder0/file0"):
        assert (site.back / name).read_bytes() == (site.machine.tree / name).read_bytes(), back.failed


@pytest.mark.parametrize("policy", list(Overwrite))
def test_links_in_the_target_are_never_gone_through(site: Site, outside: Path, policy: Overwrite) -> None:
    site.back.mkdir(parents=True)
    (site.back / "folder1").symlink_to(outside / "folder")
    (site.back / "large").symlink_to(outside / "precious")
    os.link(outside / "precious", site.back / "empty")
    before = look(outside)
    back = site.restore(overwrite=policy)
    assert look(outside) == before
    assert {os.path.basename(path) for path, _ in back.failed} >= {b"file1", b"file3", b"file5"}


def test_delete_goes_through_no_link(site: Site, outside: Path) -> None:
    site.restore()
    (site.back / "folder1/out").symlink_to(outside)
    (site.back / "mine").mkdir()
    (site.back / "mine/out").symlink_to(outside)
    before = look(outside)
    site.restore(delete=True)
    assert look(outside) == before and look(site.back) == look(site.machine.tree)


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(
    site: Site, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody swaps a folder for a link at every step that names it."""
    opened = os.open
    swaps = 0

    def swap(path: bytes | str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        nonlocal swaps
        if path == b"folder1" and dir_fd is not None and swaps < 40:
            swaps += 1
            with contextlib.suppress(OSError):
                os.rename(site.back / "folder1", site.target / f"was{swaps}")
                os.symlink(outside / "folder", site.back / "folder1")
        return opened(path, flags, *rest, dir_fd=dir_fd)

    before = look(outside)
    monkeypatch.setattr(os, "open", swap)
    site.restore(processes=0)
    monkeypatch.undo()
    assert swaps and look(outside) == before
