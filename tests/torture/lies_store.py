"""Lies that a store can tell through its six verbs: faults before and after the deed, wrong bytes, wrong listings, wrong
clocks.  `LyingStore` stands between vaultpy and an honest store and tells one of them about one chosen call.

A store that keeps none of its promises can destroy and hide; what it must never do is make vaultpy say something that is
not so, or lose what was finished.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from vaultpy.errors import (
    ObjectNotFound,
    StoreContradiction,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from vaultpy.store.base import Body, ObjectInfo, Store
from vaultpy.store.bodies import body_pieces

HOUR = 3600 * 1_000_000_000
YEAR = 8766 * HOUR

VERBS = ("put", "get", "stat", "list", "delete", "clock")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a verb: `do` carries it out on the honest store; `earlier` is a listing of before the lie began."""

    verb: str
    name: str
    do: Callable[[], Any]
    store: Store
    earlier: tuple[ObjectInfo, ...]
    body: bytes = b""


Tell = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class StoreLie:
    """A lie, and the verbs that it can be told about."""

    name: str
    verbs: tuple[str, ...]
    tell: Tell


class LyingStore:
    """Passes calls on to `store`, but for the `hit`-th of `verb` (and all later ones, if `lasting`), about which it lies."""

    def __init__(self, store: Store) -> None:
        self.url = store.url
        self.seen: Counter[str] = Counter()
        self.told = 0
        self._store = store
        self._plan: tuple[str, int, StoreLie, bool] | None = None
        self._earlier: tuple[ObjectInfo, ...] = ()
        self._lock = threading.Lock()

    def arm(self, verb: str, hit: int, lie: StoreLie, *, lasting: bool = False) -> None:
        self._earlier = tuple(self._store.list(""))
        self._plan = (verb, hit, lie, lasting)

    def remember(self, earlier: tuple[ObjectInfo, ...]) -> None:
        """What a stale listing shows, where that is not what there is when the lie begins."""
        self._earlier = earlier

    def put(self, name: str, body: Body) -> None:
        data = b"".join(body_pieces(body))
        self._answer("put", name, lambda: self._store.put(name, data), data)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        return self._answer("get", name, lambda: self._store.get(name, start, length))

    def stat(self, name: str) -> ObjectInfo | None:
        return self._answer("stat", name, lambda: self._store.stat(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self._answer("list", prefix, lambda: list(self._store.list(prefix))))

    def delete(self, name: str) -> None:
        self._answer("delete", name, lambda: self._store.delete(name))

    def clock(self) -> int:
        return self._answer("clock", "", self._store.clock)

    def _answer(self, verb: str, name: str, do: Callable[[], Any], body: bytes = b"") -> Any:
        with self._lock:
            self.seen[verb] += 1
            number, plan = self.seen[verb], self._plan
            lies = plan is not None and plan[0] == verb and (number == plan[1] or (plan[3] and number > plan[1]))
            self.told += lies
        if not lies:
            return do()
        assert plan is not None
        return plan[2].tell(Call(verb, name, do, self._store, self._earlier, body))


def _before(error: StoreError) -> Tell:
    def tell(call: Call) -> Any:
        raise error

    return tell


def _after(error: StoreError) -> Tell:
    def tell(call: Call) -> Any:
        call.do()
        raise error

    return tell


def _changed(change: Callable[[bytes], bytes]) -> Tell:
    return lambda call: change(call.do())


def _flip(data: bytes, at: int) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[at % len(data) if at >= 0 else at] ^= 1 << (len(data) % 8)
    return bytes(changed)


def _listed(change: Callable[[list[ObjectInfo]], list[ObjectInfo]]) -> Tell:
    return lambda call: change(call.do())


def _without(position: Callable[[int], int]) -> Tell:
    def leave_out(found: list[ObjectInfo]) -> list[ObjectInfo]:
        at = position(len(found)) if found else 0
        return found[:at] + found[at + 1 :]

    return _listed(leave_out)


def _without_manifests(found: list[ObjectInfo]) -> list[ObjectInfo]:
    return [one for one in found if not one.name.endswith((".zst", ".sig")) or not one.name.startswith("metadata/")]


def _stale(call: Call) -> list[ObjectInfo]:
    return [one for one in call.earlier if one.name.startswith(call.name)]


def _breaks_off(call: Call) -> Iterator[ObjectInfo]:
    found = call.do()
    yield from found[: len(found) // 2]
    raise StoreUnavailable("list: the connection broke in the middle")


def _ghosts(found: list[ObjectInfo]) -> list[ObjectInfo]:
    """Beside each object one that never was."""
    both = [*found, *(replace(one, name=_other_name(one.name)) for one in found)]
    return sorted({one.name: one for one in both}.values(), key=lambda one: one.name)


def _other_name(name: str) -> str:
    return name.translate(str.maketrans("0123456789", "1234567890")) if "/" in name else name


def _shifted(by: int) -> Tell:
    return _listed(lambda found: [replace(one, modified=one.modified + by) for one in found])


def _grown(by: int) -> Tell:
    return _listed(lambda found: [replace(one, size=max(0, one.size + by)) for one in found])


def _lost(call: Call) -> None:
    """Said to be done, and nothing was."""


def _spoiled_put(call: Call) -> None:
    call.store.put(call.name, _flip(call.body, len(call.body) // 2))


def _cut_put(call: Call) -> None:
    call.store.put(call.name, call.body[: len(call.body) // 2])


def _twice(call: Call) -> Any:
    call.do()
    return call.do()


def _of_another(call: Call) -> bytes:
    """The bytes of the neighbour of the same folder of the store, as far as they go."""
    wanted = call.do()
    others = [one.name for one in call.store.list(call.name.split("/")[0]) if one.name != call.name]
    return (call.store.get(others[0]) + bytes(len(wanted)))[: len(wanted)] if others else wanted


_DENIED = StoreDenied("access denied", hint="the credentials work but do not allow this")
_AWAY = StoreUnavailable("the store cannot be reached")
_FULL = StoreFull("the store is full")
_ODD = StoreContradiction("the store contradicts itself")

LIES = (
    StoreLie("away before", VERBS, _before(_AWAY)),
    StoreLie("away after", ("put", "delete", "get", "list"), _after(_AWAY)),
    StoreLie("denied before", VERBS, _before(_DENIED)),
    StoreLie("denied after", ("put", "delete"), _after(_DENIED)),
    StoreLie("full", ("put",), _before(_FULL)),
    StoreLie("full after", ("put",), _after(_FULL)),
    StoreLie("contradiction", VERBS, _before(_ODD)),
    StoreLie("plain error", VERBS, _before(StoreError("the store says something unheard of"))),
    StoreLie("not found", ("get",), _before(ObjectNotFound("object is not in the store"))),
    StoreLie("bit flipped at the start", ("get",), _changed(lambda data: _flip(data, 0))),
    StoreLie("bit flipped in the middle", ("get",), _changed(lambda data: _flip(data, len(data) // 2))),
    StoreLie("bit flipped at the end", ("get",), _changed(lambda data: _flip(data, -1))),
    StoreLie("zeros", ("get",), _changed(lambda data: bytes(len(data)))),
    StoreLie("half of it", ("get",), _changed(lambda data: data[: len(data) // 2])),
    StoreLie("nothing", ("get",), _changed(lambda data: b"")),
    StoreLie("a byte more", ("get",), _changed(lambda data: data + b"\0")),
    StoreLie("a byte less", ("get",), _changed(lambda data: data[:-1])),
    StoreLie("another's bytes", ("get",), _of_another),
    StoreLie("empty", ("list",), _listed(lambda found: [])),
    StoreLie("without the first", ("list",), _without(lambda count: 0)),
    StoreLie("without one in the middle", ("list",), _without(lambda count: count // 2)),
    StoreLie("without the last", ("list",), _without(lambda count: count - 1)),
    StoreLie("without manifests", ("list",), _listed(_without_manifests)),
    StoreLie("stale", ("list",), _stale),
    StoreLie("breaks off", ("list",), _breaks_off),
    StoreLie("ghosts", ("list",), _listed(_ghosts)),
    StoreLie("sizes one more", ("list",), _grown(1)),
    StoreLie("sizes nothing", ("list",), _grown(-(1 << 60))),
    StoreLie("a year older", ("list",), _shifted(-YEAR)),
    StoreLie("30 hours older", ("list",), _shifted(-30 * HOUR)),
    StoreLie("a year younger", ("list",), _shifted(YEAR)),
    StoreLie("is not there", ("stat",), lambda call: None),
    StoreLie("of another size", ("stat",), lambda call: (found := call.do()) and replace(found, size=found.size + 1)),
    StoreLie("of another time", ("stat",), lambda call: (found := call.do()) and replace(found, modified=YEAR)),
    StoreLie("lost", ("put", "delete"), _lost),
    StoreLie("bit flipped on the way", ("put",), _spoiled_put),
    StoreLie("cut on the way", ("put",), _cut_put),
    StoreLie("delivered twice", ("put", "delete"), _twice),
    StoreLie("30 hours ahead", ("clock",), lambda call: call.do() + 30 * HOUR),
    StoreLie("ten years ahead", ("clock",), lambda call: call.do() + 10 * YEAR),
    StoreLie("ten years behind", ("clock",), lambda call: call.do() - 10 * YEAR),
    StoreLie("before 1970", ("clock",), lambda call: -1),
)
