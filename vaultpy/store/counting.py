"""A store that counts what passes through it, for reports and for tests of what an operation costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from vaultpy.store.base import Body, ObjectInfo, Store
from vaultpy.store.bodies import body_size
from vaultpy.store.versions import ObjectVersion, versions_of

Verb = Literal["put", "get", "stat", "list", "delete", "clock"]


@dataclass(frozen=True, slots=True)
class Count:
    """How often a verb was called, failures included, and the bytes of bodies that it moved when it succeeded."""

    requests: int = 0
    bytes: int = 0


class CountingStore:
    """Passes everything on to `store`.  A listing is one request, however many pages it takes."""

    def __init__(self, store: Store) -> None:
        self.url = store.url
        self._store = store
        self._versions = versions_of(store)
        self._counts: dict[Verb, Count] = {}
        self._lock = threading.Lock()

    def count(self, verb: Verb) -> Count:
        """What has been counted for a verb so far."""
        with self._lock:
            return self._counts.get(verb, Count())

    def put(self, name: str, body: Body) -> None:
        self._add("put", requests=1)
        self._store.put(name, body)
        self._add("put", moved=body_size(body))

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self._add("get", requests=1)
        data = self._store.get(name, start, length)
        self._add("get", moved=len(data))
        return data

    def stat(self, name: str) -> ObjectInfo | None:
        self._add("stat", requests=1)
        return self._store.stat(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._add("list", requests=1)
        return self._store.list(prefix)

    def delete(self, name: str) -> None:
        self._add("delete", requests=1)
        self._store.delete(name)

    def clock(self) -> int:
        self._add("clock", requests=1)
        return self._store.clock()

    def list_versions(self, prefix: str) -> Iterator[ObjectVersion]:
        self._add("list", requests=1)
        return self._versions.list_versions(prefix)

    def get_version(self, version: ObjectVersion) -> bytes:
        self._add("get", requests=1)
        data = self._versions.get_version(version)
        self._add("get", moved=len(data))
        return data

    def is_locked(self, version: ObjectVersion, now: int) -> bool:
        self._add("stat", requests=1)
        return self._versions.is_locked(version, now)

    def _add(self, verb: Verb, *, requests: int = 0, moved: int = 0) -> None:
        with self._lock:
            old = self._counts.get(verb, Count())
            self._counts[verb] = Count(old.requests + requests, old.bytes + moved)
