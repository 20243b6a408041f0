"""Lies that an S3 server, or whatever lies on the way to it, can tell in HTTP: errors before and after the deed, bodies that
are cut, flipped or somebody else's, listings that are old, have gaps, or never end."""

from __future__ import annotations

import email.utils
import itertools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lying_proxy import Answer, Exchange, with_body

VERBS = ("put", "get", "list", "delete")
YEAR = 366 * 86400
PIECE = 64 * 1024

Tell = Callable[[Exchange], Answer]


@dataclass(frozen=True, slots=True)
class HttpLie:
    """A lie, and the verbs that it can be told about."""

    name: str
    verbs: tuple[str, ...]
    tell: Tell


def xml_error(status: int, code: str, **headers: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said by the proxy</Message></Error>"
    return Answer(status, _dated({"Content-Type": "application/xml", **headers}), body.encode())


def _dated(headers: dict[str, str]) -> dict[str, str]:
    return {"Date": email.utils.formatdate(usegmt=True), **headers}


def _before(answer: Answer) -> Tell:
    return lambda exchange: answer


def _after(answer: Answer) -> Tell:
    def tell(exchange: Exchange) -> Answer:
        exchange.forward(exchange.request)
        return answer

    return tell


def _changed(change: Callable[[Answer], Answer]) -> Tell:
    return lambda exchange: change(exchange.forward(exchange.request))


def _body(change: Callable[[bytes], bytes]) -> Tell:
    return _changed(lambda answer: with_body(answer, change(answer.body)))


def _headers(**changed: str) -> Tell:
    def change(answer: Answer) -> Answer:
        names = {name.replace("_", "-").lower() for name in changed}
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in names}
        return replace(answer, headers=kept | {name.replace("_", "-"): value for name, value in changed.items()})

    return _changed(change)


def _cut(at: Callable[[int], int]) -> Tell:
    """The length of the whole is stated; the connection ends before that."""

    def change(answer: Answer) -> Answer:
        end = max(0, min(at(len(answer.body)), len(answer.body) - 1))
        return replace(answer, body=answer.body[:end], stated=len(answer.body))

    return _changed(change)


def _flip(data: bytes, at: int) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[at] ^= 0x10
    return bytes(changed)


def _black_hole(exchange: Exchange) -> Answer:
    exchange.ended.wait(30)
    return Answer(0, reset=True)


def _black_hole_after(exchange: Exchange) -> Answer:
    exchange.forward(exchange.request)
    return _black_hole(exchange)


def _twice(exchange: Exchange) -> Answer:
    exchange.forward(exchange.request)
    return exchange.forward(exchange.request)


def _stale(exchange: Exchange) -> Answer:
    return exchange.earlier.get(exchange.request.path) or exchange.forward(exchange.request)


def _lost(exchange: Exchange) -> Answer:
    deleted = exchange.request.method == "DELETE"
    return Answer(204 if deleted else 200, _dated({} if deleted else {"ETag": '"0"'}))


