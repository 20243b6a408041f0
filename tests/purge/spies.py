"""Stores that tell what is done to them, or do something in the middle of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from vaultpy.errors import StoreDenied
from vaultpy.store.base import Body, ObjectInfo, Store
from vaultpy.store.versions import ObjectVersion, versions_of


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


class SpiedStore:
    """Passes everything on.

    `log` has every change, `listings` every prefix that was listed.  Before the call of that number (from 0) its actions
    are run.  What `locked` says yes to cannot be deleted.
    """

    def __init__(
        self,
        inner: Store,
        actions: Mapping[int, Sequence[Callable[[], None]]] | None = None,
        locked: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self.inner, self.url = inner, inner.url
        self.log: list[tuple[str, str]] = []
        self.listings: list[str] = []
        self.calls = 0
        self._actions, self._locked = actions or {}, locked
        self._lock = threading.RLock()

    def put(self, name: str, body: Body) -> None:
        self._count()
        self.inner.put(name, body)
        self.log.append(("put", name))

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self._count()
        return self.inner.get(name, start, length)

    def stat(self, name: str) -> ObjectInfo | None:
        self._count()
        return self.inner.stat(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._count()
        self.listings.append(prefix)
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        self._count()
        if self._locked(name):
            raise StoreDenied(f"delete {name}: access denied")
        self.inner.delete(name)
        self.log.append(("delete", name))

    def clock(self) -> int:
        self._count()
        return self.inner.clock()

    def list_versions(self, prefix: str) -> Iterator[ObjectVersion]:
        self._count()
        return versions_of(self.inner).list_versions(prefix)

    def get_version(self, version: ObjectVersion) -> bytes:
        self._count()
        return versions_of(self.inner).get_version(version)

    def is_locked(self, version: ObjectVersion, now: int) -> bool:
        self._count()
        return versions_of(self.inner).is_locked(version, now)

    def run_late(self) -> None:
        """Run the actions of calls that were never made."""
        for number in sorted(number for number in self._actions if number >= self.calls):
            for action in self._actions[number]:
                action()

    def _count(self) -> None:
        with self._lock:
            number, self.calls = self.calls, self.calls + 1
            for action in self._actions.get(number, ()):
                action()


def killing_at(inner: Store, number: int) -> SpiedStore:
    """Dies before the call of that number, and before every later one of other threads."""

    def die() -> None:
        raise Killed

    return SpiedStore(inner, {later: [die] for later in range(number, number + 1000)})
