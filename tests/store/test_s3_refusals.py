"""Refused credentials, wrong clocks, busy and missing servers: said in a line, with the way out, and repeated or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from s3kit import FakeTime, Scripted
from s3server import free_port
from scripted import Answer, error, listing, part, stored

from vaultpy.errors import StoreDenied, StoreError, StoreUnavailable, UsageError
from vaultpy.store.location import S3Location
from vaultpy.store.open import open_store
from vaultpy.store.retry import Patience, Retrier
from vaultpy.store.s3 import S3Store, make_client


@pytest.mark.parametrize(
    ("status", "code", "message", "hint"),
    [
        (400, "ExpiredToken", "credentials have expired", "renew"),
        (403, "InvalidTokenId", "credentials have expired", "renew"),
        (403, "RequestExpired", "credentials have expired", "renew"),
        (403, "RequestTimeTooSkewed", "this machine's clock is wrong", "clock"),
        (403, "InvalidAccessKeyId", "credentials were refused", "access key"),
        (403, "SignatureDoesNotMatch", "credentials were refused", "secret"),
        (400, "InvalidToken", "credentials were refused", "access key"),
        (403, "AccessDenied", "access denied", "docs/s3.md"),
        (403, "AllAccessDisabled", "access denied", "docs/s3.md"),
        (401, "Unauthorized", "access denied", "docs/s3.md"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_is_not_repeated(
    scripted: Scripted, status: int, code: str, message: str, hint: str
) -> None:
    scripted.server.answers += [error(status, code)]
    with pytest.raises(StoreDenied, match=message) as caught:
        scripted.store.put("x", b"1")
    assert hint in (caught.value.hint or "")
    assert scripted.time.slept == []
    assert "very secret" not in f"{caught.value.message}{caught.value.hint}"


def test_what_the_server_said_is_shown_in_one_bounded_line(scripted: Scripted) -> None:
    scripted.server.answers += [error(400, "Odd", "first\n\n  second." + "x" * 5000)]
    with pytest.raises(StoreError, match="Odd: first second") as caught:
        scripted.store.put("x", b"1")
    assert len(caught.value.message) < 500
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("Sun, 15 Jun 2025 15:06:52 GMT", 12.0), ("soon", 0.5), ("", 0.5)]
)
def test_retry_after_is_honoured(scripted: Scripted, header: str, seconds: float) -> None:
    busy = error(503, "SlowDown")
    later = replace(busy, headers={**busy.headers, "Retry-After": header})
    scripted.server.answers += [later, stored(), later, part(b"1"), later, listing(), later, Answer(204)]
    scripted.store.put("x", b"1")
    scripted.store.get("x")
    list(scripted.store.list(""))
    scripted.store.delete("x")
    assert scripted.time.slept == [seconds] * 4


def test_a_wait_beyond_the_deadline_is_not_begun(scripted: Scripted) -> None:
    scripted.server.answers += [error(503, "SlowDown", Retry_After="3600")]
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        scripted.store.put("x", b"1")
    assert scripted.time.slept == []


def test_an_outage_in_the_middle_is_sat_out_longer_than_one_at_the_start(scripted: Scripted) -> None:
    scripted.server.answers += [error(503, "SlowDown")] * 9
    with pytest.raises(StoreUnavailable):
        scripted.store.put("x", b"1")
    at_start = sum(scripted.time.slept)
    scripted.server.answers += [stored(), *[error(503, "SlowDown")] * 14]
    scripted.store.put("x", b"1")
    with pytest.raises(StoreUnavailable):
        scripted.store.put("x", b"1")
    assert at_start <= 50 < sum(scripted.time.slept) - at_start <= 100


def test_a_wrong_region_names_the_setting(scripted: Scripted) -> None:
    scripted.server.answers += [error(400, "IllegalLocationConstraintException")]
    with pytest.raises(StoreError) as caught:
        scripted.store.put("x", b"1")
    assert "region=" in (caught.value.hint or "")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A" * 20)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")


@pytest.mark.usefixtures("keys")
def test_a_server_that_is_not_there_is_given_up_soon(fake_time: FakeTime) -> None:
    location = S3Location("bucket", endpoint=f"http://127.0.0.1:{free_port()}")
    client = make_client(location)
    retrier = Retrier(Patience(), clock=fake_time.clock, sleep=fake_time.sleep, jitter=lambda: 1.0)
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        S3Store(location, client, retrier=retrier).clock()
    assert "endpoint" in (caught.value.hint or "")
    assert 5 < sum(fake_time.slept) <= 20
    client.close()


def test_without_credentials_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreDenied, match="no credentials") as caught:
        open_store("s3://bucket/prefix?endpoint=http://127.0.0.1:9")
    assert "AWS_ACCESS_KEY_ID" in (caught.value.hint or "")


def test_an_unknown_profile_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(StoreError, match="no-such-profile"):
        open_store("s3://bucket/prefix")


@pytest.mark.usefixtures("keys")
def test_a_certificate_bundle_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="/nonexistent"):
        open_store("s3://bucket?endpoint=https://127.0.0.1:9&ca=/nonexistent")
