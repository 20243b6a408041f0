"""The file with a host's secrets: what is there and cannot be understood is said, and never made anew."""

from __future__ import annotations

import os
import stat
import threading
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from vaultpy.errors import ConfigError
from vaultpy.model import StoreId
from vaultpy.state import Host, keep_host, load_host, make_folder, make_host, save_host, state_paths

STORE = StoreId(UUID(int=1))


@pytest.mark.parametrize(
    "spoiled", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"format":1,"machine":"\xff"}', b"[" * 100_000], ids=len
)
def test_secrets_that_cannot_be_understood_are_named(tmp_path: Path, spoiled: bytes) -> None:
    paths = state_paths(tmp_path / "state", tmp_path / "config.toml")
    save_host(paths, STORE, make_host(os.urandom))
    paths.secrets.write_bytes(spoiled)
    with pytest.raises(ConfigError, match="are damaged"):
        load_host(paths, STORE)


def test_a_copy_that_is_spoiled_is_written_anew(tmp_path: Path) -> None:
    paths = state_paths(tmp_path / "state", tmp_path / "config.toml")
    host = make_host(os.urandom)
    save_host(paths, STORE, host)
    paths.copy.write_bytes(b"\xff")
    save_host(paths, STORE, host)
    paths.secrets.unlink()
    assert load_host(paths, STORE) == host


def test_the_copy_is_written_where_its_folder_is_still_to_be_made(tmp_path: Path) -> None:
    """The configuration that it lies beside is the last thing that init writes."""
    paths = state_paths(tmp_path / "state", tmp_path / "a" / "b" / "config.toml")
    host = make_host(os.urandom)
    assert save_host(paths, STORE, host)
    assert stat.S_IMODE(paths.copy.parent.stat().st_mode) == 0o700
    paths.secrets.unlink()
    assert load_host(paths, STORE) == host


def test_a_copy_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    paths = state_paths(tmp_path / "state", tmp_path / "file" / "config.toml")
    assert not save_host(paths, STORE, make_host(os.urandom))
    assert load_host(state_paths(tmp_path / "state", tmp_path / "config.toml"), STORE) is not None


def test_what_the_system_says_of_the_state_folder_is_said_in_our_words(tmp_path: Path) -> None:
    paths = state_paths(tmp_path / "state", tmp_path / "config.toml")
    paths.secrets.mkdir(parents=True)
    with pytest.raises(ConfigError) as caught:
        load_host(paths, STORE)
    assert caught.value.message == f"host secrets {paths.secrets} cannot be read: is a directory"
    assert caught.value.hint == "run as the user that the state folder belongs to, and look at its disk"
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as caught:
        make_folder(tmp_path / "file" / "state")
    assert caught.value.message == f"state folder {tmp_path}/file/state cannot be made: not a directory"


def test_of_two_first_runs_at_once_one_makes_the_host_and_both_are_it(tmp_path: Path) -> None:
    """Two sources, each with a timer of its own, on a machine to which a configuration was copied."""
    paths = state_paths(tmp_path / "state", tmp_path / "config.toml")
    made, threads = list[Host](), list[threading.Thread]()

    def other() -> None:
        made.append(keep_host(paths, STORE, partial(make_host, os.urandom))[0])

    def make() -> Host:
        threads.append(threading.Thread(target=other))
        threads[0].start()
        threads[0].join(0.2)  # it has to wait
        return make_host(os.urandom)

    first, is_new = keep_host(paths, STORE, make)
    threads[0].join()
    assert is_new
    assert {one.id for one in (first, *made)} == {first.id}
    assert load_host(paths, STORE) is not None
    assert keep_host(paths, STORE, partial(make_host, os.urandom))[1] is False
