"""What campaigns found, each as a small test of its own."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path
from typing import NoReturn
from uuid import UUID

import blake3
import pytest
from machine import Machine, WatchedStore, fill, make_machine

from vaultpy.blob.writer import SealedBlob
from vaultpy.config import StoreKeyConfig, change_key
from vaultpy.errors import ConfigError, DamageError, IndexDatabaseError
from vaultpy.events import ignore
from vaultpy.export import read_sql, write_export
from vaultpy.index.db import create_index
from vaultpy.lock import hold_lock
from vaultpy.model import BlobHash, ExportId, KeyId, StoreId
from vaultpy.ops.making.put import Putter
from vaultpy.ops.reading.moment import scratch_folder
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.ops.wrapped import keep_wrapped_keys
from vaultpy.source.roots import plan_roots
from vaultpy.source.walk import WalkOptions, walk
from vaultpy.state import load_host, make_host, save_host, state_paths
from vaultpy.store import names
from vaultpy.store.memory import MemoryStore

STORE = StoreId(UUID(int=7))
EXTRA = 3
"""SQLite's number for it."""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = make_machine(tmp_path)
    fill(made.tree)
    return made


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


def test_a_commit_stays_where_a_power_cut_brings_its_journal_back(tmp_path: Path) -> None:
    """With FULL, the folder is not synced when the journal goes: a manifest could be put that the index then forgot."""
    with create_index(tmp_path / "index.sqlite") as index:
        assert index.value("PRAGMA synchronous") == EXTRA


def test_a_folder_above_the_source_that_cannot_be_opened_costs_nothing_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ended in a KeyError: what lies below had not been announced."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"content")
    opened = os.open

    def fail_once(path: object, *rest: object, **more: object) -> int:
        if path == b"/":
            raise OSError(errno.EIO, "Input/output error")
        return opened(path, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail_once)
        roots = plan_roots([os.fsencode(tmp_path / "source")])
        found = [
            (folder.path, folder.problems, [name for name, _ in folder.entries])
            for folder in walk(roots, WalkOptions())
        ]
    announced = {os.path.join(path, name) for path, _, names in found for name in names}
    assert all(path in announced for path, _, _ in found if path != b"/")
    assert [one.path for _, problems, _ in found for one in problems] == [b"/"]


def test_a_new_key_whose_configuration_cannot_be_written_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "config.toml"
    path.write_text('[key]\nid = "old"\nrecipient = "old"\n')
    monkeypatch.setattr(os, "fchmod", fail)
    key = StoreKeyConfig(KeyId(UUID(int=9)), "age1new")
    with pytest.raises(ConfigError, match="input/output error") as raised:
        change_key(path, key)
    assert "age1new" in str(raised.value.hint)
    assert [one.name for one in tmp_path.iterdir()] == ["config.toml"]


def test_a_scratch_folder_that_cannot_be_removed_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(IndexDatabaseError, match="scratch index"), scratch_folder() as folder:
        removed = shutil.rmtree
        monkeypatch.setattr(shutil, "rmtree", fail)
    removed(folder)


def test_a_rebuild_on_a_disk_that_fails_is_an_error_of_ours(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    machine.snapshot()
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(IndexDatabaseError, match="cannot be replaced"):
        rebuild_index(machine.vault, [], ignore)


def test_a_rebuild_keeps_the_old_index_and_no_journal_under_its_name(machine: Machine) -> None:
    """A journal that stayed under the index's name would be played into the new one."""
    machine.snapshot()
    path = machine.vault.paths.index
    path.with_name("index.sqlite-journal").write_bytes(b"of the old one")
    rebuild_index(machine.vault, [], ignore)
    assert path.with_name("index.sqlite.old").exists()
    assert not path.with_name("index.sqlite-journal").exists()


def test_a_blob_is_not_called_stored_while_its_put_is_under_way() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def wait(verb: str, name: str) -> None:
        asked.set()
        assert go_on.wait(10)

    store = WatchedStore(MemoryStore(lambda: 0))
    store.before = wait
    blob = SealedBlob(BlobHash(blake3.blake3(b"blob").digest()), 4, 4, (b"blob",), (), (), ())
    with Putter(store, 1, clock=lambda: 0) as putter:
        putter.send(blob)
        assert asked.wait(10)
        assert list(putter.finished()) == []
        go_on.set()
        assert [one.sealed.hash for one in putter.finish()] == [blob.hash]


def test_an_export_that_somebody_encrypted_again_is_not_believed(machine: Machine) -> None:
    """Whoever knows the store key's public half can write another that opens: only its hash, which is signed, tells."""
    made = machine.snapshot()
    name = names.export_name(ExportId(made.id))
    before = machine.memory.objects[name][0]
    lines = b"".join(read_sql([before], [machine.vault.host.index_key])).splitlines(keepends=True)
    path = machine.folder / "again"
    write_export(iter(lines), path, machine.vault.recipients, os.urandom)
    assert len(path.read_bytes()) == len(before)
    machine.memory.objects[name] = (path.read_bytes(), *machine.memory.objects[name][1:])
    with pytest.raises(DamageError, match="hash"):
        machine.restore_to(machine.folder / "back")


def test_an_export_that_cannot_be_taken_away_again_is_an_error_of_ours(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def fail(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".export":
            raise OSError(errno.EROFS, "Read-only file system")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(IndexDatabaseError, match="cannot hold the export"):
        machine.create()


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
