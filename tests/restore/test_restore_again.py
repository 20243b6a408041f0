"""A restore over what is there: it goes on where another stopped, and touches nothing that is right."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from machine import look
from restoring import Site

from vaultpy.chunker import hash_chunk
from vaultpy.errors import StoreUnavailable
from vaultpy.ops.restoring.extra import Zone
from vaultpy.ops.restoring.finish import Finisher
from vaultpy.ops.restoring.present import Fate, Overwrite
from vaultpy.source.target import TEMPORARY


def inodes(top: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in top.rglob("*") if not path.is_dir()}


def left_over(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.name.startswith(os.fsdecode(TEMPORARY))]


def partial_of_large(content: bytes) -> str:
    """The name under which `large` is begun."""
    name = b"%b\0%d %d" % (b"large", len(content), 10**18)
    return os.fsdecode(TEMPORARY) + hash_chunk(name)[:8].hex() + ".part"


def test_a_second_restore_fetches_and_touches_nothing(site: Site) -> None:
    first = site.restore()
    assert first.failed == () and look(site.back) == look(site.machine.tree)
    before = inodes(site.back)
    assert site.fetched(lambda: site.restore()) == 0
    changed = {path for path, found in inodes(site.back).items() if found != before[path]}
    assert {Path(path).name for path in changed} <= {"second name", "file0"}  # linked anew; the inode stays
    assert {path: found[0] for path, found in inodes(site.back).items()} == {
        path: found[0] for path, found in before.items()
    }
    assert look(site.back) == look(site.machine.tree)


@pytest.mark.parametrize("after", range(1, 12))
def test_a_restore_that_was_interrupted_goes_on(site: Site, after: int) -> None:
    gets = 0

    def fail(verb: str, name: str) -> None:
        nonlocal gets
        gets += name.startswith("blobs/")
        if gets > after:
            raise StoreUnavailable("gone")

    site.machine.store.before = fail
    try:
        site.restore(processes=0)
    except StoreUnavailable:
        pass
    finally:
        site.machine.store.before = lambda verb, name: None
    assert site.restore().failed == ()
    assert look(site.back) == look(site.machine.tree)
    assert left_over(site.target) == []


def test_a_large_file_that_was_begun_is_gone_on_with(site: Site) -> None:
    whole = site.fetched(lambda: site.restore())
    large = site.back / "large"
    content = large.read_bytes()
    begun = site.back / partial_of_large(content)
    begun.write_bytes(content[:-1])
    begun.chmod(0o600)
    large.unlink()
    assert site.fetched(lambda: site.restore()) < whole // 2
    assert large.read_bytes() == content and left_over(site.target) == []
    assert look(site.back) == look(site.machine.tree)


def test_what_somebody_else_could_have_begun_is_not_gone_on_with(site: Site) -> None:
    site.restore()
    large = site.back / "large"
    content = large.read_bytes()
    begun = site.back / partial_of_large(content)
    outside = site.target / "outside"
    outside.write_bytes(b"precious")
    for make in (lambda: os.link(outside, begun), lambda: os.symlink(outside, begun), lambda: os.mkfifo(begun)):
        large.unlink()
        make()
        assert site.restore().failed == ()
        assert large.read_bytes() == content and outside.read_bytes() == b"precious"
        begun.unlink(missing_ok=True)


def test_of_a_changed_file_only_what_differs_is_fetched(site: Site) -> None:
    whole = site.fetched(lambda: site.restore())
    large = site.back / "large"
    inode = large.stat().st_ino
    with large.open("r+b") as file:
        file.seek(100)
        file.write(b"changed")
    assert site.fetched(lambda: site.restore()) < whole // 2
    assert look(site.back) == look(site.machine.tree)
    assert large.stat().st_ino != inode  # whole or not at all: it was replaced, not written into


def test_content_that_is_right_is_not_fetched_for_its_time(site: Site) -> None:
    site.restore()
    for path in (site.back / "large", site.back / "folder1/file1"):
        os.utime(path)
        path.chmod(0o600)
    assert site.fetched(lambda: site.restore()) == 0
    assert look(site.back) == look(site.machine.tree)


def test_always_looks_at_the_content_whatever_the_time(site: Site) -> None:
    site.restore()
    file = site.back / "folder1/file1"
    found = file.stat()
    file.write_bytes(b"x" * found.st_size)
    os.utime(file, ns=(found.st_mtime_ns, found.st_mtime_ns))
    site.restore()
    assert file.read_bytes().startswith(b"xxx")
    site.restore(overwrite=Overwrite.ALWAYS)
    assert look(site.back) == look(site.machine.tree)


def test_never_leaves_what_is_there_and_brings_what_is_not(site: Site) -> None:
    site.restore()
    file, gone = site.back / "folder1/file1", site.back / "folder1/file3"
    file.write_bytes(b"mine")
    gone.unlink()
    back = site.restore(overwrite=Overwrite.NEVER)
    assert file.read_bytes() == b"mine" and gone.exists() and back.failed == ()


def test_if_newer_replaces_only_what_is_older(site: Site) -> None:
    site.restore()
    old, new = site.back / "folder1/file1", site.back / "folder1/file3"
    for path in (old, new):
        path.write_bytes(b"mine")
    os.utime(old, ns=(10**17, 10**17))
    os.utime(new, ns=(time.time_ns() + 10**12,) * 2)
    site.restore(overwrite=Overwrite.IF_NEWER)
    assert (old.read_bytes() != b"mine", new.read_bytes()) == (True, b"mine")


def test_metadata_of_a_file_with_other_names_is_not_touched_in_place(site: Site, tmp_path: Path) -> None:
    """The other name may be outside, and the file somebody's whom the owner of the target does not like."""
    site.restore()
    file = site.back / "folder1/file1"
    os.link(file, tmp_path / "outside")
    file.chmod(0o600)
    site.restore()
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o600
    assert look(site.back) == look(site.machine.tree)


