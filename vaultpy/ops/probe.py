"""`store probe`: tries a store with the credentials in use, and says what its answers mean for safety.

    what may be read → put → read back, ranges → listing, clock → the second put → overwriting → delete → odd names → tidy up

Everything is put under names that the layout has for what nobody needs yet: exports without a manifest, a blob under the hash
of its own bytes, a purge record that names nothing.  So what the credentials may not delete, or a probe that died left
behind, hurts nobody, and the keeper's prune collects it.  Other names are tried only after a delete has worked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from uuid import UUID

import blake3

from vaultpy.errors import ObjectExists, ObjectNotFound, StoreContradiction, StoreDenied, StoreError
from vaultpy.model import BlobHash, ExportId, KeyId, uuid7
from vaultpy.ops.probed import Probed, Right, Tried, Verdict, rights_told
from vaultpy.purges import PurgeRecord, encode_record
from vaultpy.store import names
from vaultpy.store.base import Store
from vaultpy.store.trial import Trial
from vaultpy.store.versions import versions_of

BODY = 200_000
"""Bytes of the object that is read: some pieces of 64 KiB, and no multiple of anything."""

SMALL = 1_000
"""Bytes of an object that may be refused: a server that refuses a large one may cut the connection, which says nothing."""

PAGES = 5
"""Objects that a listing by pages of two has to show."""

SKEW_NS = 5 * 1_000_000_000
"""How far an object's time may be from the store's clock: HTTP dates have whole seconds, and a put takes a while."""

LOCAL_SKEW_NS = 300 * 1_000_000_000
"""How far this machine's clock may be off: at 15 minutes S3 refuses."""


def probe(
    store: Store,
    trial: Trial | None,
    *,
    clock: Callable[[], int],
    random: Callable[[int], bytes],
    short: bool = False,
) -> Probed:
    """Try a store out; what it puts it removes, or names.  `short` leaves out what only tells how well, not whether, it keeps.

    Raises StoreError only where nothing at all can be told (no such bucket, refused credentials, no answer).
    """
    probing = _Probe(store, trial, clock, random)
    try:
        probing.look()
        probing.use()
        if not short:
            probing.misuse()
        probing.remove()
        if not short:
            probing.name_oddly()
    finally:
        probing.tidy()
    return probing.result()


