"""Versions in a bucket: their listing, believed only while it makes sense, and what S3 says of their locks.

A server without versions says so (501): that is an empty listing.  A 403 is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from vaultpy.errors import ObjectNotFound, StoreContradiction
from vaultpy.store.location import S3Location
from vaultpy.store.retry import Retrier
from vaultpy.store.s3.download import Download
from vaultpy.store.s3.faults import error_code, fault_of_answer, fault_of_client, name_right, none_missing
from vaultpy.store.s3.listing import Page, follow_pages, nanoseconds
from vaultpy.store.versions import ObjectVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Answer = Mapping[str, Any]

_NOTHING: frozenset[str] = frozenset()
_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})
_NOT_OFFERED = frozenset({"NotImplemented", "501"})
"""How servers without versions, or without locks, say so; the status stands where they gave no code."""
_NO_LOCK = frozenset({"NoSuchObjectLockConfiguration"})
_NO_LOCKS = frozenset({"ObjectLockConfigurationNotFoundError"})
"""What S3 says of a version without a lock, and of a bucket without Object Lock."""


@dataclass(frozen=True, slots=True)
class Marker:
    """Where a listing of versions goes on: behind this version of this key.  Only the server knows what is in it."""

    key: str
    version: str


class BucketVersions:
    """The versions below a prefix of a bucket, as vaultpy.store.versions.Versioned has them.  Safe for several threads."""

    def __init__(self, location: S3Location, client: S3Client, retrier: Retrier, clock: Callable[[], float]) -> None:
        self._bucket = location.bucket
        self._root = f"{location.prefix}/" if location.prefix else ""
        self._client = client
        self._retrier = retrier
        self._clock = clock
        self._has_locks: bool | None = None

    def list_versions(self, prefix: str) -> Iterator[ObjectVersion]:
        return list_version_pages(lambda marker: self._fetch_page(prefix, marker), self._root, prefix)

    def get_version(self, version: ObjectVersion) -> bytes:
        if version.size == 0:
            return b""  # no range can ask for it
        download = Download(version.name, 0, version.size)
        what = f"get a version of {version.name}"

        def attempt() -> bytes | None:
            answer = self._ask_once(
                what,
                "s3:GetObjectVersion",
                _GONE,
                lambda: self._client.get_object(**self._which(version), Range=download.range),
            )
            return None if answer is None else download.receive(answer)

        data = self._retrier.run(attempt)
        if data is None:
            raise ObjectNotFound(f"bucket {self._bucket}: {what}: not in the store")
        return data

    def is_locked(self, version: ObjectVersion, now: int) -> bool:
        # Not by HEAD: where the right to see locks is missing, that leaves them out and says nothing.
        return self._may_lock() and (self._is_retained(version, now) or self._is_held(version))

    def _fetch_page(self, prefix: str, marker: Marker | None) -> Page:
        place: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._root + prefix}
        if marker is not None:
            place |= {"KeyMarker": marker.key, "VersionIdMarker": marker.version}
        page = self._ask(
            f"list versions of {place['Prefix'] or 'everything'}",
            "s3:ListBucketVersions",
            # A server that gave a first page has versions: after that, "not implemented" is not the end.
            _NOT_OFFERED if marker is None else _NOTHING,
            lambda: self._client.list_object_versions(**place),
        )
        return {"IsTruncated": False} if page is None else page

    def _may_lock(self) -> bool:
        """Whether the bucket has Object Lock at all; asked once.  Without it, to ask about one version is an error."""
        if self._has_locks is None:
            answer = self._ask(
                "see whether there is object lock",
                "s3:GetBucketObjectLockConfiguration",
                _NO_LOCKS | _NOT_OFFERED,
                lambda: self._client.get_object_lock_configuration(Bucket=self._bucket),
            )
            self._has_locks = answer is not None
        return self._has_locks

    def _is_retained(self, version: ObjectVersion, now: int) -> bool:
        """In either mode: who may end governance early has to do so before anything is deleted."""
        answer = self._ask(
            f"see the retention of {version.name}",
            "s3:GetObjectRetention",
            _GONE | _NO_LOCK,
            lambda: self._client.get_object_retention(**self._which(version)),
        )
        if answer is None:
            return False
        until = answer.get("Retention", {}).get("RetainUntilDate")
        if until is None:
            raise StoreContradiction(f"retention of {version.name} does not say when it ends")
        return nanoseconds(until) > now

    def _is_held(self, version: ObjectVersion) -> bool:
        answer = self._ask(
            f"see the legal hold of {version.name}",
            "s3:GetObjectLegalHold",
            _GONE | _NO_LOCK | _NOT_OFFERED,
            lambda: self._client.get_object_legal_hold(**self._which(version)),
        )
        status = "OFF" if answer is None else answer.get("LegalHold", {}).get("Status")
        if status not in ("ON", "OFF"):
            raise StoreContradiction(f"legal hold of {version.name} is neither on nor off")
        return bool(status == "ON")

    def _ask(self, what: str, right: str, absent: frozenset[str], request: Callable[[], Answer]) -> Answer | None:
        return self._retrier.run(lambda: self._ask_once(what, right, absent, request))

    def _ask_once(self, what: str, right: str, absent: frozenset[str], request: Callable[[], Answer]) -> Answer | None:
        """The answer to a request, which takes the permission `right`; None where the server says one of `absent`."""
        what = f"bucket {self._bucket}: {what}"
        try:
            return request()
        except ClientError as error:
            if error_code(error) in absent:
                return None
            fault = fault_of_answer(error, what, self._clock())
            raise none_missing(name_right(fault, right)) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise fault_of_client(error, what) from error

    def _which(self, version: ObjectVersion) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._root + version.name, "VersionId": version.id}


def list_version_pages(fetch: Callable[[Marker | None], Page], root: str, prefix: str) -> Iterator[ObjectVersion]:
    """All versions below key prefix `root + prefix`, named without `root`; `fetch` gets the page behind a marker.

    Raises StoreContradiction for a page that is no listing, says truncated without saying how to go on, goes backwards,
    repeats a version or a marker, or holds a key that was not asked for.
    """
    last = ""
    seen: set[str] = set()  # the versions of the last key: in which order a key's versions come is not for us to judge
    for page in follow_pages(fetch, lambda page: _next_marker(page, root + prefix), f"versions of {root + prefix!r}"):
        for entry in page.get("Versions", ()):
            version = _read_entry(entry, root)
            key = entry["Key"]
            if not key.startswith(root + prefix):
                raise StoreContradiction(f"versions of {root + prefix!r} hold {key[:200]!r}, which is not below it")
            if key < last or (key == last and version.id in seen):
                raise StoreContradiction(f"versions of {root + prefix!r} go backwards at {key[:200]!r}")
            seen = {*seen, version.id} if key == last else {version.id}
            last = key
            if not key.endswith("/"):
                yield version


def _next_marker(page: Page, key_prefix: str) -> Marker | None:
    """Where a listing goes on; None at its end."""
    truncated = page.get("IsTruncated")
    if truncated is None:
        # An error or a proxy's page under status 200 looks like a listing without versions.
        raise StoreContradiction(f"versions of {key_prefix!r} do not say whether they are whole")
    if not truncated:
        return None
    key, version = page.get("NextKeyMarker"), page.get("NextVersionIdMarker")
    # Without the version the next page would begin behind all versions of the key.
    if not key or not version:
        raise StoreContradiction(f"versions of {key_prefix!r} are cut short and do not say how to go on")
    return Marker(key, version)


def _read_entry(entry: Mapping[str, Any], root: str) -> ObjectVersion:
    try:
        key, id, latest = entry["Key"], entry["VersionId"], entry["IsLatest"]
        return ObjectVersion(key[len(root) :], id, entry["Size"], nanoseconds(entry["LastModified"]), latest)
    except KeyError as missing:
        raise StoreContradiction(f"listing of versions has an entry without {missing.args[0]}") from None
