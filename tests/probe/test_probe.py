"""What a probe says of stores that keep their word, and of such as do not; and that it leaves nothing behind."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultpy.errors import ObjectNotFound, StoreContradiction, StoreDenied
from vaultpy.ops.probing.probe import probe
from vaultpy.ops.probing.probed import Probed, Right, Verdict
from vaultpy.store import names
from vaultpy.store.base import Body, ObjectInfo
from vaultpy.store.bodies import body_pieces
from vaultpy.store.local import create_local
from vaultpy.store.memory import MemoryStore
from vaultpy.store.trial import LockRule


class Bucket(MemoryStore):
    """A store in memory that can be tried out, and broken."""

    def __init__(self) -> None:
        super().__init__(time.time_ns)
        self.denied: set[tuple[str, str]] = set()
        self.lock: LockRule | None = None
        self.page_gap = False

    def overwrite(self, name: str, body: bytes) -> None:
        self._check("put", name)
        self.objects[name] = body, time.time_ns()

    def list_in_pages(self, prefix: str, keys: int) -> Iterator[ObjectInfo]:
        found = list(super().list(prefix))
        return iter(found[:keys] if self.page_gap else found)

    def lock_rule(self) -> LockRule | None:
        return self.lock

    def put(self, name: str, body: Body) -> None:
        self._check("put", name)
        super().put(name, body)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self._check("get", name)
        return super().get(name, start, length)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._check("list", prefix)
        return super().list(prefix)

    def delete(self, name: str) -> None:
        self._check("delete", name)
        super().delete(name)

    def deny(self, verb: str, *prefixes: str) -> None:
        self.denied |= {(verb, prefix) for prefix in prefixes}

    def _check(self, verb: str, name: str) -> None:
        if any(verb == one and name.startswith(prefix) for one, prefix in self.denied):
            raise StoreDenied(f"{verb} {name}: access denied")


def run(store: Bucket, *, short: bool = False) -> Probed:
    return probe(store, store, clock=time.time_ns, random=os.urandom, short=short)


def verdict(probed: Probed, subject: str) -> Verdict:
    return next(one.verdict for one in probed.tried if one.subject == subject)


AREAS = ("blobs/", "metadata/", "purges/", "keys/")


def test_a_good_store_has_nothing_bad_and_is_left_as_it_was() -> None:
    bucket = Bucket()
    bucket.lock = LockRule("COMPLIANCE", 30)
    probed = run(bucket)
    assert probed.bad == () and probed.exit_code == 0
    assert probed.left == () and bucket.objects == {}
    assert probed.roles == ("host", "keeper", "restorer")
    assert verdict(probed, "object lock") == verdict(probed, "second put") == Verdict.GOOD
    assert verdict(probed, "overwriting") == Verdict.WEAK


def test_a_folder_is_probed_without_a_trace(tmp_path: Path) -> None:
    store = create_local(tmp_path / "store")
    probed = probe(store, None, clock=time.time_ns, random=os.urandom)
    assert probed.bad == () and probed.left == ()
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_the_short_form_finds_what_must_not_be_and_asks_less() -> None:
    bucket = Bucket()
    long, short = run(bucket), run(bucket, short=True)
    assert len(short.tried) < len(long.tried)
    assert short.bad == () and bucket.objects == {}


def test_what_may_not_be_deleted_has_names_that_a_prune_collects() -> None:
    bucket = Bucket()
    bucket.deny("delete", *AREAS)
    probed = run(bucket)
    assert sorted(probed.left) == sorted(bucket.objects) != []
    for name in probed.left:
        assert names.parse_blob_name(name) or names.parse_export_name(name) or names.parse_purge_name(name), name
    assert probed.rights[Right.DELETE_BLOBS] is False


def test_a_host_of_least_privilege_is_told_so() -> None:
    bucket = Bucket()
    bucket.deny("delete", *AREAS)
    bucket.deny("get", "blobs/", "keys/")
    bucket.deny("put", "purges/")
    probed = run(bucket)
    assert probed.roles == ("host",) and probed.bad == ()
    assert verdict(probed, "rights") == Verdict.GOOD


def test_a_host_that_may_delete_is_told_what_that_means() -> None:
    bucket = Bucket()
    found = [one for one in run(bucket).tried if one.subject == "rights"]
    assert [one.verdict for one in found] == [Verdict.WEAK, Verdict.WEAK]
    assert "delete blobs/" in found[0].found and "get keys/" in found[1].found


def test_a_keeper_and_a_restorer_are_known_by_their_rights() -> None:
    keeper = Bucket()
    keeper.deny("put", "blobs/", "metadata/", "keys/")
    keeper.deny("get", "blobs/", "keys/")
    assert run(keeper).roles == ("keeper",)
    assert keeper.objects == {}
    restorer = Bucket()
    restorer.deny("put", *AREAS)
    assert run(restorer).roles == ("restorer",)


def test_credentials_that_may_do_nothing_are_bad() -> None:
    bucket = Bucket()
    for verb in ("put", "get", "list", "delete"):
        bucket.deny(verb, "")
    probed = probe(_NoClock(bucket), None, clock=time.time_ns, random=os.urandom)
    assert probed.exit_code == 1
    assert verdict(probed, "rights") == Verdict.BAD


class _NoClock:
    """A bucket whose clock is a listing, as an S3 server's is."""

    def __init__(self, bucket: Bucket) -> None:
        self.url = bucket.url
        self.put, self.get, self.list, self.delete, self.stat = (
            bucket.put,
            bucket.get,
            bucket.list,
            bucket.delete,
            bucket.stat,
        )

    def clock(self) -> int:
        raise StoreDenied("list everything: access denied")


