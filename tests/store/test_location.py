"""What a store's URL may say, and what it may not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaultpy.errors import NoStore, UsageError
from vaultpy.store.local import LocalStore
from vaultpy.store.location import FileLocation, Location, S3Location, parse_location
from vaultpy.store.open import make_place, open_store

EVERYTHING = S3Location(
    "bucket",
    "a/b",
    endpoint="https://127.0.0.1:9000",
    region="eu-central-1",
    addressing="virtual",
    storage_class="STANDARD_IA",
    sse="aws:kms",
    lock_days=30,
    ca=Path("/etc/ssl/my ca&co.pem"),
)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("file:///backups/laptop", FileLocation(Path("/backups/laptop"))),
        ("/backups/laptop", FileLocation(Path("/backups/laptop"))),
        ("file:///with space/?#x", FileLocation(Path("/with space/?#x"))),
        ("file:///with%20space/100%25", FileLocation(Path("/with space/100%"))),
        ("/with space/100%25", FileLocation(Path("/with space/100%25"))),
        ("file:///100%/%zz/%e4%F6", FileLocation(Path(os.fsdecode(b"/100%/%zz/\xe4\xf6")))),
        ("file:///ä/%C3%A4/a:b@c+d", FileLocation(Path("/ä/ä/a:b@c+d"))),
        ("file://localhost/backups", FileLocation(Path("/backups"))),
        ("s3://bucket", S3Location("bucket")),
        ("s3://bucket/", S3Location("bucket")),
        ("s3://bucket/a/b/", S3Location("bucket", "a/b")),
        ("s3://my.bucket-1?region=eu-west-1", S3Location("my.bucket-1", region="eu-west-1")),
        ("s3://bucket/p?endpoint=http://[::1]:9000/", S3Location("bucket", "p", endpoint="http://[::1]:9000")),
        ("s3://bucket?endpoint=https%3A%2F%2Fh%3A1%2Fs3", S3Location("bucket", endpoint="https://h:1/s3")),
        ("s3://bucket?addressing=path&lock_days=1", S3Location("bucket", addressing="path", lock_days=1)),
        ("s3://bucket?ca=/a+b%20c", S3Location("bucket", ca=Path("/a+b c"))),
        (EVERYTHING.url, EVERYTHING),
    ],
)
def test_a_url_and_what_it_says_are_one_to_one(url: str, location: Location) -> None:
    assert parse_location(url) == location
    assert parse_location(location.url) == location


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("", "neither", "file:///"),
        ("backups", "neither", "file:///"),
        ("./backups", "neither", "file:///"),
        ("file://backups", "not absolute", "file:///"),
        ("file:backups", "not absolute", "file:///"),
        ("file://localhosted/backups", "not absolute", "file:///"),
        ("file://%2Fbackups%00", "not absolute", "file:///"),
        ("/a\0b", "neither", "file:///"),
        ("sftp://host/path", "scheme 'sftp' is unknown", "s3://"),
        ("S3://bucket", "scheme 'S3' is unknown", "s3://"),
        ("s3://", "not a bucket's name", "s3://bucket"),
        ("s3:///prefix", "not a bucket's name", "s3://bucket"),
        ("s3://ab", "not a bucket's name", "s3://bucket"),
        ("s3://under score", "not a bucket's name", "s3://bucket"),
        ("s3://bucket/a//b", "prefix 'a//b'", "single slashes"),
        ("s3://bucket/../x", "prefix", "single slashes"),
        ("s3://bucket/a%20b", "prefix", "letters"),
        ("s3://bucket?regoin=x", "setting 'regoin' is unknown", "did you mean region?"),
        ("s3://bucket?end_point=http://h", "setting 'end_point' is unknown", "did you mean endpoint?"),
        ("s3://bucket?zzz=1", "setting 'zzz' is unknown", "there are endpoint, region"),
        ("s3://bucket?region", "setting region has no value", ""),
        ("s3://bucket?region=", "setting region has no value", ""),
        ("s3://bucket?region=a&region=b", "given twice", ""),
        ("s3://bucket?region=eu west", "region 'eu west'", ""),
        ("s3://bucket?endpoint=minio:9000", "endpoint is not", "https://host:port"),
        ("s3://bucket?endpoint=ftp://minio", "endpoint is not", "https://host:port"),
        ("s3://bucket?endpoint=http://", "endpoint is not", "https://host:port"),
        ("s3://bucket?endpoint=http://h:99999", "endpoint is not", "https://host:port"),
        ("s3://bucket?endpoint=http://[::1", "endpoint is not", "https://host:port"),
        ("s3://bucket?endpoint=http://h%3Fx=1", "endpoint is not", "https://host:port"),
        ("s3://bucket?addressing=dns", "addressing 'dns'", "path and virtual"),
        ("s3://bucket?sse=rot13", "sse 'rot13'", "AES256"),
        ("s3://bucket?lock_days=0", "lock_days '0'", "1 to"),
        ("s3://bucket?lock_days=-1", "lock_days '-1'", "1 to"),
        ("s3://bucket?lock_days=100000", "lock_days", "1 to"),
        ("s3://bucket?ca=server.pem", "not an absolute path", "PEM"),
    ],
)
def test_what_a_url_cannot_mean_is_said(url: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_location(url)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAHUSH:hush@bucket/prefix",
        "s3://hush@bucket",
        "s3://bucket?secret_key=hush",
        "s3://bucket?access_key=hush",
        "s3://bucket?aws_access_key_id=hush",
        "s3://bucket?AWS_SECRET_ACCESS_KEY=hush",
        "s3://bucket?session_token=hush",
        "s3://bucket?password=hush",
        "s3://bucket?key=hush",
        "s3://bucket?endpoint=https://me:hush@host",
        "s3://bucket?endpoint=https%3A%2F%2Fhush%40host",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match="credentials") as caught:
        parse_location(url)
    assert "hush" not in caught.value.message.lower()
    assert "AWS_SECRET_ACCESS_KEY" in (caught.value.hint or "")
    assert "hush" not in (caught.value.hint or "")


def test_a_folder_that_does_not_exist_is_no_store_until_it_is_made(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/a/b"
    with pytest.raises(NoStore, match=r"a/b does not exist"):
        open_store(url)
    made = make_place(url)
    made.put("x", b"1")
    opened = open_store(url)
    assert isinstance(opened, LocalStore)
    assert opened.get("x") == b"1"
    assert opened.url == url
    assert make_place(url).get("x") == b"1"


@pytest.mark.parametrize("name", ["my disk", "100%25", "50% off", "a?b#c", "ä", os.fsdecode(b"\xff")])
def test_a_store_in_a_folder_of_any_name_is_opened_by_its_own_url(name: str, tmp_path: Path) -> None:
    make_place(str(tmp_path / name)).put("x", b"1")
    again = open_store(open_store(str(tmp_path / name)).url)
    assert (again.get("x"), again.url.isascii()) == (b"1", True)
    assert not set(" ?#'\"&;") & set(again.url)


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NoStore):
        open_store(str(tmp_path / "file"))


def test_boto3_is_imported_only_for_s3() -> None:
    code = "import sys, vaultpy.store.open as o; o.open_store('/'); sys.exit('boto3' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
