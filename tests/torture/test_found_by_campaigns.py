"""What campaigns found, each as a small test of its own."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn
from uuid import UUID

import pytest

from vaultpy.errors import ConfigError, IndexDatabaseError
from vaultpy.lock import hold_lock
from vaultpy.model import KeyId, StoreId
from vaultpy.ops.wrapped import keep_wrapped_keys
from vaultpy.state import load_host, make_host, save_host, state_paths

STORE = StoreId(UUID(int=7))


def test_host_secrets_are_whole_when_the_kernel_takes_only_a_part_of_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short write is no error, so nothing said that half of the host's keys were missing."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[: max(1, len(data) // 3)]))
    paths = state_paths(tmp_path / "state", tmp_path / "config.toml")
    host = make_host(os.urandom)
    save_host(paths, STORE, host)
    loaded = load_host(paths, STORE)
    assert loaded is not None
    assert loaded.id == host.id


def test_host_secrets_that_are_there_are_not_written_again(tmp_path: Path) -> None:
    """The text of a key is another at each writing, so a comparison of texts wrote both copies anew in every run."""
    paths = state_paths(tmp_path / "state", tmp_path / "config.toml")
    save_host(paths, STORE, make_host(os.urandom))
    before = [path.stat().st_ino for path in (paths.secrets, paths.copy)]
    loaded = load_host(paths, STORE)
    assert loaded is not None
    save_host(paths, STORE, loaded)
    assert [path.stat().st_ino for path in (paths.secrets, paths.copy)] == before


@pytest.mark.parametrize("call", ["ftruncate", "pwrite"])
def test_a_lock_on_a_disk_that_fails_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ConfigError, match="input/output error"), hold_lock(tmp_path / "lock", "test", clock=lambda: 0):
        pass


def test_wrapped_keys_on_a_disk_that_fails_are_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"a file where a folder belongs")
    with pytest.raises(IndexDatabaseError, match="cannot keep"):
        keep_wrapped_keys(tmp_path, KeyId(UUID(int=1)), [b"form"])
