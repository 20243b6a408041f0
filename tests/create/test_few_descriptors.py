"""A run that may open no more files: one clear line, not a fault of ours."""

from __future__ import annotations

import errno
import os

import pytest
from machine import Machine

from vaultpy.errors import SourceError, VaultpyError
from vaultpy.ops.making import take


def test_a_folder_that_cannot_be_held_open_for_want_of_descriptors_ends_the_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dup(fd: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(take.os, "dup", dup)
        with pytest.raises(VaultpyError) as caught:
            machine.create()
    assert not isinstance(caught.value, SourceError)
    assert "too many open files" in caught.value.message and "limits" in (caught.value.hint or "")
    machine.snapshot()
    assert machine.comes_back()