def _spoiled_put(exchange: Exchange) -> Answer:
    request = exchange.request
    return exchange.forward(replace(request, body=_flip(request.body, len(request.body) // 2)))


_CONTENTS = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)


def _entries(change: Callable[[list[bytes]], list[bytes]]) -> Tell:
    """Other entries in the same listing."""

    def rewrite(body: bytes) -> bytes:
        found = _CONTENTS.findall(body)
        if not found:
            return body
        first = body.index(found[0])
        return body[:first] + b"".join(change(found)) + _CONTENTS.sub(b"", body[first:])

    return _body(rewrite)


def _without(position: Callable[[int], int]) -> Tell:
    def leave_out(entries: list[bytes]) -> list[bytes]:
        at = position(len(entries))
        return entries[:at] + entries[at + 1 :]

    return _entries(leave_out)


def _truncated(token: bytes) -> Tell:
    def rewrite(body: bytes) -> bytes:
        body = re.sub(rb"<IsTruncated>\w+</IsTruncated>", b"<IsTruncated>true</IsTruncated>", body)
        return body.replace(b"</ListBucketResult>", token + b"</ListBucketResult>")

    return _body(rewrite)


_NUMBERS = itertools.count()


def _endless(exchange: Exchange) -> Answer:
    """Page after page, each empty, each with another token."""
    answer = exchange.forward(exchange.request)
    body = _CONTENTS.sub(b"", answer.body)
    body = re.sub(rb"<IsTruncated>\w+</IsTruncated>", b"<IsTruncated>true</IsTruncated>", body)
    token = b"<NextContinuationToken>page-%d</NextContinuationToken>" % next(_NUMBERS)
    return with_body(answer, body.replace(b"</ListBucketResult>", token + b"</ListBucketResult>"))


def _sizes(body: bytes) -> bytes:
    return re.sub(rb"<Size>(\d+)</Size>", lambda match: b"<Size>%d</Size>" % (int(match[1]) + 1), body)


def _times(year: bytes) -> Callable[[bytes], bytes]:
    return lambda body: re.sub(rb"<LastModified>\d{4}", b"<LastModified>" + year, body)


def _range(change: Callable[[str], str]) -> Tell:
    def rewrite(answer: Answer) -> Answer:
        headers = {
            name: change(value) if name.lower() == "content-range" else value for name, value in answer.headers.items()
        }
        return replace(answer, headers=headers)

    return _changed(rewrite)


def _other(exchange: Exchange) -> Answer:
    """Somebody else's bytes under the right headers."""
    return with_body(exchange.forward(exchange.request), b'{"format":1}')


HTML = Answer(200, _dated({"Content-Type": "text/html"}), b"<html><body>Please log in to this network</body></html>")
FAR = email.utils.formatdate(time.time() + 10 * YEAR, usegmt=True)
PAST = email.utils.formatdate(time.time() - 10 * YEAR, usegmt=True)

LIES = (
    HttpLie("500 before", VERBS, _before(xml_error(500, "InternalError"))),
    HttpLie("500 after", VERBS, _after(xml_error(500, "InternalError"))),
    HttpLie("503 with Retry-After", VERBS, _before(xml_error(503, "SlowDown", **{"Retry-After": "1"}))),
    HttpLie("503 with Retry-After of a day", VERBS, _before(xml_error(503, "SlowDown", **{"Retry-After": "86400"}))),
    HttpLie(
        "503 with a Retry-After that is none", VERBS, _before(xml_error(503, "SlowDown", **{"Retry-After": "soon"}))
    ),
    HttpLie("403", VERBS, _before(xml_error(403, "AccessDenied"))),
    HttpLie("403 after", ("put", "delete"), _after(xml_error(403, "AccessDenied"))),
    HttpLie("404 of the key", VERBS, _before(xml_error(404, "NoSuchKey"))),
    HttpLie("404 of the bucket", VERBS, _before(xml_error(404, "NoSuchBucket"))),
    HttpLie("404 without a word", VERBS, _before(Answer(404, _dated({})))),
    HttpLie("409", VERBS, _before(xml_error(409, "OperationAborted"))),
    HttpLie("409 of a condition", ("put",), _after(xml_error(409, "ConditionalRequestConflict"))),
    HttpLie("412", ("put",), _before(xml_error(412, "PreconditionFailed"))),
    HttpLie("412 after", ("put",), _after(xml_error(412, "PreconditionFailed"))),
    HttpLie("429", VERBS, _before(xml_error(429, "TooManyRequests"))),
    HttpLie("501", VERBS, _before(xml_error(501, "NotImplemented"))),
    HttpLie("507", VERBS, _before(xml_error(507, "InsufficientStorage"))),
    HttpLie("expired credentials", VERBS, _before(xml_error(400, "ExpiredToken"))),
    HttpLie("wrong clock", VERBS, _before(xml_error(403, "RequestTimeTooSkewed"))),
    HttpLie("a redirect", VERBS, _before(xml_error(307, "TemporaryRedirect", Location="http://127.0.0.1:9/"))),
    HttpLie("reset before", VERBS, _before(Answer(0, reset=True))),
    HttpLie("reset after", VERBS, _after(Answer(0, reset=True))),
    HttpLie("a black hole", VERBS, _black_hole),
    HttpLie("a black hole after", VERBS, _black_hole_after),
    HttpLie("200 with an XML error", VERBS, _before(replace(xml_error(500, "InternalError"), status=200))),
    HttpLie("200 with an XML error of the key", VERBS, _before(replace(xml_error(404, "NoSuchKey"), status=200))),
    HttpLie("200 with a page", VERBS, _before(HTML)),
    HttpLie("200 with nothing", VERBS, _before(Answer(200, _dated({})))),
    HttpLie("no Content-Length", VERBS, _changed(lambda answer: replace(answer, stated=None))),
    HttpLie(
        "no Content-Length and half of it",
        ("get", "list"),
        _changed(lambda answer: replace(answer, body=answer.body[: len(answer.body) // 2], stated=None)),
    ),
    HttpLie(
        "1 kB/s", ("get", "list"), _changed(lambda answer: replace(answer, pace=1000, body=answer.body, stated=-1))
    ),
    HttpLie("delivered twice", VERBS, _twice),
    HttpLie("a date in ten years", ("list",), _headers(Date=FAR)),
    HttpLie("a date of ten years ago", ("list",), _headers(Date=PAST)),
    HttpLie("no date", ("list",), _headers(Date="never")),
    HttpLie("cut at the start", ("get", "list"), _cut(lambda size: 0)),
    HttpLie("cut after a byte", ("get", "list"), _cut(lambda size: 1)),
    HttpLie("cut in the middle", ("get", "list"), _cut(lambda size: size // 2)),
    HttpLie("cut before the last byte", ("get", "list"), _cut(lambda size: size - 1)),
    *(HttpLie(f"cut at {n} x 64 KiB", ("get",), _cut(lambda size, n=n: n * PIECE)) for n in (1, 2, 3)),
    HttpLie("flipped at the start", ("get", "list"), _body(lambda body: _flip(body, 0))),
    HttpLie("flipped in the middle", ("get", "list"), _body(lambda body: _flip(body, len(body) // 2))),
    HttpLie("flipped at the end", ("get", "list"), _body(lambda body: _flip(body, -1))),
    HttpLie("a byte more", ("get",), _body(lambda body: body + b"\0")),
    HttpLie("another object", ("get",), _other),
    HttpLie("a range of elsewhere", ("get",), _range(lambda value: value.replace("bytes ", "bytes 1"))),
    HttpLie("a range of no total", ("get",), _range(lambda value: re.sub(r"/\d+", "/*", value))),
    HttpLie("a range of another total", ("get",), _range(lambda value: value + "0")),
    HttpLie("stale", ("list",), _stale),
    HttpLie("empty", ("list",), _entries(lambda entries: [])),
    HttpLie("without the first", ("list",), _without(lambda count: 0)),
    HttpLie("without one in the middle", ("list",), _without(lambda count: count // 2)),
    HttpLie("without the last", ("list",), _without(lambda count: count - 1)),
    HttpLie("backwards", ("list",), _entries(lambda entries: entries[::-1])),
    HttpLie("every entry twice", ("list",), _entries(lambda entries: [one for one in entries for _ in range(2)])),
    HttpLie("truncated without a token", ("list",), _truncated(b"")),
    HttpLie(
        "truncated with one token for ever",
        ("list",),
        _truncated(b"<NextContinuationToken>again</NextContinuationToken>"),
    ),
    HttpLie("endless empty pages", ("list",), _endless),
    HttpLie("sizes one more", ("list",), _body(_sizes)),
    HttpLie("times of 2099", ("list",), _body(_times(b"2099"))),
    HttpLie("times of 1999", ("list",), _body(_times(b"1999"))),
    HttpLie("does not say whether it is whole", ("list",), _body(lambda body: body.replace(b"IsTruncated", b"IsCut"))),
    HttpLie("lost", ("put", "delete"), _lost),
    HttpLie("bit flipped on the way", ("put",), _spoiled_put),
)

LASTING = frozenset(
    {"500 before", "403", "reset before", "a black hole", "stale", "without the last", "endless empty pages"}
)
"""Lies that are also told from one request on for good."""
