"""What goes up: the headers, and what is made of every answer to a PUT."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import pytest
from s3kit import Scripted
from scripted import Answer, error, error_xml, listing, part, stored

from vaultpy.errors import ObjectExists, StoreDenied, StoreError, StoreFull, StoreUnavailable
from vaultpy.store.base import Body

DATA = os.urandom(200_000)


@pytest.mark.parametrize("kind", ["bytes", "pieces", "file", "small", "empty"])
def test_every_put_is_signed_over_its_bytes_and_carries_their_md5(
    scripted: Scripted, kind: str, tmp_path: Path
) -> None:
    data = {"small": b"small", "empty": b""}.get(kind, DATA)
    (tmp_path / "body").write_bytes(data)
    bodies: dict[str, Body] = {"pieces": [data[:5], b"", data[5:]], "file": tmp_path / "body"}
    scripted.server.answers += [stored()]
    scripted.store.put("x", bodies.get(kind, data))
    (asked,) = scripted.server.asked
    assert (asked.method, asked.path, asked.body) == ("PUT", "/bucket/p/x", data)
    assert asked.headers["content-md5"] == base64.b64encode(hashlib.md5(data).digest()).decode()
    assert asked.headers["x-amz-content-sha256"] == hashlib.sha256(data).hexdigest()
    assert asked.headers["if-none-match"] == "*"
    assert asked.headers["content-length"] == str(len(data))


def test_no_put_has_the_trailers_and_checksums_that_break_servers(scripted: Scripted) -> None:
    scripted.server.answers += [stored()]
    scripted.store.put("x", [DATA])
    headers = scripted.server.asked[0].headers
    assert not [name for name in headers if "checksum" in name or "trailer" in name or "decoded" in name]
    assert "aws-chunked" not in headers.get("content-encoding", "")
    assert headers.get("transfer-encoding") is None


def test_only_a_large_body_asks_before_it_is_sent(scripted: Scripted) -> None:
    scripted.server.answers += [stored(), stored()]
    scripted.store.put("small", b"x" * 65536)
    scripted.store.put("large", b"x" * 65537)
    assert [asked.headers.get("expect") for asked in scripted.server.asked] == [None, "100-continue"]


def test_the_urls_settings_become_headers_and_the_storage_class_is_for_blobs_only(scripted: Scripted) -> None:
    store = scripted.variant(storage_class="GLACIER_IR", sse="aws:kms", lock_days=30)
    scripted.server.answers += [stored(), stored()]
    store.put("blobs/aa/bb/x", b"blob")
    store.put("metadata/m", b"metadata")
    blob, metadata = (asked.headers for asked in scripted.server.asked)
    assert blob["x-amz-storage-class"] == "GLACIER_IR"
    assert "x-amz-storage-class" not in metadata
    for headers in (blob, metadata):
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-object-lock-mode"] == "GOVERNANCE"
        # 30 days after the fixture's clock, 2025-06-15T15:06:40Z.
        assert headers["x-amz-object-lock-retain-until-date"].startswith("2025-07-15T15:06:40")


def test_by_default_no_setting_is_sent(scripted: Scripted) -> None:
    scripted.server.answers += [stored()]
    scripted.store.put("blobs/aa/bb/x", b"blob")
    sent = scripted.server.asked[0].headers
    assert not [
        name for name in sent if name.startswith("x-amz-") and name not in ("x-amz-date", "x-amz-content-sha256")
    ]


@pytest.mark.parametrize("refusal", [error(412, "PreconditionFailed"), error(409, "ConditionalRequestConflict")])
def test_our_own_object_after_a_lost_answer_is_a_success(scripted: Scripted, refusal: Answer) -> None:
    lost = Answer(0, reset=True)
    scripted.server.answers += [lost, refusal, listing(("p/x", len(DATA))), part(DATA)]
    scripted.store.put("x", DATA)
    assert [asked.method for asked in scripted.server.asked] == ["PUT", "PUT", "GET", "GET"]
    assert len(scripted.time.slept) == 1


def test_another_object_of_that_name_is_said_aloud(scripted: Scripted) -> None:
    scripted.server.answers += [error(412, "PreconditionFailed"), listing(("p/x", len(DATA) + 1))]
    with pytest.raises(ObjectExists):
        scripted.store.put("x", DATA)
    other = DATA[:-1] + bytes([DATA[-1] ^ 1])
    scripted.server.answers += [error(412, "PreconditionFailed"), listing(("p/x", len(DATA))), part(other)]
    with pytest.raises(ObjectExists):
        scripted.store.put("x", DATA)


def test_a_host_that_may_not_read_blobs_takes_a_blob_of_the_right_size_for_its_own(scripted: Scripted) -> None:
    refused = [error(412, "PreconditionFailed"), listing(("p/blobs/aa/x", len(DATA))), error(403, "AccessDenied")]
    scripted.server.answers += refused
    scripted.store.put("blobs/aa/x", DATA)


def test_but_no_other_object_is_taken_for_our_own_unread(scripted: Scripted) -> None:
    refused = [error(412, "PreconditionFailed"), listing(("p/metadata/m", len(DATA))), error(403, "AccessDenied")]
    scripted.server.answers += refused
    with pytest.raises(StoreDenied):
        scripted.store.put("metadata/m", DATA)


def test_a_conflict_about_an_object_that_is_not_there_is_tried_again(scripted: Scripted) -> None:
    scripted.server.answers += [error(409, "ConditionalRequestConflict"), listing(), stored()]
    scripted.store.put("x", DATA)
    assert len(scripted.time.slept) == 1


def test_a_server_without_if_none_match_is_remembered(scripted: Scripted) -> None:
    scripted.server.answers += [error(501, "NotImplemented"), stored(), stored()]
    scripted.store.put("x", b"1")
    scripted.store.put("y", b"2")
    assert [asked.headers.get("if-none-match") for asked in scripted.server.asked] == ["*", None, None]
    assert scripted.time.slept == []


def test_not_implemented_without_a_condition_is_an_error(scripted: Scripted) -> None:
    scripted.server.answers += [error(501, "NotImplemented")] * 2
    with pytest.raises(StoreError, match="NotImplemented"):
        scripted.store.put("x", b"1")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, error_xml("InternalError"), {"Content-Type": "application/xml"}),
        Answer(200, b"<html>log in here</html>", {"Content-Type": "text/html"}),
        Answer(200),
        Answer(0, reset=True),
        error(400, "BadDigest"),
        error(400, "IncompleteBody"),
        error(400, "RequestTimeout"),
        error(500, "InternalError"),
        error(503, "SlowDown"),
        Answer(502, b"<html>bad gateway</html>"),
        Answer(504),
        error(429, "TooManyRequests"),
        error(409, "OperationAborted"),
    ],
)
def test_a_passing_fault_is_tried_again_with_the_whole_body(scripted: Scripted, answer: Answer) -> None:
    scripted.server.answers += [answer, answer, stored()]
    scripted.store.put("x", [DATA[:1000], DATA[1000:]])
    assert [asked.body for asked in scripted.server.asked] == [DATA] * 3
    assert scripted.time.slept == [0.5, 1.0]


def test_an_answer_that_is_no_store_at_all_never_passes_for_a_stored_object(scripted: Scripted) -> None:
    scripted.server.answers += [Answer(200, b"<html>log in here</html>")] * 9
    with pytest.raises(StoreUnavailable):
        scripted.store.put("x", b"1")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(507),
        error(403, "QuotaExceeded"),
        error(507, "XMinioStorageFull"),
        error(400, "XMinioAdminBucketQuotaExceeded"),
        error(403, "AccessDenied", "Cannot upload files, storage cap exceeded. See the Caps page"),
        error(500, "InternalError", "write /data/x: no space left on device"),
        error(403, "ServiceQuotaExceeded"),
    ],
)
def test_a_full_store_stops_at_once(scripted: Scripted, answer: Answer) -> None:
    scripted.server.answers += [answer]
    with pytest.raises(StoreFull):
        scripted.store.put("x", b"1")
    assert scripted.time.slept == []


def test_what_one_put_cannot_carry_is_refused_before_a_byte_is_sent(scripted: Scripted, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(5 * 1024**3 + 1)
    with pytest.raises(StoreError, match="5 GiB"):
        scripted.store.put("x", tmp_path / "sparse")
    assert scripted.server.asked == []


def test_a_file_that_cannot_be_read_is_named_and_nothing_is_sent(scripted: Scripted, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        scripted.store.put("x", tmp_path / "missing")
    with pytest.raises(StoreError, match="is a directory"):
        scripted.store.put("x", tmp_path)
    assert scripted.server.asked == []


@pytest.mark.parametrize("answer", [Answer(204), error(404, "NoSuchKey")])
def test_deleting_what_is_not_there_is_a_success(scripted: Scripted, answer: Answer) -> None:
    scripted.server.answers += [error(503, "SlowDown"), answer]
    scripted.store.delete("x")
    assert [asked.method for asked in scripted.server.asked] == ["DELETE"] * 2


@pytest.mark.parametrize("answer", [error(404, "NoSuchBucket"), error(403, "AccessDenied"), Answer(404)])
def test_deleting_says_when_it_was_refused(scripted: Scripted, answer: Answer) -> None:
    scripted.server.answers += [answer]
    with pytest.raises(StoreError):
        scripted.store.delete("x")
