"""Access times: recorded where a source asks for it, as they were before they were read, and given back."""

from __future__ import annotations

import os
import sqlite3
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from machine import Machine

from vaultpy.config.values import SourceConfig
from vaultpy.errors import DamageError, StoreFormatError
from vaultpy.export import read_export
from vaultpy.index import dump
from vaultpy.index.load import Expected, apply_export
from vaultpy.model import HostId, SnapshotId, SourceId
from vaultpy.ops.reading.reader import read_manifest
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.ops.restoring.archive import write_tar
from vaultpy.ops.restoring.restore import RestoreOptions, restore
from vaultpy.source.apply import ApplyOptions
from vaultpy.store.names import export_name

YEAR = 31_557_600 * 10**9

LINKS = {"link", "second name of link"}
"""Whoever asks where a link leads has read it, as far as the system is concerned."""


def asking(machine: Machine) -> SourceConfig:
    return replace(machine.source, access_times=True)


def atimes(top: Path, names: Iterable[str]) -> dict[str, int]:
    """By path below, looked at without reading anything: listing a folder is reading it."""
    return {name: (top / name).lstat().st_atime_ns for name in names}


def set_atimes(top: Path) -> dict[str, int]:
    """A year of its own for every path (for names of one file the last one's holds), to the nanosecond; mtimes stay."""
    names = [*sorted(str(path.relative_to(top)) for path in top.rglob("*")), "."]
    for number, name in enumerate(names):
        found = (top / name).lstat()
        os.utime(top / name, ns=(number * YEAR + 123_456_789, found.st_mtime_ns), follow_symlinks=False)
    return atimes(top, names)


def fill_with_every_kind(tree: Path) -> None:
    (tree / "large").write_bytes(os.urandom(5 << 20))
    os.link(tree / "large", tree / "second name of large")
    os.link(tree / "folder0/file0", tree / "second name")
    os.link(tree / "link", tree / "second name of link", follow_symlinks=False)
    os.mkfifo(tree / "fifo")
    (tree / "noted").write_bytes(b"x")
    os.setxattr(tree / "noted", "user.note", b"1")
    with (tree / "holes").open("wb") as file:
        file.write(b"x" * 10_000)
        file.truncate(3 << 20)
    if os.geteuid() == 0:
        os.mknod(tree / "device", 0o20600, os.makedev(1, 3))


def header(machine: Machine, snapshot: SnapshotId) -> bytes:
    """The first line of the export that was written for a snapshot."""
    return exported(machine, snapshot)[-1][0]


def exported(machine: Machine, snapshot: SnapshotId) -> list[list[bytes]]:
    """The lines of the exports of a snapshot's chain."""
    key = machine.vault.host.index_key
    refs = read_manifest(machine.reader(), snapshot, None).exports
    return [list(read_export([machine.memory.objects[export_name(ref.id)][0]], [key])) for ref in refs]


def recorded(machine: Machine) -> dict[bytes, int | None]:
    return dict(machine.rows("SELECT name, atime FROM files WHERE last_seq IS NULL ORDER BY id"))


def test_access_times_are_recorded_on_request(machine: Machine) -> None:
    fill_with_every_kind(machine.tree)
    first = machine.snapshot()
    assert machine.value("SELECT count(*) FROM files WHERE atime IS NOT NULL") == 0
    assert header(machine, first.id) == b"-- vaultpy export 1, whole\n"
    assert not any(b"access_times" in line for line in exported(machine, first.id)[0])


def test_every_kind_of_path_gets_its_access_time_back(machine: Machine) -> None:
    fill_with_every_kind(machine.tree)
    wanted = set_atimes(machine.tree)
    made = machine.snapshot(asking(machine))
    back = machine.restore()
    assert atimes(back, wanted) == wanted
    assert header(machine, made.id) == b"-- vaultpy export 2, whole\n"
    options = RestoreOptions(apply=ApplyOptions(privileges=True), verify=True)
    again = restore(machine.reader(), machine.newest(), os.fsencode(machine.folder / "v"), options, lambda event: None)
    others = wanted.keys() - LINKS
    assert again.failed == ()
    assert atimes(machine.folder / "v" / machine.tree.relative_to("/"), others) == {one: wanted[one] for one in others}


