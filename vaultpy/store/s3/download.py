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

from vaultpy.errors import StoreContradiction
from vaultpy.store.retry import TryAgain
from vaultpy.store.s3.faults import fault_of_code

PIECE = 1024 * 1024
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
            self._check(answer, body)
            missing = self._missing()
            try:
                while missing and (piece := body.read(min(missing, PIECE))):
                    self._pieces.append(piece)
                    self._received += len(piece)
                    missing -= len(piece)
                # The end is looked at too: it gives the connection back, and tells an answer that is too long.
                extra = b"" if missing else body.read(1)
            except (BotoCoreError, HTTPError, OSError) as error:
                raise TryAgain(f"get {self._name}: the connection broke at byte {self._received}") from error
        if missing:
            raise TryAgain(f"get {self._name}: the answer ended {missing} bytes early")
        if extra:
            raise StoreContradiction(f"object {self._name} came with more bytes than were asked for")
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _missing(self) -> int:
        assert self._total is not None
        end = self._total if self._length is None else self._start + self._length
        return end - self._start - self._received

    def _check(self, answer: Mapping[str, Any], body: StreamingBody) -> None:
        header = str(answer.get("ContentRange", ""))
        match = _RANGE.fullmatch(header)
        if match is None:
            raise self._no_range(body)
        first, last, total = map(int, match.groups())
        if self._length is not None and total < self._start + self._length:
            raise StoreContradiction(f"object {self._name} has {total} bytes, not {self._start + self._length}")
        if self._total not in (None, total):
            raise StoreContradiction(f"object {self._name} has {total} bytes, and had {self._total} before")
        self._total = total
        stated = answer.get("ContentLength")
        if first != self._start + self._received or last - first + 1 != self._missing():
            raise StoreContradiction(f"object {self._name} came as {header!r}, asked for {self.range!r}")
        if stated not in (None, last - first + 1):
            raise StoreContradiction(f"object {self._name} came with {stated} bytes under the header {header!r}")

    def _no_range(self, body: StreamingBody) -> Exception:
        """The error for an answer that is no part of the object: most often a passing one, in XML under status 200."""
        try:
            head = body.read(4096)
        except (BotoCoreError, HTTPError, OSError) as error:
            return TryAgain(f"get {self._name}: the connection broke ({type(error).__name__})")
        if match := _ERROR.search(head):
            code = match[1].decode("ascii")
            # S3 says "an error after all" this way; the code is what counts, the status was sent too early.
            status = 404 if code == "NoSuchKey" else 500
            return fault_of_code(code, status, "", what=f"get {self._name}")
        return StoreContradiction(f"object {self._name} came without the range that was asked for")
