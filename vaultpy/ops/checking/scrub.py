"""Fetching objects whole and looking at every byte: each hashed, and, with a key, each chunk in a blob opened, in one pass.

Several objects are under way at once, each in ranges, so that memory is bounded whatever their size.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import blake3

from vaultpy.age import Identity
from vaultpy.blob.reader import BlobReader, FrameInfo, take_chunk
from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, StoreContradiction
from vaultpy.index.inventory import NamedObject
from vaultpy.model import ChunkPlace
from vaultpy.store.base import Store

PIECE = 8 * 1024 * 1024
"""Bytes of one fetch."""

TAIL = 2 * (64 * 1024 + 16)
"""Bytes at the end of a blob that hold its seek table: the last two pieces that age sealed."""

OBJECTS = 4
"""Objects under way at once: some 20 MiB each."""


@dataclass(frozen=True, slots=True)
class Job:
    """An object to look at; `places`: where chunks are needed in it, opened by `identities` (without: only hashed)."""

    object: NamedObject
    places: Sequence[ChunkPlace] = ()
    identities: Sequence[Identity] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What an object is like.  `lost`: nothing in it can be had, and why; `changed`: its bytes are not those of its hash;
    `bad`: of so many `places`, those whose chunks cannot be had, the first because of `why`."""

    object: NamedObject
    places: int
    lost: str | None = None
    changed: bool = False
    bad: tuple[ChunkPlace, ...] = ()
    why: str | None = None

    @property
    def right(self) -> bool:
        """Whether all of it is what it should be."""
        return self.lost is None and not self.changed and not self.bad


def scrub(store: Store, jobs: Iterable[Job]) -> Iterator[Seen]:
    """Look at objects, in the order of the jobs.  Raises StoreError where the store fails; damage comes out."""
    under_way: deque[Future[Seen]] = deque()
    with ThreadPoolExecutor(OBJECTS, thread_name_prefix="scrub") as pool:
        try:
            for job in jobs:
                under_way.append(pool.submit(_look, store, job))
                if len(under_way) > OBJECTS:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _look(store: Store, job: Job) -> Seen:
    passing = PassingObject(store, job.object)
    try:
        bad = _open_places(passing, job) if job.places else ()
        changed = not passing.finish()
    except (ObjectNotFound, StoreContradiction) as error:
        # The listing showed it, with the right size: whatever this is now, it is not what was stored.
        return Seen(job.object, len(job.places), lost=error.message)
    places, why = tuple(place for place, _ in bad), bad[0][1] if bad else None
    return Seen(job.object, len(job.places), changed=changed, bad=places, why=why)


def _open_places(passing: PassingObject, job: Job) -> Sequence[tuple[ChunkPlace, str]]:
    """The places whose chunks are not what they should be, each with the reason."""
    try:
        blob = BlobReader(passing.read, job.object.size, job.identities)
    except (DamageError, NoIdentity) as error:
        return [(place, error.message) for place in job.places]
    bad: list[tuple[ChunkPlace, str]] = []
    for frame, group in groupby(job.places, lambda place: _frame_of(blob, place)):
        bad += _open_frame(blob, frame, list(group))
    return bad


def _frame_of(blob: BlobReader, place: ChunkPlace) -> FrameInfo | None:
    try:
        return blob.frame_at(place.raw_offset)
    except DamageError:
        return None


def _open_frame(blob: BlobReader, frame: FrameInfo | None, group: Sequence[ChunkPlace]) -> list[tuple[ChunkPlace, str]]:
    if frame is None:
        return [(place, f"the blob has no raw byte {place.raw_offset}") for place in group]
    try:
        raw = blob.read_frame(frame)
    except DamageError as error:
        return [(place, error.message) for place in group]
    return [(place, why) for place in group if (why := _fault(frame, raw, place)) is not None]


def _fault(frame: FrameInfo, raw: bytes, place: ChunkPlace) -> str | None:
    try:
        take_chunk(frame, raw, place)
    except DamageError as error:
        return error.message
    return None


class PassingObject:
    """An object that is fetched once, from its first byte to its last, and hashed as it passes.

    What is near can be read while it passes; its end, where a blob's seek table lies, is fetched beforehand where the
    object is longer than one fetch.
    """

    def __init__(self, store: Store, object: NamedObject) -> None:
        self._fetch: Callable[[int, int], bytes] = lambda start, length: store.get(object.name, start, length)
        self._object = object
        self._blake3 = blake3.blake3()
        self._sha256 = hashlib.sha256() if object.sha256 else None
        self._near = bytearray()
        self._near_start = self._near_end = 0
        self._tail_start = object.size - TAIL if object.size > PIECE else object.size
        self._tail: bytes | None = None

    def read(self, start: int, length: int) -> bytes:
        """These bytes of the object; reads that go forward cost no fetch of their own."""
        end = start + length
        if start >= self._tail_start:
            if self._tail is None:
                self._tail = self._fetch(self._tail_start, self._object.size - self._tail_start)
            return self._tail[start - self._tail_start : end - self._tail_start]
        if start < self._near_start:
            return self._fetch(start, length)
        while self._near_end < end:
            self._pass(keep_from=start)
        return bytes(self._near[start - self._near_start : end - self._near_start])

    def finish(self) -> bool:
        """Let the rest pass; whether all the bytes have the object's hashes."""
        while self._near_end < self._object.size:
            self._pass(keep_from=self._near_end)
        if self._sha256 is not None and self._sha256.digest() != self._object.sha256:
            return False
        return self._blake3.digest() == self._object.blake3

    def _pass(self, keep_from: int) -> None:
        """Fetch the next piece; forget what lies before `keep_from`."""
        drop = min(keep_from, self._near_end) - self._near_start
        del self._near[:drop]
        self._near_start += drop
        piece = self._fetch(self._near_end, min(PIECE, self._object.size - self._near_end))
        self._blake3.update(piece)
        if self._sha256 is not None:
            self._sha256.update(piece)
        self._near += piece
        self._near_end += len(piece)
