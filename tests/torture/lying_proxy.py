"""An HTTP proxy between vaultpy and a real S3 server, which lies about one chosen request, or about all from there on.

It passes requests on unchanged (the signature covers the Host header, so that stays, too) and answers unchanged, but for
those that a lie takes over: what a lie may do is in `Exchange`, the lies themselves are in lies_http.py.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "proxy-connection", "expect"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def verb(self) -> str:
        """What it asks of the store: put, get, list, delete, or the method for what vaultpy never asks."""
        if self.method == "GET":
            return "list" if "list-type" in parse_qs(urlsplit(self.path).query) else "get"
        return self.method.lower()


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.  `stated`: what Content-Length says (None: no such header, the connection's end ends the body);
    `pace`: bytes a second, None for all at once; `reset`: the connection breaks after the body, or, with a status of 0,
    instead of any answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stated: int | None = -1
    pace: int | None = None
    reset: bool = False


@dataclass(slots=True)
class Exchange:
    """A request that a lie decides about: it may pass the request on (`forward`, any number of times) and gives the
    answer; `earlier`: the answers of before the lie began, by path; `ended` is set when the case is over."""

    request: Request
    forward: Callable[[Request], Answer]
    earlier: dict[str, Answer]
    ended: threading.Event


Lie = Callable[[Exchange], Answer]


@dataclass(slots=True)
class Plan:
    """Which requests a lie is told about: the `hit`-th of a verb (from 1), and with `lasting` all after it, too."""

    verb: str
    hit: int
    lie: Lie
    lasting: bool = False

    def concerns(self, verb: str, number: int) -> bool:
        return verb == self.verb and (number == self.hit or (self.lasting and number > self.hit))


class LyingProxy(socketserver.ThreadingTCPServer):
    """Listens on a free port for a server on this machine.  `seen` counts requests by verb since `arm`; `told` how many
    were lied about."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server_port = port
        self.seen: Counter[str] = Counter()
        self.told = 0
        self._plan: Plan | None = None
        self._earlier: dict[str, Answer] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def arm(self, plan: Plan | None) -> None:
        """Begin a case: count from nothing, lie as planned (None: not at all)."""
        with self._lock:
            self._plan, self.told = plan, 0
            self.seen.clear()
            self._ended = threading.Event()

    def disarm(self) -> None:
        """End a case: whoever is kept waiting is let go, and every request is honestly passed on."""
        with self._lock:
            self._plan = None
            self._ended.set()

    def remember(self, path: str, answer: Answer) -> None:
        """Keep what a listing said, for lies that say it again later."""
        with self._lock:
            self._earlier[path] = answer

    @contextlib.contextmanager
    def listings(self) -> Iterator[dict[str, Answer]]:
        """What is kept of listings, to be changed."""
        with self._lock:
            yield self._earlier

    def forget(self) -> None:
        with self._lock:
            self._earlier.clear()

    def answer(self, request: Request, forward: Callable[[Request], Answer]) -> Answer:
        with self._lock:
            self.seen[request.verb] += 1
            plan, number = self._plan, self.seen[request.verb]
            lies = plan is not None and plan.concerns(request.verb, number)
            self.told += lies
            exchange = Exchange(request, forward, dict(self._earlier), self._ended)
        if lies:
            assert plan is not None
            return plan.lie(exchange)
        answer = forward(request)
        if request.verb == "list":
            self.remember(request.path, answer)
        return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: LyingProxy
    _behind: http.client.HTTPConnection | None = None

    def do_any(self) -> None:
        # Not what a client means to send, but what it sends: "Expect: 100-continue" was answered by the base class.
        size = int(self.headers.get("Content-Length") or 0)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        request = Request(self.command, self.path, headers, self.rfile.read(size))
        answer = self.server.answer(request, self._forward)
        self.close_connection = answer.stated is None or answer.reset or answer.stated not in (-1, len(answer.body))
        with contextlib.suppress(OSError):  # a client that has had enough goes
            self._send(answer)
        if answer.reset:
            # Closing with the linger time at 0 sends RST.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

    def finish(self) -> None:
        if self._behind is not None:
            self._behind.close()
        with contextlib.suppress(OSError):
            super().finish()

    def _forward(self, request: Request) -> Answer:
        for is_fresh in (False, True):
            if self._behind is None or is_fresh:
                self._behind = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
            try:
                self._behind.request(request.method, request.path, request.body or None, request.headers)
                came = self._behind.getresponse()
                body = came.read()
            except (http.client.HTTPException, OSError):
                if is_fresh:
                    raise
                continue  # the server had closed what was kept open
            headers = {name: value for name, value in came.getheaders() if name.lower() not in HOP_BY_HOP}
            return Answer(came.status, headers, body)
        raise AssertionError("not reached")

    def _send(self, answer: Answer) -> None:
        if not answer.status:
            return
        stated = len(answer.body) if answer.stated == -1 else answer.stated
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'Odd')}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items() if name.lower() != "content-length"]
        lines += [] if stated is None or answer.status == 204 else [f"Content-Length: {stated}"]
        lines += ["Connection: close"] if self.close_connection else []
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if self.command != "HEAD":
            self._send_body(answer)
        self.wfile.flush()

    def _send_body(self, answer: Answer) -> None:
        if answer.pace is None:
            self.wfile.write(answer.body)
            return
        step = max(1, answer.pace // 20)
        for start in range(0, len(answer.body), step):
            self.wfile.write(answer.body[start : start + step])
            self.wfile.flush()
            time.sleep(1 / 20)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the campaign says what happened."""


@contextlib.contextmanager
def lying_proxy(port: int) -> Iterator[LyingProxy]:
    """A proxy before the server on `port` of this machine, while the block lasts."""
    with LyingProxy(port) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.disarm()
            proxy.shutdown()
            thread.join()


def with_body(answer: Answer, body: bytes) -> Answer:
    """The same answer with another body, its length stated as it is."""
    return replace(answer, body=body, stated=-1)
