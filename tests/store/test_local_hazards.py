"""What happens around a folder while it is used: disks that go away, puts that died, symlinks, no hard links."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vaultpy.errors import ObjectExists, StoreContradiction, StoreDenied, StoreError, StoreUnavailable
from vaultpy.store.local import LocalStore, create_local


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return create_local(tmp_path / "store")


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse)


def take_away(root: Path, *, leave_folder: bool) -> None:
    """What an unmounted disk looks like: nothing there, or the empty folder that it was mounted on."""
    root.rename(root.with_name("away"))
    if leave_folder:
        root.mkdir()


VERBS: dict[str, Callable[[LocalStore], object]] = {
    "put": lambda store: store.put("a/c", b"2"),
    "get": lambda store: store.get("a/b"),
    "stat": lambda store: store.stat("a/b"),
    "list": lambda store: list(store.list("")),
    "delete": lambda store: store.delete("a/b"),
}


@pytest.mark.parametrize("leave_folder", [False, True])
@pytest.mark.parametrize("verb", VERBS)
def test_a_disk_that_is_gone_is_not_an_empty_store(store: LocalStore, verb: str, leave_folder: bool) -> None:
    store.put("a/b", b"1")
    take_away(store.root, leave_folder=leave_folder)
    with pytest.raises(StoreUnavailable):
        VERBS[verb](store)
    assert not leave_folder or list(store.root.iterdir()) == []


def test_a_disk_that_goes_in_the_middle_of_a_listing_ends_it_with_an_error(store: LocalStore) -> None:
    for name in ("a/x", "b/x", "c/x"):
        store.put(name, b"1")
    listing = store.list("")
    assert next(listing).name == "a/x"
    take_away(store.root, leave_folder=False)
    with pytest.raises(StoreUnavailable):
        list(listing)


@pytest.mark.usefixtures("no_links")
def test_a_put_killed_before_its_rename_does_not_keep_the_next_from_the_name(store: LocalStore) -> None:
    child = os.fork()
    if child == 0:
        os.rename = lambda *_, **__: os._exit(9)
        store.put("m/x", b"1")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert list(store.list("")) == []
    LocalStore(store.root).put("m/x", b"1")
    assert store.get("m/x") == b"1"


@pytest.mark.usefixtures("no_links")
@pytest.mark.parametrize("bodies", [[b"same"] * 4, [b"1", b"2", b"3", b"4"]])
def test_without_links_many_putters_of_one_name_end_as_with_links(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, bodies: list[bytes]
) -> None:
    entered, rename = threading.Event(), os.rename

    def slow_rename(source: Path, target: Path) -> None:
        entered.wait(0.2)  # time for the others to arrive at the reservation
        rename(source, target)

    monkeypatch.setattr(os, "rename", slow_rename)
    failures: list[StoreError] = []

    def put(body: bytes) -> None:
        try:
            store.put("x/y", body)
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=put, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(failure) for failure in failures] == [ObjectExists] * (len(set(bodies)) - 1)
    assert store.get("x/y") in bodies


@pytest.mark.usefixtures("no_links")
def test_without_links_the_longest_name_can_be_put(store: LocalStore) -> None:
    name = "/".join(["d" * 100] * 4 + ["f" * 108])
    assert len(name) == 512
    store.put(name, b"1")
    assert store.get(name) == b"1"


def test_a_folder_whose_maker_died_before_its_fsync_is_made_durable(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / "blobs/ab").mkdir(parents=True)
    synced: list[str] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), store.root))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", record)
    store.put("blobs/ab/1", b"1")
    assert [one for one in synced if "tmp" not in one] == [".", "blobs", "blobs/ab"]
    synced.clear()
    store.put("blobs/ab/2", b"2")
    assert [one for one in synced if "tmp" not in one] == ["blobs/ab"]


FOLDER = "metadata/018f0000-0000-7000-8000-000000000000"


def test_the_folder_of_a_snapshot_goes_with_its_last_object(store: LocalStore) -> None:
    """Else a store that is purged for years is listed through every snapshot that it ever had."""
    for name in ("one", "two"):
        store.put(f"{FOLDER}/{name}", b"1")
    store.put("blobs/ab/cd", b"1")
    store.delete(f"{FOLDER}/one")
    assert (store.root / FOLDER).is_dir()
    store.delete(f"{FOLDER}/two")
    store.delete("blobs/ab/cd")
    assert not (store.root / FOLDER).exists()
    assert (store.root / "metadata").is_dir()
    assert (store.root / "blobs/ab").is_dir()  # others may put into it at this moment
    store.put(f"{FOLDER}/three", b"3")
    assert store.get(f"{FOLDER}/three") == b"3"


@pytest.mark.parametrize("links", [True, False])
def test_a_folder_that_goes_before_the_name_is_given_is_made_again_durably(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    store.put(f"{FOLDER}/one", b"1")
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    call = "link" if links else "rename"
    real, fsync = getattr(os, call), os.fsync
    done: list[str] = []

    def late(source: Path, target: Path, **how: bool) -> None:
        if "deleted" not in done:
            LocalStore(store.root).delete(f"{FOLDER}/one")
            done.append("deleted")
        real(source, target, **how)

    def record(fd: int) -> None:
        done.append(os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), store.root))
        fsync(fd)

    monkeypatch.setattr(os, call, late)
    monkeypatch.setattr(os, "fsync", record)
    store.put(f"{FOLDER}/two", b"2")
    assert [info.name for info in store.list(FOLDER)] == [f"{FOLDER}/two"]
    assert done[done.index("deleted") + 1 :] == ["metadata", FOLDER]


SYMLINKED: dict[str, Callable[[LocalStore], object]] = {
    "put": lambda store: store.put("blobs/y", b"1"),
    "get": lambda store: store.get("blobs/x"),
    "stat": lambda store: store.stat("blobs/x"),
    "list all": lambda store: list(store.list("")),
    "list it": lambda store: list(store.list("blobs/")),
    "list in it": lambda store: list(store.list("blobs/x")),
    "delete": lambda store: store.delete("blobs/x"),
}


@pytest.mark.parametrize("verb", SYMLINKED)
def test_a_folder_that_is_a_symlink_is_refused_not_left_out(store: LocalStore, tmp_path: Path, verb: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/x").write_bytes(b"1")
    (store.root / "blobs").symlink_to(tmp_path / "outside")
    with pytest.raises(StoreContradiction, match="symbolic link"):
        SYMLINKED[verb](store)
    assert [one.name for one in (tmp_path / "outside").iterdir()] == ["x"]
    assert list(store.list("metadata/")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not look")
def test_a_root_behind_a_closed_folder_is_denied_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "closed/store").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            LocalStore(tmp_path / "closed/store")
        except StoreDenied:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


_FULL = "make room in the store; nothing finished is lost"
_LIMITS = "raise the limit on open files"


@pytest.mark.parametrize(
    ("number", "said", "hint"),
    [
        (errno.ENOSPC, "no space left on device", _FULL),
        (errno.EMFILE, "too many open files", _LIMITS),
        (errno.ENFILE, "too many open files in system", _LIMITS),
    ],
)
@pytest.mark.parametrize("verb", ["put a/c", "get a/b", "be written"])
def test_what_fails_says_in_which_store_and_what_to_do(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, verb: str, number: int, said: str, hint: str
) -> None:
    store.put("a/b", b"1")

    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StoreError) as caught:
        {**VERBS, "be": LocalStore.clock}[verb.split()[0]](store)
    assert (caught.value.message, caught.value.hint) == (f"store {store.root} cannot {verb}: {said}", hint)


def test_a_store_that_cannot_be_opened_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name, call, how in (("loop", LocalStore, "opened"), ("loop/below", create_local, "made")):
        with pytest.raises(StoreError) as caught:
            call(tmp_path / name)
        assert caught.value.message == f"store {tmp_path / name} cannot be {how}: too many levels of symbolic links"
