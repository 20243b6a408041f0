"""What a store's URL says: `file:///absolute/path` (or the bare path), or `s3://bucket/prefix?endpoint=…&region=…`.

A URL is enough to reach a store from any machine, so the few settings of S3 are in it; credentials never are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from vaultpy.errors import StoreError, UsageError
from vaultpy.store.bodies import check_name

Addressing = Literal["path", "virtual"]
"""Where a request names the bucket: in the path, or in the host's name."""

SETTINGS = ("endpoint", "region", "addressing", "storage_class", "sse", "lock_days", "ca")
_SSE = ("AES256", "aws:kms", "aws:kms:dsse")
_PLAIN = "/:@+,=~"
"""Characters of a path that need no escape in a URL, besides letters, digits and `_.-`, and none from a shell."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_SECRET = re.compile(r"secret|token|password|passwd|credential|access_?key|key_?id|^key$|^user(name)?$", re.IGNORECASE)
_CREDENTIALS_HINT = (
    "a URL is shown and written down: put keys into ~/.aws/credentials, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)


@dataclass(frozen=True, slots=True)
class FileLocation:
    """A folder; `path` is absolute."""

    path: Path

    @property
    def url(self) -> str:
        return "file://" + quote(os.fsencode(self.path), safe=_PLAIN)


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket, a prefix in it (no slash at either end; may be empty), and how to reach it; None: boto3's own way.

    `storage_class` is for blobs only: what must be read to find one's way is kept where reading costs nothing extra.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    addressing: Addressing | None = None
    storage_class: str | None = None
    sse: str | None = None
    lock_days: int | None = None
    ca: Path | None = None

    @property
    def url(self) -> str:
        settings = [(name, getattr(self, name)) for name in SETTINGS]
        query = "&".join(f"{name}={quote(str(value), safe='/:')}" for name, value in settings if value is not None)
        path = f"s3://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")
        return path + (f"?{query}" if query else "")


Location = FileLocation | S3Location


def parse_location(url: str) -> Location:
    """Read a store's URL.  Raises UsageError, whose message never repeats what may be a secret.

    In `file://` URLs what is percent-encoded is decoded (RFC 8089), and all else stands for itself, also spaces, `?` and
    `#`, which people write there; the host may be `localhost`.  A bare path is taken as it is.
    """
    if url.startswith("s3://"):
        return _parse_s3(url.removeprefix("s3://"))
    path = url
    if url.startswith("file://"):
        path = os.fsdecode(unquote_to_bytes(os.fsencode(url.removeprefix("file://").removeprefix("localhost"))))
    if path.startswith("/") and "\0" not in path:
        return FileLocation(Path(path))
    if url.startswith("file:"):
        raise UsageError("store URL: the path of file:// is not absolute", hint="write file:///absolute/path")
    scheme, separator, _ = url.partition("://")
    if separator and _WORD.fullmatch(scheme):
        raise UsageError(f"store URL: scheme {scheme!r} is unknown", hint="write file:///path or s3://bucket/prefix")
    raise UsageError(
        "store URL: neither an absolute path nor a URL", hint="write file:///absolute/path or s3://bucket/prefix"
    )


def _parse_s3(rest: str) -> S3Location:
    place, _, query = rest.partition("?")
    if "@" in place.partition("/")[0]:
        raise UsageError("store URL: holds credentials", hint=_CREDENTIALS_HINT)
    bucket, _, prefix = place.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"store URL: {bucket[:80]!r} is not a bucket's name", hint="write s3://bucket/prefix?region=…")
    settings = _parse_query(query)
    return S3Location(
        bucket,
        _check_prefix(prefix.strip("/")),
        endpoint=_check_endpoint(settings.get("endpoint")),
        region=_check_word("region", settings.get("region")),
        addressing=_check_addressing(settings.get("addressing")),
        storage_class=_check_word("storage_class", settings.get("storage_class")),
        sse=_check_sse(settings.get("sse")),
        lock_days=_check_days(settings.get("lock_days")),
        ca=_check_ca(settings.get("ca")),
    )


def _parse_query(query: str) -> Mapping[str, str]:
    settings: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, separator, value = part.partition("=")
        if name not in SETTINGS:
            raise _unknown_setting(name)
        if not separator or not value:
            raise UsageError(f"store URL: setting {name} has no value")
        if name in settings:
            raise UsageError(f"store URL: setting {name} is given twice")
        settings[name] = unquote(value)
    return settings


def _unknown_setting(name: str) -> UsageError:
    if _SECRET.search(name):
        return UsageError("store URL: holds credentials", hint=_CREDENTIALS_HINT)
    import difflib  # only on the way to an error

    close = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(SETTINGS)}"
    return UsageError(f"store URL: setting {name[:80]!r} is unknown", hint=hint)


def _check_prefix(prefix: str) -> str:
    try:
        if prefix:
            check_name(prefix)
    except StoreError:
        raise UsageError(
            f"store URL: prefix {prefix[:80]!r} is not one that every server keeps",
            hint="use letters, digits and . _ = + @ , - between single slashes",
        ) from None
    return prefix


def _check_endpoint(endpoint: str | None) -> str | None:
    if endpoint is None:
        return None
    try:
        parts = urlsplit(endpoint)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        parts, known = urlsplit(""), False
    if "@" in parts.netloc:
        raise UsageError("store URL: the endpoint holds credentials", hint=_CREDENTIALS_HINT)
    if not known or parts.query or parts.fragment:
        raise UsageError("store URL: the endpoint is not a server's URL", hint="write endpoint=https://host:port")
    return endpoint.rstrip("/")


def _check_word(name: str, value: str | None) -> str | None:
    if value is not None and not _WORD.fullmatch(value):
        raise UsageError(f"store URL: {name} {value[:80]!r} is not a name")
    return value


def _check_addressing(value: str | None) -> Addressing | None:
    match value:
        case None | "path" | "virtual":
            return value
    raise UsageError(f"store URL: addressing {value[:80]!r} is unknown", hint="there are path and virtual")


def _check_sse(value: str | None) -> str | None:
    if value is not None and value not in _SSE:
        raise UsageError(f"store URL: sse {value[:80]!r} is unknown", hint=f"there are {', '.join(_SSE)}")
    return value


def _check_days(value: str | None) -> int | None:
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) == 0:
        raise UsageError(f"store URL: lock_days {value[:80]!r} is not a number of days", hint="write 1 to 99999")
    return int(value)


def _check_ca(value: str | None) -> Path | None:
    if value is not None and not value.startswith("/"):
        raise UsageError(f"store URL: ca {value[:80]!r} is not an absolute path", hint="name a PEM file: ca=/path")
    return None if value is None else Path(value)
