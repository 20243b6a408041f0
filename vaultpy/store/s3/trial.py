"""Trying a bucket out: the requests that the store itself never makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from vaultpy.store.base import ObjectInfo
from vaultpy.store.bodies import check_name
from vaultpy.store.location import S3Location
from vaultpy.store.retry import Retrier
from vaultpy.store.s3.faults import error_code, fault_of_answer, fault_of_client, none_missing
from vaultpy.store.s3.listing import Page, list_pages
from vaultpy.store.s3.upload import content_md5
from vaultpy.store.trial import LockRule

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Result = TypeVar("Result")

_NO_LOCKS = frozenset({"ObjectLockConfigurationNotFoundError", "NotImplemented", "501"})

_DAYS_OF_A_YEAR = 365


class BucketTrial:
    """`vaultpy.store.trial.Trial` for a prefix of a bucket."""

    def __init__(
        self,
        location: S3Location,
        client: S3Client,
        *,
        retrier: Retrier | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bucket = location.bucket
        self._root = f"{location.prefix}/" if location.prefix else ""
        self._client, self._retrier, self._clock = client, retrier or Retrier(), clock

    def overwrite(self, name: str, body: bytes) -> None:
        check_name(name)
        # Without Content-MD5 a bucket with a default retention refuses, and that would pass for "cannot be replaced".
        md5 = content_md5(name, body)
        self._ask(
            f"overwrite {name}",
            lambda: self._client.put_object(Bucket=self._bucket, Key=self._root + name, Body=body, ContentMD5=md5),
        )

    def list_in_pages(self, prefix: str, keys: int) -> Iterator[ObjectInfo]:
        def fetch(token: str | None) -> Page:
            going_on: dict[str, Any] = {"ContinuationToken": token} if token is not None else {}
            return self._ask(
                f"list {prefix} by {keys}",
                lambda: self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._root + prefix, MaxKeys=keys, **going_on
                ),
            )

        return list_pages(fetch, self._root, prefix)

    def lock_rule(self) -> LockRule | None:
        answer = self._ask("see whether there is object lock", self._lock_configuration)
        if answer is None or answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            return None  # some servers answer every question with an empty success
        rule = answer.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention", {})
        days = rule.get("Days")
        if days is None and rule.get("Years") is not None:
            days = rule["Years"] * _DAYS_OF_A_YEAR
        return LockRule(rule.get("Mode"), days)

    def _lock_configuration(self) -> Any:
        try:
            return self._client.get_object_lock_configuration(Bucket=self._bucket)
        except ClientError as error:
            if error_code(error) in _NO_LOCKS:
                return None
            raise

    def _ask(self, what: str, request: Callable[[], Result]) -> Result:
        return self._retrier.run(lambda: self._ask_once(f"bucket {self._bucket}: {what}", request))

    def _ask_once(self, what: str, request: Callable[[], Result]) -> Result:
        try:
            return request()
        except ClientError as error:
            raise none_missing(fault_of_answer(error, what, self._clock())) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise fault_of_client(error, what) from error
