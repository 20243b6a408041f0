"""A probe on its way: what it found, what it may, and what it has put and not removed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import count
from uuid import UUID

from vaultpy.errors import StoreDenied, StoreError
from vaultpy.model import ExportId, uuid7
from vaultpy.ops.probing.probed import Probed, Right, Tried, Verdict, rights_told
from vaultpy.store import names
from vaultpy.store.base import Store
from vaultpy.store.trial import Trial
from vaultpy.store.versions import versions_of

SMALL = 1_000
"""Bytes of an object that may be refused: a server that refuses a large one may cut the connection, which says nothing."""


class Trying:
    """One probe.  `rights`: what the credentials may; `there`: names that were put and not removed; `scratch`: an object to
    try things with, its name and bytes, once there is one."""

    def __init__(
        self, store: Store, trial: Trial | None, clock: Callable[[], int], random: Callable[[int], bytes]
    ) -> None:
        self.store, self.trial, self.clock, self.random = store, trial, clock, random
        self._tried: list[Tried] = []
        self.rights: dict[Right, bool] = {}
        self.there: dict[str, None] = {}
        self._left: list[str] = []
        # Fifteen bytes in common, so that one prefix lists what is ours and nothing else.
        self._common = uuid7(clock() // 1_000_000, random(10)).bytes[:15]
        self._numbers = count()
        self.scratch: tuple[str, bytes] | None = None

    def say(self, subject: str, verdict: Verdict, found: str, means: str | None) -> None:
        """Note what was found of a subject, and what follows from it."""
        self._tried.append(Tried(subject, verdict, found, means))

    def judge(self, subject: str, right: bool, good: str, bad: str) -> None:
        """Note that a subject is as it should be, or is not."""
        self.say(subject, Verdict.GOOD if right else Verdict.BAD, good if right else bad, None)

    def may(self, right: Right, action: Callable[[], None]) -> bool:
        """Whether the credentials allow an action; what else goes wrong with it is a finding."""
        try:
            action()
        except StoreDenied:
            self.rights[right] = False
        except StoreError as error:
            self.say(right.value, Verdict.BAD, error.message, "it has to work")
        else:
            self.rights[right] = True
        return self.rights.get(right, False)

    def put_object(self, name: str, body: bytes) -> None:
        """Put an object that `tidy` removes.  Raises StoreError."""
        self.there[name] = None  # before: a put that seems to fail may have succeeded
        try:
            self.store.put(name, body)
        except StoreDenied:
            del self.there[name]
            raise

    def delete(self, ours: list[str]) -> None:
        """Delete some of what was put, and one of them twice.  Raises StoreError."""
        for name in ours:
            self.store.delete(name)
            del self.there[name]
        self.store.delete(ours[0])  # of what is not there: a success

    def free_name(self) -> str:
        """A name that nothing has, where the credentials may put."""
        assert self.scratch is not None
        if self.scratch[0].startswith(names.METADATA):
            return names.export_name(ExportId(self.new_id()))
        return names.purge_name(self.new_id())

    def new_id(self) -> UUID:
        """An id of ours; there are 256."""
        return UUID(bytes=self._common + bytes([next(self._numbers)]))

    def keeps_versions_of(self, name: str) -> bool:
        """Whether the store still has what an object was before."""
        with contextlib.suppress(StoreError):
            return any(not one.latest for one in versions_of(self.store).list_versions(name))
        return False

    def tidy(self) -> None:
        """Remove what is still there; what cannot be removed is named by `result`."""
        for name in list(self.there):
            try:
                self.store.delete(name)
            except StoreError:
                self._left.append(name)
            self.there.pop(name, None)

    def result(self) -> Probed:
        """All that was found."""
        kept = self._kept_versions()
        return Probed(
            self.store.url,
            (*self._tried, *rights_told(self.rights, self.trial is None)),
            dict(self.rights),
            tuple(self._left),
            kept,
        )

    def _kept_versions(self) -> int:
        """Hidden versions of what was deleted."""
        with contextlib.suppress(StoreError):
            ours = f"metadata/{UUID(bytes=self._common + bytes(1))}"[:-2]
            return sum(1 for _ in versions_of(self.store).list_versions(ours))
        return 0
