"""S3 with a real server behind it: what the contract does not ask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.awsrequest import AWSPreparedRequest
from s3kit import FakeTime
from s3server import Server, serve_rclone

from vaultpy.errors import StoreDenied, StoreError
from vaultpy.store.location import S3Location, parse_location
from vaultpy.store.open import make_place, open_store
from vaultpy.store.retry import Retrier
from vaultpy.store.s3 import S3Store, make_client


@pytest.fixture(scope="module")
def https(s3_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve_rclone(tmp_path_factory.mktemp("https"), tls=True) as server:
        yield server


def test_an_untrusted_certificate_is_said_at_once(
    https: Server, monkeypatch: pytest.MonkeyPatch, fake_time: FakeTime
) -> None:
    for name, value in https.environment.items():
        monkeypatch.setenv(name, value)
    location = parse_location(https.url("bucket").partition("&ca=")[0])
    assert isinstance(location, S3Location)
    client = make_client(location)
    retrier = Retrier(clock=fake_time.clock, sleep=fake_time.sleep)
    with pytest.raises(StoreError, match="certificate is not trusted") as caught:
        S3Store(location, client, retrier=retrier).clock()
    assert "ca=" in (caught.value.hint or "")
    assert fake_time.slept == []
    client.close()


def test_a_wrong_secret_is_refused_by_a_real_server(
    s3_server: Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreDenied, match="credentials were refused"):
        make_place(s3_url)


def test_a_place_is_made_only_in_a_bucket_that_is_there(s3_server: Server, s3_url: str) -> None:
    assert make_place(s3_url).url == s3_url
    with pytest.raises(StoreError, match="bucket missing-bucket"):
        make_place(s3_server.url("missing-bucket"))


def test_a_thousand_and_one_objects_and_more_come_in_order(s3_url: str) -> None:
    store = open_store(s3_url)
    names = [f"blobs/{number % 7}/{number:05}" for number in range(1003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b"x"), names))
    assert [entry.name for entry in store.list("")] == sorted(names)
    assert len(list(store.list("blobs/3/"))) == 143


def test_prefixes_of_one_bucket_do_not_see_each_other(s3_server: Server, s3_url: str) -> None:
    bucket = s3_url.removeprefix("s3://").partition("?")[0]
    for prefix in ("a", "ab", ""):
        open_store(s3_server.url(bucket, prefix)).put("name", prefix.encode())
    for prefix, seen in (("a", ["name"]), ("ab", ["name"]), ("", ["a/name", "ab/name", "name"])):
        store = open_store(s3_server.url(bucket, prefix))
        assert [entry.name for entry in store.list("")] == seen
        assert store.get("name") == prefix.encode()


def test_bodies_are_signed_over_https_too(https: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in https.environment.items():
        monkeypatch.setenv(name, value)
    location = parse_location(https.url(https.make_bucket()))
    assert isinstance(location, S3Location)
    client = make_client(location)
    signed: list[str] = []
    client.meta.events.register("before-send.s3.PutObject", lambda request, **_: signed.append(_signed_hash(request)))
    S3Store(location, client).put("x", [b"in ", b"pieces"])
    assert signed == [hashlib.sha256(b"in pieces").hexdigest()]
    client.close()


def _signed_hash(request: AWSPreparedRequest) -> str:
    header = request.headers["X-Amz-Content-SHA256"]
    return header.decode() if isinstance(header, bytes) else str(header)
