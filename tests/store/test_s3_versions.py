"""Versions in a bucket, and their locks: what cannot be seen for sure is an error, never "there is none"."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from s3kit import Scripted
from scripted import Answer, error, part

from vaultpy.errors import ObjectNotFound, StoreContradiction, StoreDenied, StoreError, StoreUnavailable
from vaultpy.store.counting import Count, CountingStore
from vaultpy.store.local import create_local
from vaultpy.store.memory import MemoryStore
from vaultpy.store.open import open_store
from vaultpy.store.s3 import S3Store
from vaultpy.store.versions import ObjectVersion, versions_of

MODIFIED = 1767323045678 * 10**6  # 2026-01-02T03:04:05.678Z, as these listings say
A = ObjectVersion("a", "1", 5, MODIFIED, False)
Entry = tuple[str, str, bool]


def xml(body: str, *, status: int = 200) -> Answer:
    return Answer(status, f'<?xml version="1.0"?>{body}'.encode(), {"Content-Type": "application/xml"})


def versions(*entries: Entry, marker: tuple[str, str] | None = None, truncated: str | None = None) -> Answer:
    """A page of ListObjectVersions: keys, versions, whether that is the latest; with a marker it is truncated."""
    stated = truncated or ("true" if marker else "false")
    listed = "".join(
        f"<Version><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>{str(latest).lower()}</IsLatest>"
        "<LastModified>2026-01-02T03:04:05.678Z</LastModified><Size>5</Size></Version>"
        f"<DeleteMarker><Key>{key}</Key><VersionId>m{id}</VersionId><IsLatest>false</IsLatest></DeleteMarker>"
        for key, id, latest in entries
    )
    following = ""
    if marker:
        key, id = marker
        following = f"<NextKeyMarker>{key}</NextKeyMarker>" if key else ""
        following += f"<NextVersionIdMarker>{id}</NextVersionIdMarker>" if id else ""
    return xml(f"<ListVersionsResult><IsTruncated>{stated}</IsTruncated>{following}{listed}</ListVersionsResult>")


ENABLED = xml("<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>")
NO_LOCKS = error(404, "ObjectLockConfigurationNotFoundError")
UNLOCKED = error(404, "NoSuchObjectLockConfiguration")
GONE = error(404, "NoSuchVersion")


def retention(until: str, mode: str = "COMPLIANCE") -> Answer:
    return xml(f"<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>")


def hold(status: str) -> Answer:
    return xml(f"<LegalHold><Status>{status}</Status></LegalHold>")


def test_pages_are_joined_by_their_markers(scripted: Scripted) -> None:
    scripted.server.answers += [
        versions(("p/a", "2", True), ("p/a", "1", False), marker=("p/a", "1")),
        error(503, "SlowDown"),
        versions(("p/a", "0", False), marker=("p/a", "0")),
        versions(("p/b/", "1", True), ("p/c", "null", False)),
    ]
    assert list(scripted.store.list_versions("")) == [
        ObjectVersion("a", "2", 5, MODIFIED, True),
        ObjectVersion("a", "1", 5, MODIFIED, False),
        ObjectVersion("a", "0", 5, MODIFIED, False),
        ObjectVersion("c", "null", 5, MODIFIED, False),
    ]
    queries = [asked.query for asked in scripted.server.asked]
    markers = [(query.get("key-marker"), query.get("version-id-marker")) for query in queries]
    assert markers == [(None, None), ("p/a", "1"), ("p/a", "1"), ("p/a", "0")]
    assert {query["prefix"] for query in queries} == {"p/"}
    assert all("?versions" in asked.path for asked in scripted.server.asked)


SOUND: Entry = ("p/b", "1", True)
SENSELESS = {
    "truncated without markers": [versions(SOUND, truncated="true")],
    "truncated without a version": [versions(SOUND, marker=("p/b", ""))],
    "truncated without a key": [versions(SOUND, marker=("", "1"))],
    "truncated and empty without markers": [versions(truncated="true")],
    "backwards in a page": [versions(("p/c", "1", True), SOUND)],
    "backwards between pages": [versions(("p/c", "1", True), marker=("p/c", "1")), versions(SOUND)],
    "the same version twice": [versions(SOUND, SOUND)],
    "the same version on two pages": [versions(SOUND, ("p/b", "0", False), marker=("p/b", "0")), versions(SOUND)],
    "the same marker again": [
        versions(SOUND, marker=("p/b", "1")),
        versions(("p/c", "1", True), marker=("p/b", "1")),
    ],
    "a key that was not asked for": [versions(("other", "1", True))],
    "no word on being whole": [xml("<ListVersionsResult></ListVersionsResult>")],
    "nothing under 200": [Answer(200)],
    "an entry without a version": [
        xml("<R><IsTruncated>false</IsTruncated><Version><Key>p/b</Key><IsLatest>true</IsLatest></Version></R>")
    ],
    "an entry that does not say whether it is the latest": [
        xml("<R><IsTruncated>false</IsTruncated><Version><Key>p/b</Key><VersionId>1</VersionId></Version></R>")
    ],
}


@pytest.mark.parametrize("answers", SENSELESS.values(), ids=SENSELESS)
def test_a_listing_that_makes_no_sense_is_a_contradiction(scripted: Scripted, answers: list[Answer]) -> None:
    scripted.server.answers += answers
    with pytest.raises(StoreContradiction):
        list(scripted.store.list_versions(""))


@pytest.mark.parametrize("answer", [error(501, "NotImplemented"), error(400, "NotImplemented"), Answer(501)])
def test_a_server_that_has_no_versions_has_none(scripted: Scripted, answer: Answer) -> None:
    scripted.server.answers += [answer]
    assert list(scripted.store.list_versions("")) == []


@pytest.mark.parametrize(
    "answer",
    [error(403, "AccessDenied"), error(404, "NoSuchBucket"), error(404, "NoSuchKey"), error(400, "InvalidArgument")],
)
def test_every_other_refusal_is_an_error(scripted: Scripted, answer: Answer) -> None:
    scripted.server.answers += [answer]
    with pytest.raises(StoreError) as caught:
        list(scripted.store.list_versions(""))
    assert not isinstance(caught.value, ObjectNotFound)


def test_a_server_that_fails_is_not_one_without_versions(scripted: Scripted) -> None:
    scripted.server.answers += [error(500, "InternalError")] * 9
    with pytest.raises(StoreUnavailable):
        list(scripted.store.list_versions(""))


def test_not_implemented_is_no_end_of_a_listing_that_has_begun(scripted: Scripted) -> None:
    scripted.server.answers += [versions(SOUND, marker=("p/b", "1")), error(501, "NotImplemented")]
    with pytest.raises(StoreError):
        list(scripted.store.list_versions(""))


RIGHTS: dict[str, tuple[list[Answer], Callable[[S3Store], object]]] = {
    "s3:ListBucketVersions": ([], lambda store: list(store.list_versions(""))),
    "s3:GetObjectVersion": ([], lambda store: store.get_version(A)),
    "s3:GetBucketObjectLockConfiguration": ([], lambda store: store.is_locked(A, 0)),
    "s3:GetObjectRetention": ([ENABLED], lambda store: store.is_locked(A, 0)),
    "s3:GetObjectLegalHold": ([ENABLED, UNLOCKED], lambda store: store.is_locked(A, 0)),
}


@pytest.mark.parametrize("right", RIGHTS)
def test_a_missing_right_is_named(scripted: Scripted, right: str) -> None:
    before, ask = RIGHTS[right]
    scripted.server.answers += [*before, error(403, "AccessDenied")]
    with pytest.raises(StoreDenied) as caught:
        ask(scripted.store)
    assert right in str(caught.value.hint)


def test_refused_credentials_lack_no_right(scripted: Scripted) -> None:
    scripted.server.answers += [error(403, "InvalidAccessKeyId")]
    with pytest.raises(StoreDenied, match="credentials were refused") as caught:
        list(scripted.store.list_versions(""))
    assert "ListBucketVersions" not in str(caught.value.hint)


def test_a_version_is_fetched_by_its_id_and_goes_on_where_it_was_cut(scripted: Scripted) -> None:
    scripted.server.answers += [part(b"12345", send=2, reset=True), part(b"12345", 2)]
    assert scripted.store.get_version(A) == b"12345"
    assert {asked.query["versionId"] for asked in scripted.server.asked} == {"1"}
    assert [asked.headers["range"] for asked in scripted.server.asked] == ["bytes=0-4", "bytes=2-4"]


@pytest.mark.parametrize("code", ["NoSuchVersion", "NoSuchKey"])
def test_a_version_that_is_gone_is_not_found(scripted: Scripted, code: str) -> None:
    scripted.server.answers += [error(404, code)]
    with pytest.raises(ObjectNotFound):
        scripted.store.get_version(A)


def test_a_version_of_another_size_than_listed_is_a_contradiction(scripted: Scripted) -> None:
    scripted.server.answers += [part(b"1234")]
    with pytest.raises(StoreContradiction):
        scripted.store.get_version(A)


def test_an_empty_version_is_not_asked_for(scripted: Scripted) -> None:
    assert scripted.store.get_version(ObjectVersion("a", "1", 0, 0, False)) == b""


NOW = MODIFIED
LOCKS = {
    "ends later": ([retention("2026-01-02T03:04:05.679Z")], True),
    "ends later, governance": ([retention("2026-01-02T03:04:06Z", "GOVERNANCE")], True),
    "ends now": ([retention("2026-01-02T03:04:05.678Z"), UNLOCKED], False),
    "has ended, held": ([retention("2026-01-02T03:04:05Z"), hold("ON")], True),
    "has ended, not held": ([retention("2026-01-02T03:04:05Z"), hold("OFF")], False),
    "none, held": ([UNLOCKED, hold("ON")], True),
    "none": ([UNLOCKED, UNLOCKED], False),
    "none, and no such thing as holds": ([UNLOCKED, error(501, "NotImplemented")], False),
    "none, as MinIO says it": ([error(400, "NoSuchObjectLockConfiguration")] * 2, False),
    "gone": ([GONE, GONE], False),
}


@pytest.mark.parametrize(("answers", "locked"), LOCKS.values(), ids=LOCKS)
def test_a_version_is_locked_by_a_retention_that_lasts_or_a_hold(
    scripted: Scripted, answers: list[Answer], locked: bool
) -> None:
    scripted.server.answers += [ENABLED, *answers]
    assert scripted.store.is_locked(A, NOW) is locked
    assert {asked.query["versionId"] for asked in scripted.server.asked[1:]} == {"1"}


@pytest.mark.parametrize("answer", [NO_LOCKS, error(501, "NotImplemented")])
def test_a_bucket_without_locks_is_asked_once(scripted: Scripted, answer: Answer) -> None:
    scripted.server.answers += [answer]
    assert [scripted.store.is_locked(A, 0) for _ in range(3)] == [False] * 3


@pytest.mark.parametrize(
    "answers",
    [
        [error(400, "InvalidRequest")],
        [xml("<Retention></Retention>")],
        [xml("<Error><Code>InternalError</Code></Error>")],
        [UNLOCKED, error(400, "InvalidRequest")],
        [UNLOCKED, hold("PERHAPS")],
        [UNLOCKED, xml("<LegalHold></LegalHold>")],
    ],
)
def test_a_lock_of_which_nothing_is_said_for_sure_is_an_error(scripted: Scripted, answers: list[Answer]) -> None:
    scripted.server.answers += [ENABLED, *answers]
    with pytest.raises(StoreError):
        scripted.store.is_locked(A, 0)


def test_a_counting_store_passes_versions_on(scripted: Scripted) -> None:
    """Else a lock would be overlooked."""
    wrapped = CountingStore(scripted.store)
    scripted.server.answers += [versions(("p/a", "1", False)), part(b"12345"), ENABLED, UNLOCKED, hold("ON")]
    [version] = versions_of(wrapped).list_versions("")
    assert version == A
    assert versions_of(wrapped).get_version(version) == b"12345"
    assert versions_of(wrapped).is_locked(version, 0)
    assert [wrapped.count(verb) for verb in ("list", "get", "stat")] == [Count(1), Count(1, 5), Count(1)]


def test_stores_without_versions_have_none(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Folders, memory and a real server, also where something was deleted."""
    for store in (
        open_store(s3_url),
        create_local(tmp_path_factory.mktemp("local") / "store"),
        MemoryStore(lambda: 0),
        CountingStore(MemoryStore(lambda: 0)),
    ):
        store.put("a", b"12345")
        store.put("b", b"12345")
        store.delete("a")
        assert list(versions_of(store).list_versions("")) == []
    unversioned = versions_of(MemoryStore(lambda: 0))
    assert not unversioned.is_locked(A, 0)
    with pytest.raises(ObjectNotFound):
        unversioned.get_version(A)
