"""What comes down is exactly the object's bytes, whatever the server, the line or a proxy does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from s3kit import Scripted
from scripted import Answer, error, error_xml, listing, part

from vaultpy.errors import (
    NoStore,
    ObjectNotFound,
    StoreContradiction,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)

WHOLE = bytes(range(256)) * 12 * 1024  # 3 MiB
XML = {"Content-Type": "application/xml"}


def ranges(scripted: Scripted) -> list[str]:
    return [asked.headers["range"] for asked in scripted.server.asked]


@pytest.mark.parametrize("sent", [0, 1, 1024 * 1024 + 1, len(WHOLE) - 1])
def test_a_body_cut_short_goes_on_where_it_broke(scripted: Scripted, sent: int) -> None:
    scripted.server.answers += [part(WHOLE, send=sent), part(WHOLE, sent)]
    assert scripted.store.get("x") == WHOLE
    assert ranges(scripted) == ["bytes=0-", f"bytes={sent}-"]


def test_a_body_cut_without_content_length_goes_on_where_it_broke(scripted: Scripted) -> None:
    scripted.server.answers += [part(WHOLE, send=1000, length=None), part(WHOLE, 1000, length=None)]
    assert scripted.store.get("x") == WHOLE
    assert ranges(scripted) == ["bytes=0-", "bytes=1000-"]


def test_a_connection_that_is_reset_goes_on_where_it_broke(scripted: Scripted) -> None:
    scripted.server.answers += [part(WHOLE, send=0, reset=True), Answer(0, reset=True), part(WHOLE)]
    assert scripted.store.get("x") == WHOLE


def test_a_range_that_is_cut_goes_on_inside_the_range(scripted: Scripted) -> None:
    scripted.server.answers += [part(WHOLE, 100, 200, send=30), part(WHOLE, 130, 200, send=60), part(WHOLE, 190, 200)]
    assert scripted.store.get("x", 100, 100) == WHOLE[100:200]
    assert ranges(scripted) == ["bytes=100-199", "bytes=130-199", "bytes=190-199"]


def test_a_line_that_always_breaks_is_given_up_after_the_deadline(scripted: Scripted) -> None:
    scripted.server.answers += [part(WHOLE, send=0)] * 9
    with pytest.raises(StoreUnavailable, match="tried 9 times in 46 s"):
        scripted.store.get("x")
    assert 40 <= sum(scripted.time.slept) <= 50


@pytest.mark.parametrize("length", [-1, None])
def test_an_error_under_status_200_is_no_object(scripted: Scripted, length: int | None) -> None:
    failed = Answer(200, error_xml("InternalError"), XML, length=length)
    scripted.server.answers += [failed, failed, part(WHOLE)]
    assert scripted.store.get("x") == WHOLE
    assert len(scripted.time.slept) == 2


def test_not_even_no_such_key_is_definite_under_status_200(scripted: Scripted) -> None:
    scripted.server.answers += [Answer(200, error_xml("NoSuchKey"), XML), part(WHOLE)]
    assert scripted.store.get("x") == WHOLE


def test_access_denied_under_status_200_is_denied(scripted: Scripted) -> None:
    scripted.server.answers += [Answer(200, error_xml("AccessDenied"), XML)]
    with pytest.raises(StoreDenied):
        scripted.store.get("x")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, WHOLE),
        Answer(200, b"<html>log in here</html>", length=None),
        Answer(206, WHOLE),
        Answer(206, WHOLE, {"Content-Range": "bytes 1-3145727/3145728"}),
        Answer(206, WHOLE, {"Content-Range": "bytes 0-3145726/3145728"}),
        Answer(206, WHOLE, {"Content-Range": "bytes 0-3145727/*"}),
        Answer(206, WHOLE[:5], {"Content-Range": "bytes 0-3145727/3145728"}),
        Answer(206, WHOLE + b"!", {"Content-Range": "bytes 0-3145727/3145728"}, length=None),
        Answer(206, WHOLE + b"!", {"Content-Range": "bytes 0-3145727/3145728"}),
    ],
)
def test_an_answer_that_does_not_fit_the_question_is_a_contradiction(scripted: Scripted, answer: Answer) -> None:
    scripted.server.answers += [answer]
    with pytest.raises(StoreContradiction):
        scripted.store.get("x")


def test_an_object_that_changes_its_size_on_the_way_is_a_contradiction(scripted: Scripted) -> None:
    scripted.server.answers += [part(WHOLE, send=10), part(WHOLE + b"!", 10)]
    with pytest.raises(StoreContradiction, match="3145729 bytes, and had 3145728 before"):
        scripted.store.get("x")


def test_a_range_past_the_end_is_never_fewer_bytes(scripted: Scripted) -> None:
    scripted.server.answers += [part(b"0123456789", 8), error(416, "InvalidRange"), listing(("p/x", 10))]
    for start in (8, 10):
        with pytest.raises(StoreContradiction, match="has 10 bytes"):
            scripted.store.get("x", start, 3)


def test_an_empty_object_is_empty_and_only_when_the_listing_says_so(scripted: Scripted) -> None:
    scripted.server.answers += [error(416, "InvalidRange"), listing(("p/x", 0))]
    assert scripted.store.get("x") == b""
    for found in (listing(), listing(("p/x", 1))):
        scripted.server.answers += [error(416, "InvalidRange"), found]
        with pytest.raises(StoreContradiction):
            scripted.store.get("x")


def test_no_such_key_is_the_only_not_found(scripted: Scripted) -> None:
    scripted.server.answers += [error(404, "NoSuchKey")]
    with pytest.raises(ObjectNotFound):
        scripted.store.get("x")


def test_a_missing_bucket_is_no_missing_object(scripted: Scripted) -> None:
    scripted.server.answers += [error(404, "NoSuchBucket")]
    with pytest.raises(NoStore, match="bucket bucket: get x: the bucket does not exist"):
        scripted.store.get("x")


@pytest.mark.parametrize(
    "answer",
    [
        error(403, "AccessDenied"),
        error(403, "NoSuchKey"),
        Answer(403),
        Answer(404, b"<html>not found</html>"),
        Answer(404),
        error(404, "NotFound"),
        error(405, "MethodNotAllowed"),
        error(400, "InvalidObjectState"),
        error(403, "InvalidObjectState", "in Glacier"),
    ],
)
def test_other_refusals_are_not_taken_for_not_found_and_not_repeated(scripted: Scripted, answer: Answer) -> None:
    scripted.server.answers += [answer]
    with pytest.raises(StoreError) as caught:
        scripted.store.get("x")
    assert not isinstance(caught.value, ObjectNotFound)
    assert scripted.time.slept == []


def test_an_object_in_an_archive_says_how_to_get_at_it(scripted: Scripted) -> None:
    scripted.server.answers += [error(403, "InvalidObjectState")]
    with pytest.raises(StoreError, match="in an archive") as caught:
        scripted.store.get("blobs/x")
    assert caught.value.hint is not None
    assert "restore" in caught.value.hint


def test_the_store_s_own_checksums_are_not_asked_for(scripted: Scripted) -> None:
    # `rclone serve s3` gives the whole object's checksum with a range, which botocore would then find wrong.
    answer = part(WHOLE, 5, 15)
    wrong = {**answer.headers, "x-amz-checksum-crc32": "AAAAAA=="}
    scripted.server.answers += [replace(answer, headers=wrong)]
    assert scripted.store.get("x", 5, 10) == WHOLE[5:15]
    assert "x-amz-checksum-mode" not in scripted.server.asked[0].headers