def test_a_snapshot_leaves_access_times_alone(machine: Machine) -> None:
    """Of folders, too, and of files that say what is left out; the system allows it for all but links."""
    fill_with_every_kind(machine.tree)
    (machine.tree / ".ignore").write_text("nothing\n")
    (machine.tree / "CACHEDIR.TAG").write_text("no tag")
    before = set_atimes(machine.tree)
    machine.snapshot(replace(machine.source, exclude_files=(".ignore",), exclude_caches=True))
    others = before.keys() - LINKS
    assert atimes(machine.tree, others) == {name: before[name] for name in others}


def test_a_changed_access_time_alone_makes_no_path_a_changed_one(machine: Machine) -> None:
    machine.snapshot(asking(machine))
    rows, before = machine.files_below(), recorded(machine)
    for path in machine.tree.rglob("*"):
        if path.is_file():
            path.read_bytes()
    machine.snapshot(asking(machine))
    assert machine.files_below() == rows and recorded(machine) == before


def test_a_file_that_was_moved_has_one_too(machine: Machine) -> None:
    machine.snapshot(asking(machine))
    machine.clock.advance(10**10)
    (machine.tree / "folder0/file0").rename(machine.tree / "moved")
    os.utime(machine.tree / "moved", ns=(77, machine.tree.stat().st_mtime_ns))
    machine.snapshot(asking(machine))
    assert recorded(machine)[b"moved"] == 77


def test_exports_with_and_without_access_times_stand_on_each_other(machine: Machine) -> None:
    """Whatever was asked for when: each snapshot brings back what it was made with, here, elsewhere, and by sqlite3."""
    for number in range(300):
        (machine.tree / f"padding{number}").write_bytes(os.urandom(50))
    told = []
    wanted: list[dict[str, int | None]] = []
    for number, ask in enumerate((False, True, False, True, False)):
        (machine.tree / f"new{number}").write_bytes(b"%d" % number)
        os.utime(machine.tree / f"new{number}", ns=(1_000 + number, 1))
        (machine.tree / "again").write_bytes(b"%d" % number)
        os.utime(machine.tree / "again", ns=(2_000 + number, 1))
        made = machine.snapshot(replace(machine.source, access_times=ask))
        told.append(header(machine, made.id))
        known = wanted[-1] if wanted else {}
        wanted.append({**known, f"new{number}": 1_000 + number if ask else 1, "again": 2_000 + number if ask else 1})
    # The last one takes a row with an access time away.
    assert [line.split()[3][:1] for line in told] == [b"1", b"2", b"2", b"2", b"2"]
    assert [line.split(b", ")[1] for line in told] == [b"whole\n"] + [b"changes\n"] * 4
    for entry, names in zip(sorted(machine.catalog().entries, key=lambda one: one.seq), wanted, strict=True):
        back = machine.restore(entry)
        assert {name: (back / name).lstat().st_atime_ns for name in names} == names
    before = recorded(machine)
    raw = sqlite3.connect(":memory:")
    raw.executescript(b"".join(line for lines in exported(machine, made.id) for line in lines).decode())
    shown = raw.execute("SELECT name, atime FROM files LEFT JOIN access_times ON file_id = id").fetchall()
    assert dict(shown) == before
    assert raw.execute("SELECT count(*) FROM access_times WHERE file_id NOT IN (SELECT id FROM files)").fetchone() == (
        0,
    )
    raw.close()
    rebuild_index(machine.vault, [], lambda event: None)
    assert recorded(machine) == before


def test_a_file_that_is_mended_gets_its_access_time(machine: Machine) -> None:
    wanted = set_atimes(machine.tree)
    machine.snapshot(asking(machine))
    target = machine.folder / "target"
    machine.restore_to(target)
    back = target / machine.tree.relative_to("/")
    os.chmod(back / "folder0/file0", 0o600)
    os.utime(back / "folder0/file0", ns=(5, (machine.tree / "folder0/file0").stat().st_mtime_ns))
    machine.restore_to(target)
    assert (back / "folder0/file0").stat().st_atime_ns == wanted["folder0/file0"]