class _Stale(Bucket):
    """Lists what was there when it began."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(())


class _Forgetful(Bucket):
    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        found = super().get(name, start, length)
        return found[:-1] + b"\x00" if len(found) > 1 else found


class _Whole(Bucket):
    """Ignores ranges, and says nothing of it."""

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        return super().get(name)


class _Padding(Bucket):
    """Gives zeros past the end."""

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        try:
            return super().get(name, start, length)
        except StoreContradiction:
            return bytes(length or 0)


class _NeverMissing(Bucket):
    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        try:
            return super().get(name, start, length)
        except ObjectNotFound:
            return b""


class _Undying(Bucket):
    def delete(self, name: str) -> None:
        return


class _Wound(Bucket):
    """Stamps objects with another clock than the one it tells."""

    def clock(self) -> int:
        return time.time_ns() + 60 * 1_000_000_000


class _Gapped(Bucket):
    def __init__(self) -> None:
        super().__init__()
        self.page_gap = True


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        (_Stale, "listing"),
        (_Forgetful, "reading"),
        (_Whole, "ranges"),
        (_Padding, "ranges"),
        (_NeverMissing, "missing objects"),
        (_Undying, "deleting in blobs/"),
        (_Wound, "object times"),
        (_Gapped, "pages"),
    ],
)
def test_a_store_that_breaks_its_word_is_bad(kind: type[Bucket], subject: str) -> None:
    probed = run(kind())
    assert probed.exit_code == 1
    assert subject in {one.subject for one in probed.bad}


class _Replacing(Bucket):
    """Ignores conditions, as some servers do."""

    def put(self, name: str, body: Body) -> None:
        self.overwrite(name, b"".join(body_pieces(body)))


def test_a_server_that_replaces_is_weak_not_bad() -> None:
    probed = run(_Replacing())
    assert probed.bad == ()
    assert verdict(probed, "second put") == verdict(probed, "two puts at once") == Verdict.WEAK


def test_a_clock_that_is_off_is_said() -> None:
    bucket = Bucket()
    probed = probe(bucket, bucket, clock=lambda: time.time_ns() - 3600 * 10**9, random=os.urandom)
    assert verdict(probed, "clock") == Verdict.WEAK
