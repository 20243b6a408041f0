"""The line between a program and a server: a proxy that counts what passes, and makes the line as slow and long as asked.

Bytes pass unchanged; of HTTP only the heads of requests are looked at.  What is modelled: one line with a fixed rate in each
direction that all connections share, a fixed delay, and a round trip for every new connection.  What is not: slow start,
loss, TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PIECE = 64 * 1024
AHEAD = 0.05
"""Seconds of data that may wait before the line, as in a socket's buffer: else the line would idle between two pieces."""

LARGE = 1 << 20
"""A PUT of at least so many bytes carries content, not metadata."""

Span = tuple[float, float]
Saw = Callable[[bytes, Span], None]


@dataclass
class Traffic:
    """What passed: requests by method, bytes each way (heads too), when the line to the server was busy, and when it
    carried content."""

    requests: Counter[str] = field(default_factory=Counter)
    paths: list[tuple[str, str]] = field(default_factory=list)
    up: int = 0
    down: int = 0
    busy: list[Span] = field(default_factory=list)
    content: Span | None = None

    def fullness(self) -> float | None:
        """The share of the time between the first and the last byte of content in which the line was busy."""
        return None if self.content is None else share_busy(self.busy, self.content)


def share_busy(busy: list[Span], within: Span) -> float:
    """How much of a span is covered by spans in ascending order that do not overlap."""
    begin, end = within
    covered = sum(max(0.0, min(end, stop) - max(begin, start)) for start, stop in busy)
    return covered / (end - begin) if end > begin else 0.0


class _Direction:
    """One direction of the line.  `rate` in bytes a second (None: as fast as it goes), `delay` in seconds."""

    def __init__(self, rate: float | None, delay: float) -> None:
        self._rate, self._delay = rate, delay
        self._free = 0.0

    async def carry(self, size: int) -> tuple[Span, float]:
        """Wait until there is room for a piece; returns when it is on the line, and when it arrives."""
        loop = asyncio.get_running_loop()
        start = max(self._free, loop.time())
        self._free = end = start + (size / self._rate if self._rate else 0.0)
        if end - loop.time() > AHEAD:
            await asyncio.sleep(end - loop.time() - AHEAD)
        return (start, end), end + self._delay


class _Requests:
    """Reads one connection's bytes to the server as HTTP/1.1 requests, as far as counting needs."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._head = b""
        self._body = 0
        self._is_large = False

    def take(self, data: bytes, span: Span) -> None:
        while data:
            if self._body:
                used = min(self._body, len(data))
                self._body -= used
                data = data[used:]
                if self._is_large:
                    begin = self._traffic.content[0] if self._traffic.content else span[0]
                    self._traffic.content = (
                        begin,
                        max(span[1], self._traffic.content[1] if self._traffic.content else 0),
                    )
                continue
            head, found, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = b"" if found else head
            if found:
                self._begin(head)

    def _begin(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = first.partition(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._traffic.requests[method] += 1
        self._traffic.paths.append((method, rest.partition(" ")[0]))
        self._body = int(fields.get("content-length", 0))
        self._is_large = method == "PUT" and self._body >= LARGE


class Line:
    """A proxy on a port of its own; `traffic` is what has passed since `reset`."""

    def __init__(self, port: int, target: int, rate: float | None, round_trip: float) -> None:
        self.traffic = Traffic()
        self.port = port
        self._target = target
        self._delay = round_trip / 2
        self._up, self._down = _Direction(rate, self._delay), _Direction(rate, self._delay)

    def reset(self) -> None:
        self.traffic = Traffic()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until both sides have closed it, or the line ends."""
        with contextlib.suppress(asyncio.CancelledError):
            await self._carry(reader, writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * self._delay)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        requests = _Requests(self.traffic)

        def to_server(data: bytes, span: Span) -> None:
            self.traffic.up += len(data)
            self.traffic.busy.append(span)
            requests.take(data, span)

        def to_client(data: bytes, span: Span) -> None:
            self.traffic.down += len(data)

        try:
            await asyncio.gather(
                _pump(reader, server_writer, self._up, to_server), _pump(server_reader, writer, self._down, to_client)
            )
        finally:
            writer.close()
            server_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Direction, saw: Saw) -> None:
    loop = asyncio.get_running_loop()
    arrives = 0.0
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(PIECE):
            span, arrives = await way.carry(len(data))
            saw(data, span)
            if arrives > loop.time():
                loop.call_at(arrives, writer.write, data)
            else:
                writer.write(data)
                await writer.drain()
    if arrives > loop.time():
        await asyncio.sleep(arrives - loop.time())  # what is on its way arrives before the end does
    writer.close()


@contextlib.contextmanager
def open_line(port: int, target: int, *, rate: float | None = None, round_trip: float = 0.0) -> Iterator[Line]:
    """A line from `port` to `target` of this machine, while the block lasts; it runs in a thread of its own."""
    line = Line(port, target, rate, round_trip)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(line.connect, "127.0.0.1", port, limit=PIECE))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # closed transports let go of their sockets in the loop's next turn
