"""A store in memory: the contract's model, and its fake in tests that need thousands of stores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from vaultpy.errors import ObjectExists, ObjectNotFound, StoreContradiction
from vaultpy.store.base import Body, ObjectInfo
from vaultpy.store.bodies import body_pieces, check_name
from vaultpy.store.whole import check_whole


class MemoryStore:
    """Objects in a dictionary.  `objects` may be looked at and spoiled by tests: name → (bytes, modified)."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.url = "memory:"
        self.objects: dict[str, tuple[bytes, int]] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def put(self, name: str, body: Body) -> None:
        check_name(name)
        data = b"".join(body_pieces(body))
        with self._lock:
            existing = self.objects.setdefault(name, (data, self._clock()))
        if existing[0] != data:
            raise ObjectExists(f"object {name} exists with other bytes")

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        check_name(name)
        found = self.objects.get(name)
        if found is None:
            raise ObjectNotFound(f"object {name} is not in the store")
        data = found[0]
        end = len(data) if length is None else start + length
        if start < 0 or end < start or end > len(data):
            raise StoreContradiction(f"object {name} has {len(data)} bytes, not {max(start, end)}")
        if length is None:
            check_whole(name, end - start)
        return data[start:end]

    def stat(self, name: str) -> ObjectInfo | None:
        check_name(name)
        found = self.objects.get(name)
        return None if found is None else ObjectInfo(name, len(found[0]), found[1])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._lock:
            found = sorted(self.objects.items())
        return (ObjectInfo(name, len(data), modified) for name, (data, modified) in found if name.startswith(prefix))

    def delete(self, name: str) -> None:
        check_name(name)
        with self._lock:
            self.objects.pop(name, None)

    def clock(self) -> int:
        return self._clock()