def test_left_overs_of_killed_restores_are_swept(site: Site) -> None:
    site.restore()
    for name in ("0123456789abcdef", "0123456789abcdef-1f", "0123456789abcdef.part"):
        (site.back / "folder1" / (os.fsdecode(TEMPORARY) + name)).write_bytes(b"half")
    others = [".vaultpy-notes", ".vaultpy-0123456789abcdef-xyz"]
    for name in others:
        (site.back / "folder1" / name).write_bytes(b"mine")
    site.restore()
    assert sorted(path.name for path in left_over(site.target)) == sorted(others)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(site: Site) -> None:
    count = sum(not path.is_dir() or path.is_symlink() for path in site.machine.tree.rglob("*"))
    assert site.restore(dry_run=True).fates == {Fate.CREATE: count}
    assert not site.target.exists()
    site.restore()
    (site.back / "folder1/file1").write_bytes(b"changed")
    (site.back / "folder1/file3").unlink()
    (site.back / "empty").chmod(0o600)
    (site.back / "mine").write_bytes(b"")
    before = inodes(site.target)
    fetched = site.fetched(lambda: None)
    plan = site.restore(dry_run=True, delete=True)
    assert fetched == 0 and inodes(site.target) == before
    assert (plan.fates[Fate.CREATE], plan.fates[Fate.MEND]) == (1, 1)
    assert plan.fates[Fate.REPLACE] in (1, 2)  # a second name is looked at only when it is made
    assert plan.deleted == (os.fsencode(site.machine.tree / "mine"),)


def test_delete_removes_what_the_snapshot_does_not_have(site: Site) -> None:
    site.restore()
    (site.back / "mine/deep/er").mkdir(parents=True)
    (site.back / "mine/deep/er/file").write_bytes(b"x")
    (site.back / "folder1/link").symlink_to(site.machine.tree)
    beside = site.back.parent / "beside"
    beside.write_bytes(b"precious")
    back = site.restore(delete=True)
    tree = os.fsencode(site.machine.tree)
    assert set(back.deleted) == {tree + b"/mine", tree + b"/folder1/link"}
    assert look(site.back) == look(site.machine.tree)
    assert beside.read_bytes() == b"precious" and (site.machine.tree / "large").exists()


def test_delete_of_a_part_stays_inside_it(site: Site) -> None:
    site.restore()
    for folder in ("folder0", "folder1"):
        (site.back / folder / "mine").write_bytes(b"x")
    site.restore(site.machine.tree / "folder1", delete=True)
    assert (site.back / "folder0/mine").exists() and not (site.back / "folder1/mine").exists()


def test_without_delete_nothing_goes(site: Site) -> None:
    site.restore()
    (site.back / "mine").write_bytes(b"x")
    assert site.restore().deleted == ()
    assert (site.back / "mine").exists()


def test_delete_makes_room_where_a_folder_and_a_file_changed_places(site: Site) -> None:
    site.restore()
    shutil.rmtree(site.back / "folder1")
    (site.back / "folder1").write_bytes(b"a file")
    (site.back / "large").unlink()
    (site.back / "large").mkdir()
    (site.back / "large/x").write_bytes(b"")
    assert len(site.restore().failed) >= 2
    assert site.restore(delete=True).failed == ()
    assert look(site.back) == look(site.machine.tree)


def test_delete_spares_what_vaultpy_needs(site: Site) -> None:
    zone = Zone((b"/home",), (b"/target/home/backup/store",))
    assert zone.spares(b"/target/home/backup") and zone.spares(b"/target/home/backup/store")
    assert not zone.spares(b"/target/home/backup/storeroom") and not zone.spares(b"/target/home/other")
    assert zone.covers(b"/home") and zone.covers(b"/home/a") and not zone.covers(b"/") and not zone.covers(b"/homes")


def test_verify_reads_back_what_was_written(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site.restore(verify=True).failed == ()
    finish = Finisher.finish

    def spoil(self: Finisher, *arguments: object) -> None:
        finish(self, *arguments)  # type: ignore[arg-type]
        for name in ("large", "folder1/file1"):
            found = (site.back / name).stat()
            with (site.back / name).open("r+b") as file:
                file.write(b"spoilt")
            os.utime(site.back / name, ns=(found.st_mtime_ns, found.st_mtime_ns))

    monkeypatch.setattr(Finisher, "finish", spoil)
    failed = {os.path.basename(path) for path, _ in site.restore(verify=True).failed}
    assert failed == {b"large", b"file1"}


def test_zeros_become_holes_where_asked_for(site: Site) -> None:
    tree = site.machine.tree
    (tree / "small zeros").write_bytes(b"a" + bytes(100_000) + b"b")
    (tree / "large zeros").write_bytes(bytes(5 << 20) + b"end" + bytes(3 << 20))
    site.machine.snapshot()
    site.restore(sparse=True)
    assert look(site.back) == look(tree)
    assert (site.back / "small zeros").stat().st_blocks * 512 < 50_000
    assert (site.back / "large zeros").stat().st_blocks * 512 < 2 << 20
    assert (site.back / "large").stat().st_blocks * 512 >= 12 << 20
