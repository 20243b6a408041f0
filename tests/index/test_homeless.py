"""The check before a manifest: no chunk of a current row without a blob that the manifest lists."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_source import FakeHost, hash_of

from vaultpy.index.db import create_index
from vaultpy.index.homes import homeless, refresh_homes
from vaultpy.index.runs import Run, resume_run

BEFORE = {b"/old": (b"o",)}
AFTER = BEFORE | {b"/one": (b"1",), b"/d/many": (b"2", b"3", b"2"), b"/empty": ()}


def changed(host: FakeHost) -> Run:
    """A run that has added files to a published snapshot, and is about to be published."""
    host.publish(host.run(BEFORE))
    run = host.run(AFTER, per_blob=1)
    with host.index.transaction():
        refresh_homes(host.index, run, whole=False)
    return resume_run(host.index, run.no)


def test_whatever_is_listed_is_at_home(tmp_path: Path) -> None:
    with create_index(tmp_path / "index") as index:
        run = changed(FakeHost(index))
        assert homeless(index, run, whole=False) == homeless(index, run, whole=True) == 0


@pytest.mark.parametrize(("content", "count"), [(b"1", 1), (b"2", 2), (b"3", 1)])
def test_chunks_of_changed_files_in_blobs_that_are_not_listed_are_counted(
    tmp_path: Path, content: bytes, count: int
) -> None:
    with create_index(tmp_path / "index") as index:
        run = changed(FakeHost(index))
        index.run(
            "DELETE FROM snapshot_blobs WHERE blob_id = (SELECT blob_id FROM chunks WHERE hash = ?)",
            (hash_of(content),),
        )
        assert homeless(index, run, whole=False) == homeless(index, run, whole=True) == count


@pytest.mark.parametrize(("content", "count"), [(b"1", 1), (b"2", 2), (b"3", 1)])
def test_chunks_of_changed_files_that_the_index_does_not_have_are_counted(
    tmp_path: Path, content: bytes, count: int
) -> None:
    with create_index(tmp_path / "index") as index:
        run = changed(FakeHost(index))
        index.run("DELETE FROM chunks WHERE hash = ?", (hash_of(content),))
        assert homeless(index, run, whole=False) == homeless(index, run, whole=True) == count


def test_over_the_changes_only_what_changed_is_counted(tmp_path: Path) -> None:
    with create_index(tmp_path / "index") as index:
        run = changed(FakeHost(index))
        index.run("DELETE FROM snapshot_blobs")
        assert homeless(index, run, whole=False) == 4
        assert homeless(index, run, whole=True) == 5
