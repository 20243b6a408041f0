"""Bodies that go up and come down at a pace, put between boto3's client and the network.

Only what is sent is paced: by then the client has read the body once for its signature.
"""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Any

from vaultpy.store.limit import Line, Pace

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PIECE = 16 * 1024
"""Bytes that come down at a time; as many as urllib3 sends at a time."""


def pace_bodies(client: S3Client, line: Line) -> None:
    """Have the client send and receive the bodies of objects as the line allows."""
    if line.up is not None:
        client.meta.events.register("before-send.s3.PutObject", partial(_pace_sent, line.up))
    if line.down is not None:
        client.meta.events.register("after-call.s3.GetObject", partial(_pace_received, line.down))


def _pace_sent(pace: Pace, request: Any, **_: object) -> None:
    """A request that is tried again is made anew from the body itself, so this is never done twice to one."""
    body = request.body
    if body is not None:
        request.body = _Paced(io.BytesIO(body) if isinstance(body, bytes) else body, pace)


def _pace_received(pace: Pace, parsed: dict[str, Any], **_: object) -> None:
    if "Body" in parsed:
        parsed["Body"] = _Paced(parsed["Body"], pace)


class _Paced:
    """A file that gives its bytes at a pace, in short pieces; all else is the file's own."""

    def __init__(self, file: Any, pace: Pace) -> None:
        self._file, self._pace = file, pace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int) -> bytes:
        piece: bytes = self._file.read(min(size, PIECE))
        self._pace.take(len(piece))
        return piece
