"""What an index that fails says: which database it is, and what somebody can do about that one."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vaultpy.errors import IndexDamaged, IndexDatabaseError
from vaultpy.index.db import create_index, create_scratch, open_index

OWNER = "run as the user that the state folder belongs to, and look at its disk"
SCRATCH = "make room on that disk, or look at it; TMPDIR may name a folder on another"


@contextmanager
def short_files(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("make", "called", "says"),
    [(create_index, "index", "look at its disk; if"), (create_scratch, "scratch index", SCRATCH)],
)
def test_a_write_that_fails_says_of_which_kind_of_index(tmp_path: Path, make: object, called: str, says: str) -> None:
    assert callable(make)
    with short_files(8192), pytest.raises(IndexDatabaseError) as caught:
        make(tmp_path / "some.sqlite")
    assert caught.value.message == f"{called} {tmp_path}/some.sqlite failed: disk I/O error"
    assert caught.value.hint is not None and caught.value.hint.startswith(says)


def test_a_scratch_index_that_is_damaged_is_no_reason_to_rebuild_the_hosts_own(tmp_path: Path) -> None:
    path = tmp_path / "some.sqlite"
    create_scratch(path).close()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096)
    with pytest.raises(IndexDamaged), open_index(path) as index:
        index.rows("SELECT * FROM meta")
    path.write_bytes(b"\xff" * 8192)
    with pytest.raises(IndexDatabaseError) as caught:
        create_scratch(path)
    assert not isinstance(caught.value, IndexDamaged)
    assert caught.value.hint == SCRATCH


def test_an_index_that_cannot_be_looked_at_is_not_one_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name, said in (("loop/index", "too many levels of symbolic links"), ("n" * 300, "file name too long")):
        with pytest.raises(IndexDatabaseError) as caught:
            open_index(tmp_path / name)
        assert caught.value.message == f"index {tmp_path}/{name} cannot be opened: {said}"
        assert caught.value.hint == OWNER
    with pytest.raises(IndexDatabaseError, match="does not exist"):
        open_index(tmp_path / "none")


def test_an_index_that_cannot_be_made_or_is_a_folder_says_so_in_our_words(tmp_path: Path) -> None:
    with pytest.raises(IndexDatabaseError) as caught:
        create_index(tmp_path)
    assert caught.value.message == f"index {tmp_path} cannot be created: file exists"
    with pytest.raises(IndexDatabaseError) as caught:
        open_index(tmp_path)
    assert (caught.value.message, caught.value.hint) == (
        f"index {tmp_path} failed: unable to open database file",
        OWNER,
    )
