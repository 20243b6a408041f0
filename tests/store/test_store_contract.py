"""What every store promises, asked of every store.  A new one is a line in PLACES."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import pytest
from s3server import Server, serve_minio, serve_rclone

from vaultpy.errors import ObjectExists, ObjectNotFound, StoreContradiction, StoreError
from vaultpy.store.base import Body, Store
from vaultpy.store.local import create_local
from vaultpy.store.location import S3Location, parse_location
from vaultpy.store.memory import MemoryStore
from vaultpy.store.s3 import S3Store, make_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SIZES = (0, 1, 65535, 65536, 65537, 5 * 1024 * 1024 + 1)
MANY = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._=+@,-"


@dataclass(frozen=True)
class Place:
    """A store under test, and whether it can promise never to overwrite (a server without If-None-Match cannot)."""

    store: Store
    never_overwrites: bool = True


def memory(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield Place(MemoryStore(time.time_ns))


def local(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield Place(create_local(request.getfixturevalue("tmp_path") / "store"))


def local_without_links(request: pytest.FixtureRequest) -> Iterator[Place]:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    request.getfixturevalue("monkeypatch").setattr(os, "link", link)
    yield from local(request)


def s3(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield in_bucket(request.getfixturevalue("s3_client_place"), never_overwrites=False)


def s3_over_https(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield in_bucket(request.getfixturevalue("https_client_place"), never_overwrites=False)


def minio(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield in_bucket(request.getfixturevalue("minio_client_place"), never_overwrites=True)


PLACES: dict[str, Callable[[pytest.FixtureRequest], Iterator[Place]]] = {
    "memory": memory,
    "local": local,
    "local without links": local_without_links,
    "s3": s3,
    "s3 over https": s3_over_https,
    "minio": minio,
}


@dataclass(frozen=True)
class ClientPlace:
    """A server with a client that all its tests share: making one takes longer than most of them."""

    server: Server
    client: S3Client


@contextlib.contextmanager
def client_of(server: Server) -> Iterator[ClientPlace]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        client = make_client(s3_location(server, "any"))
    with contextlib.closing(client):
        yield ClientPlace(server, client)


def s3_location(server: Server, bucket: str) -> S3Location:
    location = parse_location(server.url(bucket, "some/prefix"))
    assert isinstance(location, S3Location)
    return location


def in_bucket(place: ClientPlace, *, never_overwrites: bool) -> Place:
    bucket = place.server.make_bucket(place.client)
    return Place(S3Store(s3_location(place.server, bucket), place.client), never_overwrites)


@pytest.fixture(scope="session")
def s3_client_place(s3_server: Server) -> Iterator[ClientPlace]:
    with client_of(s3_server) as place:
        yield place


@pytest.fixture(scope="session")
def https_client_place(s3_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientPlace]:
    with serve_rclone(tmp_path_factory.mktemp("https"), tls=True) as server, client_of(server) as place:
        yield place


@pytest.fixture(scope="session")
def minio_client_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientPlace]:
    if shutil.which("minio") is None:
        pytest.skip("minio is not on PATH: the contract was not tried against it")
    with serve_minio(tmp_path_factory.mktemp("minio")) as server, client_of(server) as place:
        yield place


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    yield from PLACES[request.param](request)


@pytest.fixture
def store(place: Place) -> Store:
    return place.store


def as_pieces(data: bytes) -> list[bytes]:
    """Uneven pieces, an empty one among them."""
    return [data[:1], b"", data[1:70000], data[70000:]]


def names(store: Store, prefix: str = "") -> list[str]:
    return [entry.name for entry in store.list(prefix)]


@pytest.mark.parametrize("size", SIZES)
def test_get_returns_what_was_put_in_one_piece_in_several_and_from_a_file(
    store: Store, size: int, tmp_path: Path
) -> None:
    data = os.urandom(size)
    path = tmp_path / "body"
    path.write_bytes(data)
    bodies: dict[str, Body] = {"whole": data, "pieces": as_pieces(data), "file": path}
    for name, body in bodies.items():
        store.put(f"a/{name}", body)
        assert store.get(f"a/{name}") == data
    assert [entry.size for entry in store.list("a/")] == [size] * 3


def test_a_body_of_no_pieces_is_empty(store: Store) -> None:
    store.put("none", [])
    assert store.get("none") == b""


@pytest.mark.parametrize(
    ("start", "length"), [(0, 0), (0, 1), (0, 10), (3, 4), (9, 1), (10, 0), (0, None), (9, None), (10, None)]
)
def test_a_range_is_exactly_those_bytes(store: Store, start: int, length: int | None) -> None:
    store.put("digits", b"0123456789")
    end = 10 if length is None else start + length
    assert store.get("digits", start, length) == b"0123456789"[start:end]


@pytest.mark.parametrize(
    ("start", "length"), [(0, 11), (9, 2), (10, 1), (11, 0), (11, None), (50, 5), (-1, 1), (0, -1)]
)
def test_a_range_past_the_end_is_an_error_and_never_fewer_bytes(store: Store, start: int, length: int | None) -> None:
    store.put("digits", b"0123456789")
    with pytest.raises(StoreContradiction):
        store.get("digits", start, length)


@pytest.mark.parametrize("length", [None, 0, 1])
def test_what_is_not_there_is_not_found(store: Store, length: int | None) -> None:
    store.put("folder/abc", b"x")
    for name in ("missing", "folder/ab", "folder/abcd", "folder/abc/d"):
        assert store.stat(name) is None
        with pytest.raises(ObjectNotFound):
            store.get(name, 0, length)


def test_put_never_overwrites(place: Place) -> None:
    if not place.never_overwrites:
        pytest.skip("this server ignores If-None-Match")
    place.store.put("name", b"first")
    for other in (b"other", b"", b"first and more", b"firs"):
        with pytest.raises(ObjectExists):
            place.store.put("name", other)
    assert place.store.get("name") == b"first"


@pytest.mark.parametrize("size", [0, 1, 2 * 1024 * 1024 + 1])
def test_the_same_bytes_again_are_a_success(store: Store, size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "body").write_bytes(data)
    for body in (data, as_pieces(data), tmp_path / "body"):
        store.put("name", body)
    assert store.get("name") == data
    assert names(store) == ["name"]


def test_delete_removes_and_succeeds_again(store: Store) -> None:
    store.put("a/one", b"1")
    store.put("a/two", b"2")
    for _ in range(2):
        store.delete("a/one")
        store.delete("never/was")
    assert names(store) == ["a/two"]
    assert store.stat("a/one") is None
    with pytest.raises(ObjectNotFound):
        store.get("a/one")
    store.put("a/one", b"again")
    assert store.get("a/one") == b"again"


def test_a_listing_is_in_byte_order_and_a_prefix_is_a_prefix_of_the_name(store: Store) -> None:
    put = ["a", "a-b", "a.b", "a/b.c", "a/b/c", "aa", "B", "b,c/d", "b/c", "0", "z/y/x/w"]
    put.remove("a")  # a folder's name cannot be a file's, too
    for name in put:
        store.put(name, name.encode())
    assert names(store) == sorted(put)
    for prefix in ("a", "a/", "a/b", "a/b/", "a-", "b", "z/y", "nothing", "a/b/c/d", "B", "z/y/x/w"):
        assert names(store, prefix) == sorted(name for name in put if name.startswith(prefix)), prefix


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert names(store) == []
    assert names(store, "blobs/") == []


def test_stat_is_the_entry_of_the_listing_and_both_tell_the_stores_time(store: Store) -> None:
    before = store.clock()
    store.put("a/b", b"12345")
    after = store.clock()
    found = store.stat("a/b")
    assert found is not None
    assert [found] == list(store.list(""))
    assert (found.name, found.size) == ("a/b", 5)
    # A second of slack: HTTP's dates have no fractions, and kernels stamp files with a coarse clock.
    assert before - 10**9 <= found.modified <= after + 10**9
    assert abs(after - time.time_ns()) < 5 * 10**9


def test_of_two_who_put_one_name_the_object_is_wholly_ones(place: Place) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(6)]
    barrier = threading.Barrier(len(bodies))

    def put(body: bytes) -> bool:
        barrier.wait()
        try:
            place.store.put("contested", [body[:100_000], body[100_000:]])
        except StoreError:
            return False
        return True

    with ThreadPoolExecutor(len(bodies)) as pool:
        won = list(pool.map(put, bodies))
    stored = place.store.get("contested")
    assert stored in bodies
    assert won[bodies.index(stored)]
    if place.never_overwrites:
        assert won.count(True) == 1


def test_threads_do_not_disturb_each_other(store: Store) -> None:
    bodies = {f"t/{number:02}": os.urandom(number * 7919) for number in range(40)}

    def there_and_back(name: str) -> bytes:
        store.put(name, as_pieces(bodies[name]))
        assert store.stat(name) is not None
        return store.get(name)

    with ThreadPoolExecutor(8) as pool:
        assert dict(zip(bodies, pool.map(there_and_back, bodies), strict=True)) == bodies
    assert {entry.name: entry.size for entry in store.list("t/")} == {name: len(body) for name, body in bodies.items()}


class StalledPieces(Sequence[bytes]):
    """Two pieces, the second of which comes when `go` is set; `reached` tells that somebody waits for it.

    A body may be read more than once before it is sent (for its length, and a hash): `free` such readings do not wait.
    """

    def __init__(self, free: int) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()
        self._free = free

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if index == 1:
            if self._free == 0:
                self.reached.set()
                assert self.go.wait(20)
            self._free = max(0, self._free - 1)
        return [b"x" * 200_000, b"y" * 200_000][index]

    def __len__(self) -> int:
        return 2


@pytest.mark.parametrize("free", range(6))
def test_an_unfinished_put_is_not_seen(store: Store, free: int) -> None:
    body = StalledPieces(free)
    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(store.put, "a/late", body)
        try:
            while not body.reached.wait(0.01) and not putting.done():
                pass
            stalled = not putting.done()
            seen = names(store), store.stat("a/late")
        finally:
            body.go.set()
        putting.result()
    assert seen == ([], None) or not stalled
    assert store.get("a/late") == b"x" * 200_000 + b"y" * 200_000


def test_every_legal_name_is_taken(store: Store) -> None:
    legal = [
        MANY,
        "c" * 200,
        "/".join("d" * 40 for _ in range(5)),
        "_",
        "-",
        "@/+",
        "e/f..g",
        "h..",
        "purges/x.json.zst",
    ]
    for name in legal:
        store.put(name, name.encode())
    assert names(store) == sorted(legal)
    for name in legal:
        assert store.get(name) == name.encode()
        store.delete(name)
    assert names(store) == []


ILLEGAL = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    ".hidden",
    "a/.b",
    "a b",
    "a\0",
    "ä",
    "a\n",
    "a\\b",
    "x" * 513,
]


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_name_is_refused(store: Store, name: str) -> None:
    verbs: list[Callable[[], object]] = [
        lambda: store.put(name, b"x"),
        lambda: store.get(name),
        lambda: store.stat(name),
        lambda: store.delete(name),
    ]
    for verb in verbs:
        with pytest.raises(StoreError) as caught:
            verb()
        assert not isinstance(caught.value, ObjectNotFound)
    assert names(store) == []
