"""What only a folder promises: the order of its system calls, and what a killed put leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vaultpy.errors import StoreError
from vaultpy.store.local import create_local

Event = tuple[str, str]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Every fsync, link, rename, mkdir and unlink, in order, with the path that it was about."""
    seen: list[Event] = []
    fsync, link, rename, mkdir, unlink = os.fsync, os.link, os.rename, os.mkdir, os.unlink

    def note_fsync(fd: int) -> None:
        fsync(fd)
        seen.append(("fsync", os.readlink(f"/proc/self/fd/{fd}")))

    def note_link(source: Path, target: Path, **how: bool) -> None:
        link(source, target, **how)
        seen.append(("link", str(target)))

    def note_rename(source: Path, target: Path) -> None:
        rename(source, target)
        seen.append(("rename", str(target)))

    def note_mkdir(path: Path, mode: int = 0o777) -> None:
        mkdir(path, mode)
        seen.append(("mkdir", str(path)))

    def note_unlink(path: Path) -> None:
        unlink(path)
        seen.append(("unlink", str(path)))

    for name, function in {
        "fsync": note_fsync,
        "link": note_link,
        "rename": note_rename,
        "mkdir": note_mkdir,
        "unlink": note_unlink,
    }.items():
        monkeypatch.setattr(os, name, function)
    return seen


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("call", ["link", "rename"])
def test_bytes_are_durable_before_the_name_and_the_name_before_put_returns(
    tmp_path: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    if call == "rename":
        without_links(monkeypatch)
    store = create_local(tmp_path)
    store.put("a/b", b"data")
    named = events.index((call, str(tmp_path / "a/b")))
    synced_files = [path for event, path in events[:named] if event == "fsync" and ".vaultpy-tmp/" in path]
    assert len(synced_files) == 1
    assert ("fsync", str(tmp_path / "a")) in events[named + 1 :]


def test_new_folders_are_durable_before_anything_is_put_into_them(tmp_path: Path, events: list[Event]) -> None:
    store = create_local(tmp_path)
    store.put("a/b/c", b"data")
    named = events.index(("link", str(tmp_path / "a/b/c")))
    made_a = events.index(("mkdir", str(tmp_path / "a")))
    made_b = events.index(("mkdir", str(tmp_path / "a/b")))
    assert made_a < events.index(("fsync", str(tmp_path)), made_a) < made_b
    assert made_b < events.index(("fsync", str(tmp_path / "a")), made_b) < named


def test_a_deleted_name_is_gone_durably(tmp_path: Path, events: list[Event]) -> None:
    store = create_local(tmp_path)
    store.put("a/b", b"data")
    events.clear()
    store.delete("a/b")
    assert events == [("unlink", str(tmp_path / "a/b")), ("fsync", str(tmp_path / "a"))]


def test_an_object_that_was_there_is_durable_when_putting_it_again_returns(tmp_path: Path, events: list[Event]) -> None:
    store = create_local(tmp_path)
    store.put("a/b", b"data")
    events.clear()
    store.put("a/b", b"data")
    assert ("fsync", str(tmp_path / "a/b")) in events
    assert ("fsync", str(tmp_path / "a")) in events


KILLED = """
    import os, signal, sys
    from collections.abc import Sequence
    from pathlib import Path
    from vaultpy.store.local import LocalStore

    class Deadly(Sequence):
        def __len__(self):
            return 2
        def __getitem__(self, index):
            if index == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return b"x" * 100_000

    LocalStore(Path(sys.argv[1])).put("a/b", Deadly())
"""


def test_a_put_that_is_killed_leaves_nothing_that_shows(tmp_path: Path) -> None:
    store = create_local(tmp_path / "store")
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(store.root)], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [path for path in store.root.rglob("*") if path.is_file()] != [], "killed before anything was written"
    assert list(store.list("")) == []
    assert store.stat("a/b") is None
    store.put("a/b", b"whole")
    assert store.get("a/b") == b"whole"
    assert [entry.name for entry in store.list("")] == ["a/b"]


def test_objects_are_for_their_owner_only(tmp_path: Path) -> None:
    store = create_local(tmp_path / "store")
    store.put("a/b", b"data")
    modes = {path.name: path.stat().st_mode & 0o777 for path in [store.root, store.root / "a", store.root / "a/b"]}
    assert modes == {"store": 0o700, "a": 0o700, "b": 0o600}


def test_a_link_in_the_folder_is_refused_not_followed_and_not_left_out(tmp_path: Path) -> None:
    store = create_local(tmp_path / "store")
    (tmp_path / "outside").write_bytes(b"not ours")
    (store.root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError):
        store.stat("link")
    with pytest.raises(StoreError):
        store.get("link")
    with pytest.raises(StoreError):
        list(store.list(""))
    with pytest.raises(StoreError):
        store.put("link", b"not ours")
    store.delete("link")
    assert list(store.list("")) == []
    assert (tmp_path / "outside").read_bytes() == b"not ours"
