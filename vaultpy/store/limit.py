"""A store with a bandwidth limit, up and down apart.

The limit holds on average over whole bodies: a body is sent as fast as the line takes it, and the next one waits until the
bucket has paid for it.  Pacing inside a body would need every store to take part.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from vaultpy.store.base import Body, ObjectInfo, Store
from vaultpy.store.bodies import body_size
from vaultpy.store.versions import ObjectVersion, versions_of


class TokenBucket:
    """Lets `rate` bytes through per second, and after a rest up to a second's worth at once.  Safe for several threads.

    What was moved may exceed what was there: whoever comes next waits for the debt, so that a body larger than the bucket
    passes at all, and the average holds.
    """

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if rate <= 0:
            raise ValueError("rate must be positive")
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tokens = float(rate)
        self._filled = clock()

    def wait(self) -> None:
        """Return once no debt is left."""
        # Outside the lock, and again: while one slept, another may have moved bytes.
        while debt := self._debt():
            self._sleep(debt / self._rate)

    def owe(self, size: int) -> None:
        """Take `size` bytes' worth, of which some may not be there yet."""
        with self._lock:
            self._fill()
            self._tokens -= size

    def _debt(self) -> float:
        with self._lock:
            self._fill()
            # Less than a byte is nothing: a sleep that short might not move the clock.
            return -self._tokens if self._tokens <= -1 else 0.0

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(float(self._rate), self._tokens + (now - self._filled) * self._rate)
        self._filled = now


class LimitedStore:
    """Passes everything on to `store`; bodies wait for their bucket (None: no limit)."""

    def __init__(self, store: Store, *, up: TokenBucket | None = None, down: TokenBucket | None = None) -> None:
        self.url = store.url
        self._store = store
        self._versions = versions_of(store)
        self._up = up
        self._down = down

    def put(self, name: str, body: Body) -> None:
        if self._up is None:
            self._store.put(name, body)
            return
        self._up.wait()
        self._store.put(name, body)
        self._up.owe(body_size(body))

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        return self._receive(lambda: self._store.get(name, start, length))

    def stat(self, name: str) -> ObjectInfo | None:
        return self._store.stat(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._store.list(prefix)

    def delete(self, name: str) -> None:
        self._store.delete(name)

    def clock(self) -> int:
        return self._store.clock()

    def list_versions(self, prefix: str) -> Iterator[ObjectVersion]:
        return self._versions.list_versions(prefix)

    def get_version(self, version: ObjectVersion) -> bytes:
        return self._receive(lambda: self._versions.get_version(version))

    def is_locked(self, version: ObjectVersion, now: int) -> bool:
        return self._versions.is_locked(version, now)

    def _receive(self, get: Callable[[], bytes]) -> bytes:
        if self._down is None:
            return get()
        self._down.wait()
        data = get()
        self._down.owe(len(data))
        return data
