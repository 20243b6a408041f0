"""A listing is whole or an error: what seems to be missing is uploaded again, or deleted by a prune."""

from __future__ import annotations

import pytest
from s3kit import Scripted
from scripted import Answer, error, error_xml, listing

from vaultpy.errors import NoStore, StoreContradiction, StoreDenied, StoreError, StoreUnavailable
from vaultpy.store.base import ObjectInfo

MODIFIED = 1767323045678 * 10**6  # 2026-01-02T03:04:05.678Z, as scripted listings say


def test_pages_are_joined_by_their_tokens(scripted: Scripted) -> None:
    scripted.server.answers += [listing(("p/a", 1), ("p/b", 2), token="t1"), listing(("p/c", 3), token="t2"), listing()]
    assert list(scripted.store.list("")) == [
        ObjectInfo("a", 1, MODIFIED),
        ObjectInfo("b", 2, MODIFIED),
        ObjectInfo("c", 3, MODIFIED),
    ]
    queries = [asked.query for asked in scripted.server.asked]
    assert [query.get("continuation-token") for query in queries] == [None, "t1", "t2"]
    assert {(query["list-type"], query["prefix"]) for query in queries} == {("2", "p/")}


def test_a_page_that_fails_for_a_while_is_asked_for_again(scripted: Scripted) -> None:
    scripted.server.answers += [listing(("p/a", 1), token="t1"), error(503, "SlowDown"), listing(("p/b", 1))]
    assert [entry.name for entry in scripted.store.list("")] == ["a", "b"]
    assert len(scripted.time.slept) == 1


def test_a_page_that_fails_for_good_is_an_error_and_not_the_end(scripted: Scripted) -> None:
    scripted.server.answers += [listing(("p/a", 1), token="t1"), error(403, "AccessDenied")]
    entries = scripted.store.list("")
    assert next(entries).name == "a"
    with pytest.raises(StoreDenied):
        next(entries)


SOUND = ("p/b", 1)
SENSELESS = {
    "truncated without a token": [listing(SOUND, truncated="true")],
    "truncated and empty without a token": [listing(truncated="true")],
    "backwards in a page": [listing(("p/c", 1), SOUND)],
    "backwards between pages": [listing(("p/c", 1), token="t"), listing(SOUND)],
    "the same key twice": [listing(SOUND, SOUND)],
    "the same key on two pages": [listing(SOUND, token="t"), listing(SOUND)],
    "the same token again": [listing(SOUND, token="t"), listing(("p/c", 1), token="t")],
    "a key that was not asked for": [listing(("other", 1))],
    "no word on being whole": [Answer(200, b"<ListBucketResult></ListBucketResult>")],
    "an entry without a key": [
        Answer(200, b"<R><IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents></R>")
    ],
    "an entry without a size": [
        Answer(200, b"<R><IsTruncated>false</IsTruncated><Contents><Key>p/b</Key></Contents></R>")
    ],
}


@pytest.mark.parametrize("answers", SENSELESS.values(), ids=SENSELESS)
def test_a_listing_that_makes_no_sense_is_a_contradiction(scripted: Scripted, answers: list[Answer]) -> None:
    scripted.server.answers += answers
    with pytest.raises(StoreContradiction):
        list(scripted.store.list(""))


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, error_xml("InternalError"), {"Content-Type": "application/xml"}),
        Answer(200, b"<html><body>log in here", {"Content-Type": "text/html"}),
        Answer(200, b"{}", {"Content-Type": "application/json"}),
        Answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated>", {"Content-Type": "application/xml"}),
    ],
)
def test_what_is_no_listing_is_no_empty_store(scripted: Scripted, answer: Answer) -> None:
    scripted.server.answers += [answer] * 9
    with pytest.raises(StoreUnavailable):
        list(scripted.store.list(""))


def test_a_listing_under_200_that_says_nothing_is_no_empty_store(scripted: Scripted) -> None:
    scripted.server.answers += [Answer(200)]
    with pytest.raises(StoreContradiction):
        list(scripted.store.list(""))


def test_a_listing_cut_short_is_asked_for_again(scripted: Scripted) -> None:
    whole = listing(("p/a", 1), ("p/b", 2))
    for length in (-1, len(whole.body)):
        scripted.server.answers += [Answer(200, whole.body[:150], whole.headers, length=length), whole]
        assert [entry.name for entry in scripted.store.list("")] == ["a", "b"]


def test_the_folders_that_consoles_make_are_left_out(scripted: Scripted) -> None:
    scripted.server.answers += [listing(("p/", 0), ("p/a", 1), ("p/b/", 0), ("p/b/c", 1))]
    assert [entry.name for entry in scripted.store.list("")] == ["a", "b/c"]


def test_stat_finds_only_the_very_name(scripted: Scripted) -> None:
    scripted.server.answers += [listing(("p/ab", 1)), listing(), listing(("p/a", 7), token="t")]
    assert scripted.store.stat("a") is None
    assert scripted.store.stat("a") is None
    assert scripted.store.stat("a") == ObjectInfo("a", 7, MODIFIED)
    assert {asked.query["prefix"] for asked in scripted.server.asked} == {"p/a"}


@pytest.mark.parametrize(
    "answers",
    [
        [error(403, "AccessDenied")],
        [error(404, "NoSuchKey")],
        [error(404, "NoSuchBucket")],
        [error(500, "InternalError")] * 9,
        [Answer(200)],
        [listing(truncated="true")],
    ],
)
def test_stat_says_not_there_only_when_the_server_did(scripted: Scripted, answers: list[Answer]) -> None:
    scripted.server.answers += answers
    with pytest.raises(StoreError):
        scripted.store.stat("x")


def test_the_clock_is_the_date_of_the_answer(scripted: Scripted) -> None:
    page = listing()
    dated = Answer(200, page.body, {**page.headers, "Date": "Sun, 06 Nov 1994 08:49:37 GMT"})
    scripted.server.answers += [dated]
    assert scripted.store.clock() == 784111777 * 10**9


@pytest.mark.parametrize("date", ["", "soon", "Sun, 99 Nov 1994 08:49:37 GMT"])
def test_without_a_date_there_is_no_clock(scripted: Scripted, date: str) -> None:
    page = listing()
    scripted.server.answers += [Answer(200, page.body, {**page.headers, "Date": date})]
    with pytest.raises(StoreContradiction, match="date"):
        scripted.store.clock()


def test_a_missing_bucket_is_named_with_what_to_do(scripted: Scripted) -> None:
    scripted.server.answers += [error(404, "NoSuchBucket")]
    with pytest.raises(NoStore, match="bucket bucket: list p/: the bucket does not exist") as caught:
        scripted.store.clock()
    assert caught.value.hint is not None
    assert "makes no buckets" in caught.value.hint
