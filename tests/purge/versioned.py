"""Stores that keep versions, with locks or without: a model in memory, and buckets of MinIO."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sites import SETTINGS, START, Site

from vaultpy.errors import ObjectNotFound
from vaultpy.store import names
from vaultpy.store.base import Body
from vaultpy.store.identity import encode_store_config
from vaultpy.store.location import S3Location
from vaultpy.store.memory import MemoryStore
from vaultpy.store.s3 import S3Store, make_client
from vaultpy.store.versions import ObjectVersion

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class Kept:
    """A version as it was put: `until` is when its retention ends."""

    version: ObjectVersion
    data: bytes
    until: int


class VersionedStore(MemoryStore):
    """Deleting hides; what is put is retained for `lock` nanoseconds.  `asked`: versions whose locks were looked at."""

    def __init__(self, clock: Callable[[], int], lock: int) -> None:
        super().__init__(clock)
        self.kept: list[Kept] = []
        self.asked: list[ObjectVersion] = []
        self._held: set[str] = set()
        self._lock_time = lock
        self._numbers = itertools.count(1)

    def put(self, name: str, body: Body) -> None:
        known = name in self.objects
        super().put(name, body)
        if not known:
            data, now = self.objects[name]
            version = ObjectVersion(name, f"v{next(self._numbers)}", len(data), now, True)
            self.kept.append(Kept(version, data, now + self._lock_time))

    def list_versions(self, prefix: str) -> Iterator[ObjectVersion]:
        shown = {kept.version.name: kept.version.id for kept in self.kept if kept.version.name in self.objects}
        for kept in sorted(self.kept, key=lambda kept: kept.version.name):
            name = kept.version.name
            if name.startswith(prefix):
                yield replace(kept.version, latest=shown.get(name) == kept.version.id)

    def get_version(self, version: ObjectVersion) -> bytes:
        for kept in self.kept:
            if kept.version.id == version.id:
                return kept.data
        raise ObjectNotFound(f"version {version.id} is not in the store")

    def is_locked(self, version: ObjectVersion, now: int) -> bool:
        self.asked.append(version)
        return version.id in self._held or any(kept.until > now for kept in self.kept if kept.version.id == version.id)

    def hold(self, version: ObjectVersion) -> None:
        self._held.add(version.id)

    def destroy(self, name: str) -> None:
        """Remove an object with all its versions."""
        self.delete(name)
        self.kept = [kept for kept in self.kept if kept.version.name != name]


class Bucket(S3Store):
    """A bucket whose clock goes ahead of the server's, as far as a test says."""

    def __init__(self, location: S3Location, client: S3Client, ahead: Callable[[], int]) -> None:
        super().__init__(location, client)
        self._ahead = ahead
        self._bucket, self._prefix, self._boto = location.bucket, location.prefix, client

    def clock(self) -> int:
        return super().clock() + self._ahead()

    def hold(self, version: ObjectVersion) -> None:
        key = f"{self._prefix}/{version.name}"
        self._boto.put_object_legal_hold(Bucket=self._bucket, Key=key, VersionId=version.id, LegalHold={"Status": "ON"})


def versioned_memory(lock: int) -> Site:
    clock = [START]
    return _site(Site(VersionedStore(lambda: clock[0], lock), clock))


def versioned_bucket(location: S3Location) -> Site:
    began = time.time_ns()
    clock = [began]
    return _site(Site(Bucket(location, make_client(location), lambda: clock[0] - began), clock))


def _site(made: Site) -> Site:
    made.store.put(names.CONFIG, encode_store_config(SETTINGS))
    return made
