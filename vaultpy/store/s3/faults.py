"""What a server's or botocore's error means, said in our words.

Only a definite NoSuchKey is "not found".  Codes are from Amazon's list of S3 error responses, and from the servers that have
their own for a full disk or quota (MinIO, Ceph, Backblaze).
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    LoginError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from vaultpy.errors import NoStore, ObjectNotFound, StoreContradiction, StoreDenied, StoreError, StoreFull
from vaultpy.store.retry import TryAgain
from vaultpy.store.s3.client import NO_CREDENTIALS

_PASSING = frozenset(
    {
        "BadDigest",
        "BandwidthLimitExceeded",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)
_FULL = frozenset({"InsufficientStorage", "NoSpaceLeft", "NoSpaceLeftOnDevice", "XMinioStorageFull"})
_FULL_WORDS = ("storage cap exceeded", "no space left", "quota exceeded", "disk quota")
# InvalidTokenId: what MinIO says of a session that has ended.
_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidTokenId", "RequestExpired", "TokenRefreshRequired"}
)
_BAD_KEYS = frozenset({"InvalidAccessKeyId", "InvalidSecurity", "InvalidToken", "SignatureDoesNotMatch"})
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    SSOError,
    LoginError,
)

_RENEW = "renew the session or the temporary credentials, then run again: what was uploaded is kept"
_SET_CLOCK = "set this machine's clock (NTP): servers refuse requests that are 15 minutes off"
_CHECK_KEYS = "check the access key and its secret, and that they belong to this endpoint"
_CHECK_POLICY = "the credentials work but do not allow this: see the policies in docs/s3.md"
_CHECK_BUCKET = "check the bucket's name and the endpoint; vaultpy makes no buckets"
_MAKE_ROOM = "make room in the store, or have its quota raised; nothing finished is lost"
_THAW = "ask the provider to restore it for reading (aws s3api restore-object), then run again: see docs/s3.md"
_NAME_REGION = "name the bucket's region in the URL: ?region=…"
_NAME_ISSUER = "name the issuer's PEM file in the URL: ?ca=/path"
_CHECK_NETWORK = "check the endpoint in the store's URL, and the network"


def error_code(error: ClientError) -> str:
    """The server's own word for what is wrong; the status where it gave none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def http_status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def fault_of_answer(error: ClientError, what: str, now: float) -> StoreError:
    """Our error for a server's; `what` names operation and object, `now` is Unix time, for Retry-After with a date."""
    code, status = error_code(error), http_status(error)
    details: Mapping[str, Any] = error.response.get("Error", {})
    message = str(details.get("Message", ""))
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return fault_of_code(code, status, message, what=what, after=retry_after(headers.get("retry-after"), now))


def fault_of_code(code: str, status: int, message: str, *, what: str, after: float | None = None) -> StoreError:
    """Our error for an S3 error code with its HTTP status."""
    said = _said(code, status, message)
    if code in _FULL or status == 507 or "quota" in code.lower() or any(w in message.lower() for w in _FULL_WORDS):
        return StoreFull(f"{what}: the store is full ({said})", hint=_MAKE_ROOM)
    if code == "NoSuchKey" and status == 404:
        return ObjectNotFound(f"{what}: not in the store")
    if code == "NoSuchBucket":
        return NoStore(f"{what}: the bucket does not exist", hint=_CHECK_BUCKET)
    if code == "InvalidObjectState":
        return StoreDenied(f"{what}: the object is in an archive ({said})", hint=_THAW)
    denied = _denied(code, status, f"{what}: ", said)
    if denied is not None:
        return denied
    if code in _PASSING or status in (408, 429) or (status >= 500 and status != 501):
        return TryAgain(f"{what}: the server cannot answer now ({said})", after=after)
    wrong_region = status in (301, 307) or code in (
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    )
    return StoreError(f"{what}: {said}", hint=_NAME_REGION if wrong_region else None)


def none_missing(fault: StoreError) -> StoreError:
    """A put and a listing ask for no object, so there none can be "not found": that is for get alone to say."""
    return StoreContradiction(fault.message) if isinstance(fault, ObjectNotFound) else fault


def name_right(fault: StoreError, right: str) -> StoreError:
    """The same fault, and, where credentials that work do not allow it, the right that they lack."""
    if isinstance(fault, StoreDenied) and fault.hint == _CHECK_POLICY:
        return StoreDenied(fault.message, hint=f"the credentials work but lack {right}: see the policies in docs/s3.md")
    return fault


def _denied(code: str, status: int, lead: str, said: str) -> StoreDenied | None:
    if code in _EXPIRED:
        return StoreDenied(f"{lead}the credentials have expired ({said})", hint=_RENEW)
    if code == "RequestTimeTooSkewed":
        return StoreDenied(f"{lead}this machine's clock is wrong ({said})", hint=_SET_CLOCK)
    if code in _BAD_KEYS:
        return StoreDenied(f"{lead}the credentials were refused ({said})", hint=_CHECK_KEYS)
    if code == "AccessDenied" or status in (401, 403):
        return StoreDenied(f"{lead}access denied ({said})", hint=_CHECK_POLICY)
    return None


def fault_of_client(error: BotoCoreError | ResponseParserError, what: str) -> StoreError:
    """Our error for what botocore found wrong without a server's word."""
    said = f"{what}: {_plain(str(error))}"
    if isinstance(error, _NO_CREDENTIALS):
        return StoreDenied(said, hint=NO_CREDENTIALS)
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error).upper():
        # It will not verify the next time either.
        return StoreError(f"{what}: the server's certificate is not trusted", hint=_NAME_ISSUER)
    if isinstance(error, EndpointConnectionError):
        return TryAgain(f"{what}: the server cannot be reached", hint=_CHECK_NETWORK)
    if isinstance(error, (HTTPClientError, ConnectionError, IncompleteReadError)):
        return TryAgain(said, hint=_CHECK_NETWORK)
    if isinstance(error, ResponseParserError):
        # A proxy's page in place of an answer.
        return TryAgain(f"{what}: the answer is not S3's", hint=_CHECK_NETWORK)
    return StoreError(said, hint="check the store's URL")


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait, from a Retry-After header: a number of seconds, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value.strip())
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _said(code: str, status: int, message: str) -> str:
    words = [word for word in (code if code != str(status) else "", _plain(message)) if word]
    return ": ".join(words) or f"status {status}"


def _plain(message: str) -> str:
    """A message of others in one line of ours: bounded, no full stop."""
    return " ".join(message.split())[:300].rstrip(". ")
