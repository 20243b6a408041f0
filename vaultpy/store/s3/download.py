"""What comes down: one ranged GET, its headers checked before a byte is believed.

Always a range, also for a whole object: a proper answer then has Content-Range, and neither an XML error under status 200
nor half a body without Content-Length can pass for the object.  (`rclone serve s3` sends it under 200 in place of 206.)
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import BotoCoreError
from botocore.response import StreamingBody
from urllib3.exceptions import HTTPError

from vaultpy.errors import StoreContradiction, StoreError
from vaultpy.store.retry import TryAgain
from vaultpy.store.s3.faults import fault_of_code
from vaultpy.store.whole import check_whole

PIECE = 1024 * 1024
READ_ERRORS = (BotoCoreError, HTTPError, OSError)
"""What a body's read() raises: botocore passes some of urllib3's and the socket's errors on as they are."""

_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)")
_ERROR = re.compile(rb"<Error[\s>].*?<Code>([A-Za-z0-9]+)</Code>", re.DOTALL)


class Download:
    """A range of an object while it arrives, over as many answers as it takes."""

    def __init__(self, name: str, start: int, length: int | None) -> None:
        self._name = name
        self._start = start
        self._length = length
        self._total: int | None = None
        self._pieces: list[bytes] = []
        self._received = 0

    @property
    def range(self) -> str:
        """The Range header for what is still missing."""
        begin = self._start + self._received
        return f"bytes={begin}-" if self._length is None else f"bytes={begin}-{self._start + self._length - 1}"

    def receive(self, answer: Mapping[str, Any]) -> bytes:
        """All the bytes, once one answer brings the last; raises TryAgain where it was cut, and keeps what came."""
        body: StreamingBody = answer["Body"]
        with contextlib.closing(body):
            missing = self._check(answer, body)
            try:
                while missing and (piece := body.read(min(missing, PIECE))):
                    self._pieces.append(piece)
                    self._received += len(piece)
                    missing -= len(piece)
            except READ_ERRORS as error:
                raise TryAgain(f"get {self._name}: the connection broke at byte {self._received}") from error
            if missing:
                raise TryAgain(f"get {self._name}: the answer ended {missing} bytes early")
            if _goes_on(body):
                raise StoreContradiction(f"object {self._name} came with more bytes than were asked for")
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _check(self, answer: Mapping[str, Any], body: StreamingBody) -> int:
        """How many bytes are still missing; raises unless the answer is exactly those."""
        header = str(answer.get("ContentRange", ""))
        match = _RANGE.fullmatch(header)
        if match is None:
            raise self._no_range(body)
        first, last, total = map(int, match.groups())
        if self._total not in (None, total):
            raise StoreContradiction(f"object {self._name} has {total} bytes, and had {self._total} before")
        self._total = total
        if self._length is None:
            check_whole(self._name, total - self._start)
        end = total if self._length is None else self._start + self._length
        if end > total:
            raise StoreContradiction(f"object {self._name} has {total} bytes, not {end}")
        missing = end - self._start - self._received
        if first != self._start + self._received or last - first + 1 != missing:
            raise StoreContradiction(f"object {self._name} came as {header!r}, asked for {self.range!r}")
        stated = answer.get("ContentLength")
        if stated not in (None, missing):
            raise StoreContradiction(f"object {self._name} came with {stated} bytes under the header {header!r}")
        return missing

    def _no_range(self, body: StreamingBody) -> StoreError:
        """The error for an answer that is no part of the object: most often a passing one, in XML under status 200."""
        try:
            head = body.read(4096)
        except READ_ERRORS as error:
            return TryAgain(f"get {self._name}: the connection broke ({type(error).__name__})")
        if match := _ERROR.search(head):
            # As if under 500: not even NoSuchKey is a definite answer when the status said otherwise.
            return fault_of_code(match[1].decode("ascii"), 500, "", what=f"get {self._name}")
        return StoreContradiction(f"object {self._name} came without the range that was asked for")


def _goes_on(body: StreamingBody) -> bool:
    """Whether there is more behind the last byte; looking also gives the connection back to be used again."""
    try:
        return bool(body.read(1))
    except READ_ERRORS:
        return False