class _Probe:
    """One probe on its way: what it found, what it may, and what it has put and not removed."""

    def __init__(
        self, store: Store, trial: Trial | None, clock: Callable[[], int], random: Callable[[int], bytes]
    ) -> None:
        self._store, self._trial, self._clock, self._random = store, trial, clock, random
        self._tried: list[Tried] = []
        self._rights: dict[Right, bool] = {}
        self._put: dict[str, None] = {}
        self._left: list[str] = []
        # Fifteen bytes in common, so that one prefix lists what is ours and nothing else.
        self._common = uuid7(clock() // 1_000_000, random(10)).bytes[:15]
        self._numbers = count()
        self._scratch: tuple[str, bytes] | None = None

    def look(self) -> None:
        """What needs no put: the clock, the right to list, and what is said of objects that are not there."""
        began = self._clock()
        try:
            now = self._store.clock()
            self._rights[Right.LIST] = True
        except StoreDenied as error:
            self._rights[Right.LIST] = False
            self._say(
                "listing", Verdict.WEAK, f"not allowed: {error.message}", "nothing is reused and no second look taken"
            )
        else:
            off = abs(now - (began + self._clock()) // 2)
            if off > LOCAL_SKEW_NS:
                said = f"this machine's clock and the store's differ by {off // 1_000_000_000} s"
                self._say("clock", Verdict.WEAK, said, "set it (NTP): S3 refuses requests that are 15 minutes off")
        id = self._new_id()
        for right, name in (
            (Right.GET_BLOBS, names.blob_name(BlobHash(self._random(32)))),
            (Right.GET_METADATA, names.export_name(ExportId(id))),
            (Right.GET_KEYS, names.key_name(KeyId(id), 0)),
            (Right.GET_PURGES, names.purge_name(id)),
        ):
            self._look_for(right, name)

    def use(self) -> None:
        """Put what a host puts, and read it as hosts and keepers do."""
        for right, name, body in self._bodies():
            if self._may(right, partial(self._put_object, name, body)) and self._scratch is None:
                self._scratch = name, body
        if self._scratch is None:
            return
        if self._rights.get(Right.PUT_METADATA):
            large = names.export_name(ExportId(self._new_id())), self._random(BODY)
            if self._may(Right.PUT_METADATA, partial(self._put_object, *large)):
                self._scratch = large
        name, body = self._scratch
        self._read_back(name, body)
        if self._rights[Right.LIST]:
            self._see_listed(name, len(body))
        self._put_twice(name)

    def misuse(self) -> None:
        """What could go wrong beside the contract: a race, pages, and overwriting."""
        if self._scratch is None:
            return
        self._race()
        if self._trial is None:
            return
        if self._rights[Right.LIST]:
            self._page(self._trial)
        self._overwrite(self._trial, self._scratch[0])
        self._see_lock(self._trial)

    def remove(self) -> None:
        """Delete everything, and see that it is gone."""
        for right, prefix in _DELETES:
            ours = [name for name in self._put if name.startswith(prefix)]
            if ours and self._may(right, partial(self._delete, ours)):
                self._see_gone(ours[0])

    def name_oddly(self) -> None:
        """Names of which one begins another: the layout has such (a manifest and its signature), and stores have confused
        them.  Only where they can be removed again."""
        if not self._rights.get(Right.DELETE_METADATA) or not self._rights[Right.LIST]:
            return
        folder = f"metadata/{self._new_id()}/"
        odd = [folder + end for end in ("db", "db-1", "db.zst", "db.zst.sig", "db0", "d" * 120)]
        try:
            for name in odd:
                self._put_object(name, name.encode())
            listed = [info.name for info in self._store.list(folder)]
            right = listed == sorted(odd) and all(self._store.get(name) == name.encode() for name in odd)
        except StoreError as error:
            self._say("names", Verdict.BAD, error.message, "objects could be confused")
            return
        self._judge(
            "names", right, f"{len(odd)} names of which some begin others were kept apart", "objects are confused"
        )

    def tidy(self) -> None:
        """Remove what is still there; what cannot be removed is named by `result`."""
        for name in list(self._put):
            try:
                self._store.delete(name)
            except StoreError:
                self._left.append(name)
            self._put.pop(name, None)

    def result(self) -> Probed:
        kept = self._kept_versions()
        return Probed(
            self._store.url,
            (*self._tried, *rights_told(self._rights, self._trial is None)),
            dict(self._rights),
            tuple(self._left),
            kept,
        )

    def _bodies(self) -> Iterator[tuple[Right, str, bytes]]:
        yield Right.PUT_METADATA, names.export_name(ExportId(self._new_id())), self._random(SMALL)
        blob = self._random(SMALL)
        yield Right.PUT_BLOBS, names.blob_name(BlobHash(blake3.blake3(blob).digest())), blob
        yield Right.PUT_PURGES, names.purge_name(self._new_id()), encode_record(PurgeRecord())

    def _look_for(self, right: Right, name: str) -> None:
        try:
            self._store.get(name)
        except ObjectNotFound:
            self._rights[right] = True
        except StoreDenied:
            self._rights[right] = False
        except StoreError as error:
            self._say(
                "missing objects", Verdict.BAD, error.message, "a definite `not found` is what nothing else may be"
            )
        else:
            said = f"{name} was never put, and has content"
            self._say("missing objects", Verdict.BAD, said, "what this store shows is not what was put")

    def _read_back(self, name: str, body: bytes) -> None:
        if not self._rights.get(Right.GET_METADATA if name.startswith(names.METADATA) else Right.GET_PURGES):
            return
        try:
            whole = self._store.get(name) == body
            ranges = all(
                self._store.get(name, start, length) == body[start : start + length] for start, length in _ranges(body)
            )
            with contextlib.suppress(StoreContradiction):
                self._store.get(name, len(body) - 1, 2)
                ranges = False
        except StoreError as error:
            self._say("reading", Verdict.BAD, error.message, "a restore could not read what a run put")
            return
        self._judge("reading", whole, "what was put came back at once", "what comes back is not what was put")
        self._judge(
            "ranges", ranges, "parts of objects come exactly, and none past the end", "small files cannot be restored"
        )

    def _see_listed(self, name: str, size: int) -> None:
        try:
            listed = list(self._store.list(name))
            now = self._store.clock()
        except StoreError as error:
            self._say("listing", Verdict.BAD, error.message, "no run and no prune can go by such listings")
            return
        right = [(info.name, info.size) for info in listed] == [(name, size)]
        self._judge(
            "listing",
            right,
            "it shows an object as soon as it was put",
            "a run would not see what others rely on; a prune neither",
        )
        off = abs(listed[0].modified - now) if listed else 0
        self._judge(
            "object times",
            off <= SKEW_NS,
            "an object's time is that of the store's clock",
            f"they differ by {off / 1e9:.0f} s: the grace of a prune cannot be counted",
        )

    def _put_twice(self, name: str) -> None:
        try:
            self._store.put(name, b"other bytes")
        except ObjectExists:
            self._say("second put", Verdict.GOOD, "the server refuses to replace an object", None)
        except StoreDenied as error:
            self._say("second put", Verdict.GOOD, f"these credentials may not: {error.message}", None)
        else:
            said = "the server does not honour If-None-Match, and replaced an object"
            self._say(
                "second put", Verdict.WEAK, said, "vaultpy never does so by itself; a second look after each run stands"
            )

    def _race(self) -> None:
        name, bodies = self._free_name(), [self._random(SMALL) for _ in range(2)]
        self._put[name] = None
        with ThreadPoolExecutor(len(bodies)) as pool:
            done = [future.result() for future in [pool.submit(self._try_put, name, body) for body in bodies]]
        won = [body for body, stored in zip(bodies, done, strict=True) if stored]
        try:
            right = self._store.get(name) in bodies
        except (ObjectNotFound, StoreContradiction):
            right = False
        except StoreDenied:
            right = True
        if not right:
            self._say(
                "two puts at once", Verdict.BAD, "neither of the two objects was left", "objects are mixed or lost"
            )
        elif len(won) == 1:
            self._say("two puts at once", Verdict.GOOD, "one of two puts of a name won", None)
        else:
            said = f"{len(won)} of two puts of a name were accepted"
            self._say(
                "two puts at once",
                Verdict.WEAK,
                said,
                "only names that nobody else has keep objects apart: vaultpy's are such",
            )

    def _try_put(self, name: str, body: bytes) -> bool:
        try:
            self._store.put(name, body)
        except StoreError:
            return False
        return True

    def _page(self, trial: Trial) -> None:
        free = [self._free_name() for _ in range(PAGES)]
        try:
            for name in free:
                self._put_object(name, b"page")
            prefix = _common_prefix(free)
            wanted = [info.name for info in self._store.list(prefix)]
            listed = [info.name for info in trial.list_in_pages(prefix, 2)]
        except StoreError as error:
            self._say("pages", Verdict.BAD, error.message, "a listing of more than a page cannot be relied on")
            return
        self._judge(
            "pages",
            listed == wanted and set(free) <= set(listed),
            "a listing in pages is whole",
            "it leaves objects out",
        )

    def _overwrite(self, trial: Trial, name: str) -> None:
        try:
            trial.overwrite(name, b"overwritten")
            replaced = self._store.stat(name)
        except StoreError as error:
            self._say("overwriting", Verdict.GOOD, f"an object cannot be replaced: {error.message}", None)
            return
        if replaced is None or replaced.size != len(b"overwritten"):
            self._say("overwriting", Verdict.GOOD, "an object stays as it was put", None)
        elif self._hidden(name):
            said = "these credentials can replace an object; the bucket keeps the version before"
            self._say("overwriting", Verdict.GOOD, said, "a restore finds the right version by its hash")
        else:
            said = "these credentials can replace an object for good"
            self._say(
                "overwriting", Verdict.WEAK, said, "whoever has them can destroy: versions, or the policy in docs/s3.md"
            )

    def _see_lock(self, trial: Trial) -> None:
        try:
            rule = trial.lock_rule()
        except StoreError as error:
            self._say("object lock", Verdict.UNTOLD, error.message, None)
            return
        if rule is None:
            self._say("object lock", Verdict.WEAK, "the bucket has none", "whoever may delete can delete for good")
        elif rule.days is None:
            self._say(
                "object lock", Verdict.WEAK, "it has no default retention", "set one, or lock_days in the store's URL"
            )
        else:
            self._say("object lock", Verdict.GOOD, f"every object is kept {rule.days} days ({rule.mode})", None)

    def _delete(self, ours: list[str]) -> None:
        for name in ours:
            self._store.delete(name)
            del self._put[name]
        self._store.delete(ours[0])  # of what is not there: a success

    def _see_gone(self, name: str) -> None:
        if not self._rights[Right.LIST]:
            return
        try:
            right = self._store.stat(name) is None
            with contextlib.suppress(ObjectNotFound, StoreDenied):
                self._store.get(name)
                right = False
        except StoreError as error:
            self._say("deleting", Verdict.BAD, error.message, "what was deleted cannot be told from what is there")
            return
        self._judge(
            f"deleting in {name.partition('/')[0]}/", right, "what was deleted is gone at once", "it still shows"
        )

    def _may(self, right: Right, action: Callable[[], None]) -> bool:
        """Whether the credentials allow an action; what else goes wrong with it is a finding."""
        try:
            action()
        except StoreDenied:
            self._rights[right] = False
        except StoreError as error:
            self._say(right.value, Verdict.BAD, error.message, "it has to work")
        else:
            self._rights[right] = True
        return self._rights.get(right, False)

    def _put_object(self, name: str, body: bytes) -> None:
        self._put[name] = None  # before: a put that seems to fail may have succeeded
        try:
            self._store.put(name, body)
        except StoreDenied:
            del self._put[name]
            raise

    def _free_name(self) -> str:
        assert self._scratch is not None
        if self._scratch[0].startswith(names.METADATA):
            return names.export_name(ExportId(self._new_id()))
        return names.purge_name(self._new_id())

    def _new_id(self) -> UUID:
        return UUID(bytes=self._common + bytes([next(self._numbers)]))

    def _hidden(self, name: str) -> bool:
        """Whether the store still has what an object was before."""
        with contextlib.suppress(StoreError):
            return any(not one.latest for one in versions_of(self._store).list_versions(name))
        return False

    def _kept_versions(self) -> int:
        """Hidden versions of what was deleted."""
        with contextlib.suppress(StoreError):
            ours = f"metadata/{UUID(bytes=self._common + bytes(1))}"[:-2]
            return sum(1 for _ in versions_of(self._store).list_versions(ours))
        return 0

    def _judge(self, subject: str, right: bool, good: str, bad: str) -> None:
        self._say(subject, Verdict.GOOD if right else Verdict.BAD, good if right else bad, None)

    def _say(self, subject: str, verdict: Verdict, found: str, means: str | None) -> None:
        self._tried.append(Tried(subject, verdict, found, means))


_DELETES = (
    (Right.DELETE_METADATA, names.METADATA),
    (Right.DELETE_BLOBS, names.BLOBS),
    (Right.DELETE_PURGES, names.PURGES),
)


def _ranges(body: bytes) -> Iterator[tuple[int, int]]:
    size = len(body)
    yield 0, 1
    yield size // 2, size // 4
    yield size - 1, 1
    yield 0, size
    yield size, 0


def _common_prefix(given: list[str]) -> str:
    first, last = min(given), max(given)
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:same]
