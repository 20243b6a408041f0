"""A snapshot as a stream: what other programs take out of the archive is what was backed up."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from machine import look
from restoring import Site

from vaultpy.errors import DamageError, UsageError
from vaultpy.ops.restoring.archive import Archived, write_file, write_tar
from vaultpy.store.names import blob_name


def archive(site: Site, *paths: Path) -> tuple[Archived, bytes]:
    out = io.BytesIO()
    named = tuple(os.fsencode(path) for path in paths)
    done = write_tar(site.machine.reader(), site.machine.newest(), named, out, lambda event: None)
    return done, out.getvalue()


def cat(site: Site, path: Path) -> bytes:
    out = io.BytesIO()
    size = write_file(site.machine.reader(), site.machine.newest(), os.fsencode(path), out)
    assert size == len(out.getvalue())
    return out.getvalue()


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not there")
def test_tar_takes_out_what_was_put_in(site: Site, tmp_path: Path) -> None:
    tree = site.machine.tree
    odd = os.fsencode(tree) + b"/not \xff utf-8"
    with open(odd, "wb") as file:
        file.write(b"odd")
    os.utime(odd, ns=(1_000_000_001,) * 2)
    os.setxattr(odd, b"user.note", b"\xff\0binary")
    os.mkfifo(tree / "fifo")
    (tree / ("long " * 40)).write_bytes(b"long")
    site.machine.snapshot()
    done, data = archive(site)
    assert done.failed == []
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "x", "--xattrs", "-C", out], input=data, check=True)
    back = out / tree.relative_to("/")
    assert look(back) == look(tree)
    assert os.getxattr(os.fsencode(back) + b"/not \xff utf-8", b"user.note") == b"\xff\0binary"
    assert (back / "second name").stat().st_ino == (back / "folder0/file0").stat().st_ino


def test_a_part_is_in_the_archive_with_the_folders_that_lead_there(site: Site) -> None:
    tree = site.machine.tree
    _, data = archive(site, tree / "folder1")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
    assert str(tree.relative_to("/") / "folder1/file1") in names
    assert not any("folder0" in name for name in names)


def test_a_file_that_is_damaged_is_named_and_the_archive_stays_whole(site: Site) -> None:
    [(lost,), *_] = site.machine.rows(
        "SELECT DISTINCT b.hash FROM file_chunks t JOIN chunks c ON c.id = t.chunk_id JOIN blobs b ON b.id = c.blob_id WHERE"
        " b.id NOT IN (SELECT c.blob_id FROM files f JOIN chunks c ON c.id = f.chunk_id)"
    )
    del site.machine.memory.objects[blob_name(lost)]
    done, data = archive(site)
    assert [os.path.basename(path) for path, _ in done.failed] == [b"large"]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {os.path.basename(info.name): info for info in tar}
    assert found["large"].size == (site.machine.tree / "large").stat().st_size and "link" in found


@pytest.mark.parametrize("name", ["large", "folder1/file1", "empty", "second name"])
def test_cat_gives_a_files_bytes(site: Site, name: str) -> None:
    assert cat(site, site.machine.tree / name) == (site.machine.tree / name).read_bytes()


def test_cat_gives_holes_as_zeros(site: Site) -> None:
    path = site.machine.tree / "holes"
    with path.open("wb") as file:
        for offset in (0, 1 << 20, 5 << 20):
            file.seek(offset)
            file.write(b"data" * 1000)
        file.truncate(8 << 20)
    site.machine.snapshot()
    assert cat(site, path) == path.read_bytes()


@pytest.mark.parametrize("name", ["folder1", "link", "*", "nothing"])
def test_cat_refuses_what_is_no_single_file(site: Site, name: str) -> None:
    with pytest.raises(UsageError):
        cat(site, site.machine.tree / name)


def test_cat_writes_nothing_that_is_not_right(site: Site) -> None:
    site.machine.store.changed_on_get = lambda name, start, data: (
        bytes(len(data)) if name.startswith("blobs/") else data
    )
    out = io.BytesIO()
    with pytest.raises(DamageError):
        write_file(site.machine.reader(), site.machine.newest(), os.fsencode(site.machine.tree / "large"), out)
    assert out.getvalue() == b""
