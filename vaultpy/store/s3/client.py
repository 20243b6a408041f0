"""boto3's client, told to do nothing by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from vaultpy.errors import StoreDenied, StoreError, UsageError
from vaultpy.store.limit import FREE, Line
from vaultpy.store.location import S3Location
from vaultpy.store.s3.pacing import pace_bodies

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECTIONS = 32
"""Kept open to the server: the most uploads (16) and as many reads beside them."""

ASK_ABOVE = 64 * 1024
"""Bytes from which it pays to hear first whether the server wants a body."""

NO_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials, or choose AWS_PROFILE"


def _addressing(location: S3Location) -> Literal["path", "virtual", "auto"]:
    """Servers of one's own seldom have a name in DNS for each bucket; "auto" is AWS's own rule."""
    return location.addressing or ("path" if location.endpoint else "auto")


def make_client(location: S3Location, line: Line = FREE) -> S3Client:
    """A client over a line, with boto3's own chain of credentials.  Raises StoreError; talks to no server yet."""
    if location.ca is not None and not location.ca.is_file():
        raise UsageError(f"store URL: ca {location.ca} is not there", hint="name the PEM file of the server's issuer")
    config = Config(
        signature_version="s3v4",
        # Retrying is ours: botocore retries no body, and knows no deadline.  It still follows a bucket to its region.
        retries={"total_max_attempts": 1, "mode": "standard"},
        # The newer defaults break compatible servers: trailers end up inside objects, ranged reads fail (boto3#4435).
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": _addressing(location), "payload_signing_enabled": True},
        max_pool_connections=CONNECTIONS,
        connect_timeout=10,
        read_timeout=60,
        tcp_keepalive=True,
    )
    try:
        session = boto3.session.Session()
        # Compatible servers want some region in the signature and mostly do not care which.
        region = location.region or session.region_name or ("us-east-1" if location.endpoint else None)
        client = session.client(
            "s3",
            region_name=region,
            endpoint_url=location.endpoint,
            config=config,
            verify=None if location.ca is None else str(location.ca),
        )
        if session.get_credentials() is None:
            raise StoreDenied(f"bucket {location.bucket}: no credentials were found", hint=NO_CREDENTIALS)
    except (BotoCoreError, ValueError) as error:
        raise StoreError(
            f"bucket {location.bucket}: the client cannot be set up: {str(error).lower().rstrip('.')}",
            hint="check the store's URL, ~/.aws/config and the AWS_ variables of the environment",
        ) from error
    # At botocore's own place: what is registered for one operation runs before what is registered for all.
    client.meta.events.register_last("before-call.s3", _send_small_at_once)
    client.meta.events.register("before-call.s3.HeadBucket", _follow_no_further)
    pace_bodies(client, line)
    return client


def _follow_no_further(params: Any, **_: object) -> None:
    """botocore asks by HEAD where a redirect names no region; a server that redirects that, too, would send it round for
    ever."""
    params["context"]["s3_redirect"]["redirected"] = True


def _send_small_at_once(params: Any, **_: object) -> None:
    """botocore asks "Expect: 100-continue" before every body, which some servers leave unanswered for a second."""
    if int(params["headers"].get("Content-Length", 0)) <= ASK_ABOVE:
        params["headers"].pop("Expect", None)
