"""Fixtures of the store's tests: a clock that only moves when somebody sleeps, and a server that says what it is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from s3kit import FakeTime, Scripted, SharedServer
from scripted import scripted_server

from vaultpy.store.location import S3Location
from vaultpy.store.retry import Patience, Retrier
from vaultpy.store.s3 import S3Store, make_client


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def scripted(shared_server: SharedServer, fake_time: FakeTime) -> Iterator[Scripted]:
    server = shared_server.server
    server.answers.clear()
    server.asked.clear()
    patience = Patience(first=1, longest=20, deadline=100, before_answer=50)

    def make(**settings: object) -> S3Store:
        retrier = Retrier(patience, clock=fake_time.clock, sleep=fake_time.sleep, jitter=lambda: 0.5)
        location = replace(shared_server.location, **settings)  # type: ignore[arg-type]
        return S3Store(location, shared_server.client, retrier=retrier, clock=lambda: 1_750_000_000.0)

    yield Scripted(make(), server, fake_time, make)
    assert server.answers == [], "an answer that was not asked for"


@pytest.fixture(scope="session")
def shared_server() -> Iterator[SharedServer]:
    with scripted_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "A" * 20)
        patch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
        location = S3Location("bucket", "p", endpoint=server.endpoint)
        client = make_client(location)
        with contextlib.closing(client):
            yield SharedServer(server, client, location)
