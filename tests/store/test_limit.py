"""Bandwidth limits: by a clock that only moves when somebody sleeps, in folders and against real servers."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from s3kit import FakeTime, SharedServer
from s3server import Server, serve_minio
from scripted import Answer

from vaultpy.store.limit import FREE, Line, Pace, line_of
from vaultpy.store.local import LocalStore
from vaultpy.store.location import S3Location, parse_location
from vaultpy.store.retry import Retrier
from vaultpy.store.s3 import S3Store, make_client
from vaultpy.store.s3.pacing import PIECE

MIB = 1024 * 1024
BODY = os.urandom(MIB)


def pace(time: FakeTime, rate: int) -> Pace:
    return Pace(rate, clock=time.clock, sleep=time.sleep)


def test_the_average_holds_and_a_second_s_worth_is_free(fake_time: FakeTime) -> None:
    one = pace(fake_time, 100)
    for _ in range(11):
        one.take(1000)
    # The last thousand are not waited for: they are on their way.
    assert sum(fake_time.slept) == pytest.approx(99)


def test_a_rest_saves_up_one_second_s_worth_and_no_more(fake_time: FakeTime) -> None:
    one = pace(fake_time, 100)
    fake_time.now += 1000
    one.take(100)
    one.take(1)
    assert fake_time.slept == []
    one.take(1)
    assert fake_time.slept == [pytest.approx(0.01)]


def test_many_threads_get_a_turn_each() -> None:
    """At a clock that stands still every sleep is a place in the queue: none is given twice."""
    slept: list[float] = []
    one = Pace(1000, clock=lambda: 0.0, sleep=slept.append)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: one.take(100), range(200)))
    assert sorted(slept) == pytest.approx([turn / 10 for turn in range(1, 190)])


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        Pace(0)


def test_a_line_is_limited_where_one_way_is() -> None:
    assert [line.limited for line in (FREE, line_of(1, None), line_of(None, 1), line_of(None, None))] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("body", [BODY * 3, [BODY, BODY, BODY], "a file"], ids=["bytes", "pieces", "file"])
def test_a_folder_takes_a_body_piece_by_piece(
    body: bytes | list[bytes] | str, tmp_path: Path, fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[float] = []
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(fake_time.now), sync(fd)))
    (tmp_path / "store").mkdir()
    (tmp_path / "body").write_bytes(BODY * 3)
    store = LocalStore(tmp_path / "store", Line(up=pace(fake_time, MIB // 2)))
    store.put("a", tmp_path / "body" if isinstance(body, str) else body)
    assert fake_time.slept == [pytest.approx(1), pytest.approx(2)]
    # Each piece is on the disk before the next has its turn, else a network file system would send them all at once.
    assert synced == [pytest.approx(1000), pytest.approx(1001), pytest.approx(1003)]
    assert store.get("a") == BODY * 3
    assert len(fake_time.slept) == 2, "down is another way"


def test_a_folder_gives_a_body_piece_by_piece(tmp_path: Path, fake_time: FakeTime) -> None:
    store = LocalStore(tmp_path, Line(down=pace(fake_time, MIB // 2)))
    store.put("a", BODY * 3)
    assert fake_time.slept == []
    assert store.get("a", 1, 3 * MIB - 1) == (BODY * 3)[1:]
    assert fake_time.slept == [pytest.approx(1), pytest.approx(2)]
    assert store.get("a", 5, 0) == b""


Open = Callable[[Line], S3Store]


@pytest.fixture(params=["rclone", "minio"])
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Open]:
    """Opens one bucket of a real server over lines of one's own."""
    with contextlib.ExitStack() as stack:
        if request.param == "minio":
            if shutil.which("minio") is None:
                pytest.skip("minio is not on PATH")
            server: Server = stack.enter_context(serve_minio(tmp_path))
        else:
            server = request.getfixturevalue("s3_server")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        location = parse_location(server.url(server.make_bucket()))
        assert isinstance(location, S3Location)

        def open_over(line: Line) -> S3Store:
            client = make_client(location, line)
            stack.callback(client.close)
            return S3Store(location, client)

        yield open_over


def test_a_server_gets_and_gives_a_body_in_small_pieces(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BODY)
    up, down = FakeTime(), FakeTime()
    store = opened(Line(pace(up, MIB // 16), pace(down, MIB // 8)))
    for number, body in enumerate((BODY, [BODY[: MIB // 3], b"", BODY[MIB // 3 :]], tmp_path / "body"), 1):
        store.put(f"n{number}", body)
        # Once each: what is read for the signature goes nowhere.
        assert sum(up.slept) == pytest.approx(number * 16 - 1, abs=PIECE * 16 / MIB + 0.01)
    assert max(up.slept) <= PIECE * 16 / MIB + 0.001
    assert down.slept == []
    for number in (1, 2, 3):
        assert store.get(f"n{number}") == BODY
        assert sum(down.slept) == pytest.approx(number * 8 - 1, abs=PIECE * 8 / MIB + 0.01)
    assert max(down.slept) <= PIECE * 8 / MIB + 0.001
    assert store.get("n1", 7, 5) == BODY[7:12]
    store.put("empty", b"")
    assert store.get("empty") == b""


def test_two_uploads_share_one_line(opened: Open) -> None:
    slept: list[float] = []
    store = opened(Line(up=Pace(MIB, clock=lambda: 0.0, sleep=slept.append)))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: store.put(name, [BODY, BODY]), ("a", "b")))
    assert max(slept) == pytest.approx(4 - 1, abs=PIECE / MIB + 0.001), "the last piece of four MiB had the last turn"


def test_what_is_sent_again_is_paid_again(shared_server: SharedServer, fake_time: FakeTime) -> None:
    client = make_client(shared_server.location, Line(up=pace(fake_time, MIB)))
    server = shared_server.server
    server.asked.clear()
    server.answers[:] = [Answer(500), Answer(200, headers={"ETag": '"x"'})]
    with contextlib.closing(client):
        S3Store(shared_server.location, client, retrier=Retrier(sleep=lambda _: None)).put("a", [BODY, BODY])
    assert [asked.body == BODY * 2 for asked in server.asked] == [True, True]
    assert sum(fake_time.slept) == pytest.approx(4 - 1, abs=PIECE / MIB + 0.01)
