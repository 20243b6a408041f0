"""Answers that a server may give and that must neither end a run wrongly nor show a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest
from botocore.exceptions import ClientError
from s3kit import Scripted
from scripted import error, listing

from vaultpy.errors import StoreContradiction, StoreDenied, StoreError
from vaultpy.store.location import S3Location
from vaultpy.store.s3 import S3Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

VERBS: dict[str, Callable[[S3Store], object]] = {
    "put": lambda store: store.put("a", b"1"),
    "get": lambda store: store.get("a"),
    "stat": lambda store: store.stat("a"),
    "list": lambda store: list(store.list("")),
    "delete": lambda store: store.delete("a"),
    "clock": lambda store: store.clock(),
}


class WithoutConditions:
    """A client of a server that does not know If-None-Match; while the first put is under way, a second one is made."""

    def __init__(self) -> None:
        self.store = S3Store(S3Location("bucket"), cast("S3Client", self))
        self.stored: list[str] = []

    def put_object(self, **asked: object) -> dict[str, str]:
        if "IfNoneMatch" not in asked:
            self.stored.append(str(asked["Key"]))
            return {"ETag": '"0"'}
        if asked["Key"] == "first":
            self.store.put("second", b"2")
        refusal = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}
        raise ClientError(refusal, "PutObject")  # type: ignore[arg-type]


def test_a_put_refused_for_its_condition_after_another_learned_that_is_made_again() -> None:
    client = WithoutConditions()
    client.store.put("first", b"1")
    assert client.stored == ["second", "first"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_redirects_everything_is_asked_once_for_the_region(scripted: Scripted, verb: str) -> None:
    scripted.server.answers += [error(301, "PermanentRedirect")] * 2
    with pytest.raises(StoreError) as caught:
        VERBS[verb](scripted.store)
    assert "region=" in (caught.value.hint or "")
    assert [asked.method for asked in scripted.server.asked][1:] == ["HEAD"]


@pytest.mark.parametrize("verb", ["put", "stat", "list", "clock"])
def test_only_a_get_can_find_an_object_missing(scripted: Scripted, verb: str) -> None:
    scripted.server.answers += [error(404, "NoSuchKey")]
    with pytest.raises(StoreContradiction):
        VERBS[verb](scripted.store)


def test_a_blob_put_into_an_archive_is_taken_for_our_own_unread(scripted: Scripted) -> None:
    archived = error(403, "InvalidObjectState")
    scripted.server.answers += [error(412, "PreconditionFailed"), listing(("p/blobs/aa/x", 1)), archived, archived]
    scripted.store.put("blobs/aa/x", b"1")
    with pytest.raises(StoreDenied, match="archive"):
        scripted.store.get("blobs/aa/x")
