"""The five verbs on a bucket: one request each, repeated by our own retry layer, and no answer believed unchecked.

Existence is asked by LIST, because a HEAD's 403 and 404 blur where listing is not allowed; ETags are never interpreted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from vaultpy.errors import (
    ObjectExists,
    ObjectNotFound,
    StoreContradiction,
    StoreDenied,
    StoreError,
)
from vaultpy.store.base import Body, ObjectInfo
from vaultpy.store.bodies import check_name, small_pieces
from vaultpy.store.location import S3Location
from vaultpy.store.retry import Retrier, TryAgain
from vaultpy.store.s3.download import Download
from vaultpy.store.s3.faults import error_code, fault_of_answer, fault_of_client, http_status, none_missing
from vaultpy.store.s3.listing import Page, list_pages, next_token, server_time
from vaultpy.store.s3.upload import content_md5, measure, open_body
from vaultpy.store.s3.versions import BucketVersions
from vaultpy.store.versions import ObjectVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PUT_LIMIT = 5 * 1024**3
"""The most bytes that one PUT may carry, on AWS and on every server that follows it."""

_BLOBS = "blobs/"
"""Names below this are stored in the URL's storage class; all others in the bucket's standard one."""


class S3Store:
    """Objects below a prefix of a bucket.  Safe for several threads; each request is repeated as `retrier` allows."""

    def __init__(
        self,
        location: S3Location,
        client: S3Client,
        *,
        retrier: Retrier | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = location.url
        self._location = location
        self._root = f"{location.prefix}/" if location.prefix else ""
        self._retrier = retrier or Retrier()
        self._clock = clock
        self._client = client
        self._conditional = True
        self._versions = BucketVersions(location, client, self._retrier, clock)

    def put(self, name: str, body: Body) -> None:
        check_name(name)
        size = measure(name, body)
        if size > PUT_LIMIT:
            raise StoreError(f"object {name} has {size} bytes, more than one PUT may carry (5 GiB)")
        md5 = content_md5(name, body)
        self._retrier.run(lambda: self._put_once(name, body, size, md5))

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        check_name(name)
        if start < 0 or (length is not None and length < 0):
            raise StoreContradiction(f"object {name} has no bytes from {start}, {length} long")
        if length == 0:
            return self._get_nothing(name, start)
        download = Download(name, start, length)
        return self._retrier.run(lambda: self._get_once(name, start, length, download))

    def stat(self, name: str) -> ObjectInfo | None:
        check_name(name)
        # In byte order, a name comes before every longer name that begins with it.
        page = self._list_page(name, None, keys=1)
        found = [entry for entry in page.get("Contents", ()) if entry.get("Key") == self._root + name]
        if not found:
            next_token(page, self._root + name)  # only a whole answer says "not there"
            return None
        return next(list_pages(lambda _: {"Contents": found, "IsTruncated": False}, self._root, name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return list_pages(lambda token: self._list_page(prefix, token), self._root, prefix)

    def delete(self, name: str) -> None:
        check_name(name)
        self._retrier.run(lambda: self._delete_once(name))

    def clock(self) -> int:
        return server_time(self._list_page("", None, keys=1))

    def list_versions(self, prefix: str) -> Iterator[ObjectVersion]:
        return self._versions.list_versions(prefix)

    def get_version(self, version: ObjectVersion) -> bytes:
        return self._versions.get_version(version)

    def is_locked(self, version: ObjectVersion, now: int) -> bool:
        return self._versions.is_locked(version, now)

    def _put_once(self, name: str, body: Body, size: int, md5: str) -> None:
        what = self._what("put", name)
        headers = self._put_headers(name)
        conditional = self._conditional
        if conditional:
            headers["IfNoneMatch"] = "*"
        try:
            with open_body(name, body) as sent:
                answer = self._client.put_object(
                    Bucket=self._location.bucket,
                    Key=self._root + name,
                    Body=sent,  # type: ignore[arg-type]  # a PieceReader has what botocore uses of a file
                    ContentLength=size,
                    ContentMD5=md5,
                    **headers,
                )
        except ClientError as error:
            if conditional and (http_status(error) == 501 or error_code(error) == "NotImplemented"):
                # An extra that this server does not have: remembered, so that it costs a thread one request a run.
                self._conditional = False
                self._put_once(name, body, size, md5)
                return
            self._after_refused_put(error, name, body, size)
        except (BotoCoreError, ResponseParserError) as error:
            raise fault_of_client(error, what) from error
        else:
            # Only that there is one: a proxy's page under status 200 must not pass for a stored object.
            if not answer.get("ETag"):
                raise TryAgain(f"{what}: the answer is not S3's", hint="check the endpoint in the store's URL")

    def _put_headers(self, name: str) -> dict[str, Any]:
        place = self._location
        headers: dict[str, Any] = {}
        if place.storage_class is not None and name.startswith(_BLOBS):
            headers["StorageClass"] = place.storage_class
        if place.sse is not None:
            headers["ServerSideEncryption"] = place.sse
        if place.lock_days is not None:
            headers["ObjectLockMode"] = "GOVERNANCE"
            until = datetime.fromtimestamp(self._clock(), UTC) + timedelta(days=place.lock_days)
            headers["ObjectLockRetainUntilDate"] = until
        return headers

    def _after_refused_put(self, error: ClientError, name: str, body: Body, size: int) -> None:
        """Return where the object is there all the same; raise otherwise."""
        if http_status(error) == 412 or error_code(error) == "ConditionalRequestConflict":
            self._accept_existing(name, body, size)
            return
        raise none_missing(fault_of_answer(error, self._what("put", name), self._clock())) from error

    def _accept_existing(self, name: str, body: Body, size: int) -> None:
        """A 412 after a lost answer is our own success, when what lies there is what we put."""
        existing = self.stat(name)
        if existing is None:
            # A put of the same name is under way, or it was deleted just now.
            raise TryAgain(f"put {name}: the server says both that it exists and that it does not")
        if existing.size != size or not self._holds(name, body):
            raise ObjectExists(f"object {name} exists with other bytes")

    def _holds(self, name: str, body: Body) -> bool:
        """Whether an object of the body's size has the body's bytes.

        A host may not read blobs; there the size has to do: a blob's name is the hash of its bytes, so an honest store has
        no other, and `verify` finds out about the rest.
        """
        offset = 0
        try:
            for piece in small_pieces(body):
                if self.get(name, offset, len(piece)) != piece:
                    return False
                offset += len(piece)
        except StoreDenied:
            if not name.startswith(_BLOBS):
                raise
        return True

    def _get_once(self, name: str, start: int, length: int | None, download: Download) -> bytes:
        what = self._what("get", name)
        try:
            answer = self._client.get_object(Bucket=self._location.bucket, Key=self._root + name, Range=download.range)
        except ClientError as error:
            if http_status(error) == 416:
                return self._get_past_end(name, start, length)
            raise fault_of_answer(error, what, self._clock()) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise fault_of_client(error, what) from error
        return download.receive(answer)

    def _get_past_end(self, name: str, start: int, length: int | None) -> bytes:
        """The answer to a range that begins at or after the end: nothing, where nothing is all that is left."""
        info = self.stat(name)
        if info is not None and info.size == start and length is None:
            return b""
        size = "no" if info is None else info.size
        raise StoreContradiction(f"object {name} has {size} bytes, not {start + (length or 0)}")

    def _get_nothing(self, name: str, start: int) -> bytes:
        """No range can say "no bytes", so the listing has to tell whether they are there."""
        info = self.stat(name)
        if info is None:
            raise ObjectNotFound(f"object {name} is not in the store")
        if start > info.size:
            raise StoreContradiction(f"object {name} has {info.size} bytes, not {start}")
        return b""

    def _list_page(self, prefix: str, token: str | None, keys: int = 1000) -> Page:
        going_on = {"ContinuationToken": token} if token is not None else {}
        return self._retrier.run(lambda: self._list_page_once(prefix, keys, going_on))

    def _list_page_once(self, prefix: str, keys: int, going_on: dict[str, Any]) -> Page:
        what = self._what("list", self._root + prefix or "everything")
        try:
            return self._client.list_objects_v2(
                Bucket=self._location.bucket, Prefix=self._root + prefix, MaxKeys=keys, **going_on
            )
        except ClientError as error:
            raise none_missing(fault_of_answer(error, what, self._clock())) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise fault_of_client(error, what) from error

    def _delete_once(self, name: str) -> None:
        what = self._what("delete", name)
        try:
            self._client.delete_object(Bucket=self._location.bucket, Key=self._root + name)
        except ClientError as error:
            fault = fault_of_answer(error, what, self._clock())
            if not isinstance(fault, ObjectNotFound):
                raise fault from error
        except (BotoCoreError, ResponseParserError) as error:
            raise fault_of_client(error, what) from error

    def _what(self, verb: str, name: str) -> str:
        return f"bucket {self._location.bucket}: {verb} {name}"
