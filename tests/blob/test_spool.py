"""Spools: what is appended is read back in pieces, also over a descriptor that travelled; a full disk is named."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vaultpy.blob.spool import PIECE, Spool, open_spool
from vaultpy.errors import VaultpyError


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_what_is_appended_is_read_back_in_pieces(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    spool = open_spool(tmp_path)
    for start in range(0, size, 100_000):
        spool.append(data[start : start + 100_000])
    assert spool.size == size
    assert [len(piece) for piece in spool][:-1] == [PIECE] * (len(spool) - 1)
    assert b"".join(spool) == b"".join(spool[:]) == data
    assert list(tmp_path.iterdir()) == [], "it has no name"


def test_it_is_read_by_whoever_gets_the_descriptor(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "made where it is not")
    spool.append(b"sealed")
    other = Spool(os.dup(spool.fd), spool.size)
    del spool
    assert list(other) == [b"sealed"]


def test_its_descriptor_is_closed_when_it_is_forgotten(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    spool = open_spool(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del spool
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_is_full_or_no_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool(tmp_path)
    with monkeypatch.context() as patch:

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(os, "pwrite", full)
        with pytest.raises(VaultpyError, match=f"{tmp_path} .*no space left"):
            spool.append(b"x")
    (tmp_path / "file").touch()
    with pytest.raises(VaultpyError, match="file"):
        open_spool(tmp_path / "file")


def test_what_cannot_be_read_back_is_said(tmp_path: Path) -> None:
    spool = Spool(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY), 10, tmp_path)
    with pytest.raises(VaultpyError, match="does not give a blob back: is a directory"):
        list(spool)
