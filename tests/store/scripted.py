"""An HTTP server that gives chosen answers, also broken ones, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Answer:
    """One answer.  `length` is what Content-Length says (None: no such header); `reset` breaks the connection after the
    body, or instead of any answer when `status` is 0."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = -1
    reset: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}


class ScriptedServer(socketserver.ThreadingTCPServer):
    """Gives `answers` in order; a request beyond the last is told 400, so that a test sees it in `asked`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.asked: list[Asked] = []
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_answer(self, asked: Asked) -> Answer:
        with self.lock:
            self.asked.append(asked)
            return self.answers.pop(0) if self.answers else error(400, "NotScripted", f"{asked.method} {asked.path}")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def do_any(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.next_answer(Asked(self.command, self.path, headers, self.rfile.read(size)))
        self.close_connection = True
        if answer.status:
            with contextlib.suppress(ConnectionError):  # a client that has read enough goes
                self.wfile.write(encode(answer))
        if answer.reset:
            # Closing with the linger time at 0 sends RST; what was written may be lost or not, as on a real line.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = do_any

    def log_message(self, *_: object) -> None:
        pass


def encode(answer: Answer) -> bytes:
    headers = {"Date": formatdate(usegmt=True), "Connection": "close", **answer.headers}
    if answer.length is not None:
        headers.setdefault("Content-Length", str(len(answer.body) if answer.length < 0 else answer.length))
    lines = [f"HTTP/1.1 {answer.status} Said", *(f"{name}: {value}" for name, value in headers.items() if value)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body


@contextlib.contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def error(status: int, code: str, message: str = "no more is said", **headers: str) -> Answer:
    """S3's way of saying no."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, error_xml(code, message), {"Content-Type": "application/xml", **named})


def error_xml(code: str, message: str = "no more is said") -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()


def part(whole: bytes, start: int = 0, end: int | None = None, *, send: int | None = None, **how: object) -> Answer:
    """The bytes `start` to `end` of an object as a right answer says them; `send` cuts the body, but not the headers."""
    end = len(whole) if end is None else end
    headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(whole)}"}
    body = whole[start:end] if send is None else whole[start : start + send]
    return Answer(206, body, headers, **{"length": end - start, **how})  # type: ignore[arg-type]


def stored() -> Answer:
    """A PUT that worked."""
    return Answer(200, headers={"ETag": '"0"'})


def listing(*entries: tuple[str, int], token: str | None = None, truncated: str | None = None) -> Answer:
    """A page of ListObjectsV2: keys with sizes; with a token it is truncated."""
    stated = truncated or ("true" if token else "false")
    contents = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><Size>{size}</Size></Contents>"
        for key, size in entries
    )
    following = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    xml = f"<ListBucketResult><Name>bucket</Name><IsTruncated>{stated}</IsTruncated>{following}{contents}</ListBucketResult>"
    return Answer(200, f'<?xml version="1.0"?>{xml}'.encode(), {"Content-Type": "application/xml"})