def test_an_archive_carries_them(machine: Machine) -> None:
    wanted = set_atimes(machine.tree)
    machine.snapshot(asking(machine))
    out = BytesIO()
    write_tar(machine.reader(), machine.newest(), (), out, lambda event: None)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        member = archive.getmember(str(machine.tree / "folder0/file0")[1:])
    assert member.pax_headers["atime"] == f"{wanted['folder0/file0'] // 10**9}.123456789"


def double(lines: list[bytes]) -> list[bytes]:
    at = next(number for number, line in enumerate(lines) if line.startswith(b"INSERT INTO access_times"))
    other = lines[at].rsplit(b",", 1)[0] + b",12345);\n"
    return [*lines[: at + 1], other, *lines[at + 1 :]]


BAD: dict[str, tuple[Callable[[list[bytes]], Sequence[bytes]], type[Exception]]] = {
    "of number 1": (lambda lines: [dump.HEADERS_WHOLE[0], *lines[1:]], DamageError),
    "of number 1 without the table": (
        lambda lines: [dump.HEADERS_WHOLE[0], *(one for one in lines[1:] if one != dump.CREATE_ACCESS_TIMES)],
        DamageError,
    ),
    "of number 3": (lambda lines: [b"-- vaultpy export 3, whole\n", *lines[1:]], StoreFormatError),
    "of number 10": (lambda lines: [b"-- vaultpy export 10, whole\n", *lines[1:]], StoreFormatError),
    "of number 0": (lambda lines: [b"-- vaultpy export 0, whole\n", *lines[1:]], DamageError),
    "without the table": (lambda lines: [one for one in lines if one != dump.CREATE_ACCESS_TIMES], DamageError),
    "with two for a file": (double, DamageError),
    "with one for no file": (
        lambda lines: [*lines, b"INSERT INTO access_times VALUES (X'%s',1);\n" % (b"00" * 16)],
        DamageError,
    ),
    "with one that is no time": (
        lambda lines: [*lines, b"INSERT INTO access_times VALUES (X'%s',NULL);\n" % (b"00" * 16)],
        DamageError,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_export_with_access_times_that_cannot_be_is_damage(machine: Machine, name: str) -> None:
    made = machine.snapshot(asking(machine))
    [lines] = exported(machine, made.id)
    change, failure = BAD[name]
    expected = Expected(made.id, SourceId(made.source), HostId(made.host), made.seq)
    with machine.index() as index, index.transaction():
        index.run("DELETE FROM files")
        index.run("DELETE FROM directories")
        for table in ("snapshot_blobs", "chunks", "blobs", "runs"):
            index.run(f"DELETE FROM {table}")
        source_id = index.value("SELECT id FROM sources")
        with pytest.raises(failure):
            apply_export(index, change(lines), expected, source_id=source_id, whole=True, close_seq=None)


def test_an_export_with_access_times_loads(machine: Machine) -> None:
    """So that the test above fails for what it names."""
    made = machine.snapshot(asking(machine))
    [lines] = exported(machine, made.id)
    before = recorded(machine)
    expected = Expected(made.id, SourceId(made.source), HostId(made.host), made.seq)
    with machine.index() as index, index.transaction():
        for table in ("files", "directories", "snapshot_blobs", "chunks", "blobs", "runs"):
            index.run(f"DELETE FROM {table}")
        source_id = index.value("SELECT id FROM sources")
        apply_export(index, lines, expected, source_id=source_id, whole=True, close_seq=None)
    assert recorded(machine) == before


@pytest.mark.parametrize("time", [-1, 0, -(10**18), (1 << 63) - 1])
def test_any_access_time_that_the_file_system_has_is_kept(machine: Machine, time: int) -> None:
    (machine.tree / "x").write_bytes(b"x")
    os.utime(machine.tree / "x", ns=(time, 1))
    kept = (machine.tree / "x").stat().st_atime_ns
    machine.snapshot(asking(machine))
    assert (machine.restore() / "x").stat().st_atime_ns == kept
