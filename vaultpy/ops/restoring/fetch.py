"""Fetching the chunks that are needed of a blob: each frame once, neighbours together, every chunk checked by its hash.

Memory is bounded by frames, not blobs.  A blob that is missing or damaged costs only what lies in it: its chunks come out
as the error that they met.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from vaultpy.age import Identity
from vaultpy.blob.reader import BlobReader, Fetch, FrameInfo, cut_chunk, take_chunk
from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, StoreContradiction, VaultpyError
from vaultpy.model import ChunkPlace
from vaultpy.ops.reading.older import find_version
from vaultpy.store.base import Store
from vaultpy.store.names import parse_blob_name

Row = tuple[Any, ...]
"""Where a chunk begins in its blob's raw bytes, its size, its hash; and whatever else the caller needs of it."""

Fetched = tuple[Row, memoryview | DamageError]
"""A row with its chunk's bytes, checked by their hash, or with what is wrong with them.  They are a part of their frame: who
keeps them keeps that."""

KEPT_OPEN = 4
"""Blobs whose headers and seek tables are remembered (the same blob comes again in the next batch), and frames."""

_DAMAGE = (DamageError, ObjectNotFound, StoreContradiction)
_Group = tuple[FrameInfo, list[Row]]


class Fetcher:
    """Fetches chunks.  For one thread."""

    def __init__(self, store: Store, identities: Sequence[Identity]) -> None:
        self._store, self._identities = store, identities
        self._open: OrderedDict[str, BlobReader] = OrderedDict()
        self._frames: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._last: tuple[str, int, bytes] | None = None
        self._older: tuple[str, BlobReader | None] | None = None

    def fetch(self, name: str, size: int, rows: Sequence[Row], *, more: bool = False) -> Iterator[Fetched]:
        """The chunks at `rows`, which rise by where they begin, of the blob of that name and stored size; `more`: others
        that follow them there will be wanted, too.

        What is damaged comes last, and out of an older version of the blob where the store has one that is right.  Raises
        StoreError where the store fails; damage comes out row by row.
        """
        damaged: list[tuple[Row, DamageError]] = []
        for row, data in self._fetch(name, size, rows, more):
            if isinstance(data, DamageError):
                damaged.append((row, _named(name, data)))
            else:
                yield row, data
        if damaged:
            yield from self._fetch_older(name, size, damaged)

    def _fetch_older(self, name: str, size: int, damaged: Sequence[tuple[Row, DamageError]]) -> Iterator[Fetched]:
        older = self._older_version(name, size)
        if older is None:
            yield from damaged
            return
        for row, _ in damaged:
            try:
                frame = older.frame_at(row[0])
                yield row, cut_chunk(frame, older.read_frame(frame), row[0], row[1], row[2])
            except DamageError as error:
                yield row, _named(name, error)

    def _older_version(self, name: str, size: int) -> BlobReader | None:
        """The blob out of its versions; the last one that was looked for is remembered, found or not."""
        if self._older is None or self._older[0] != name:
            hash = parse_blob_name(name)
            data = None if hash is None else find_version(self._store, name, size, hash)
            self._older = name, None if data is None else _reader_of(data, self._identities)
        return self._older[1]

    def _fetch(self, name: str, size: int, rows: Sequence[Row], more: bool) -> Iterator[Fetched]:
        try:
            blob = self._blob(name, size)
        except _DAMAGE as error:
            yield from _all_damaged(rows, error)
            return
        groups: list[_Group] = []
        end = -1
        for row in rows:
            if row[0] >= end:
                try:
                    frame = blob.frame_at(row[0])
                except DamageError as error:
                    yield row, error
                    continue
                end = frame.raw_offset + frame.raw_size
                groups.append((frame, []))
            groups[-1][1].append(row)
        # What is dealt out is not cut where frames are: this may begin in the frame that the last one ended in.
        if groups and self._last is not None and self._last[:2] == (name, groups[0][0].index):
            yield from _cut(groups[0], self._last[2])
            del groups[0]
        if len(groups) == 1 and not more:
            yield from _open_start(blob, groups[0])
        else:
            yield from self._open_frames(blob, name, groups)

    def _open_frames(self, blob: BlobReader, name: str, groups: Sequence[_Group]) -> Iterator[Fetched]:
        done = 0
        try:
            for (frame, raw), group in zip(blob.read_frames(frame for frame, _ in groups), groups, strict=True):
                yield from _cut(group, raw)
                done += 1
                if done == len(groups):
                    self._last = name, frame.index, raw
        except _DAMAGE as error:
            if len(groups) == 1:
                yield from _all_damaged(groups[0][1], error)
                return
            # One bad frame must not take its neighbours with it.
            for group in groups[done:]:
                yield from self._open_frames(blob, name, [group])

    def chunk(self, name: str, size: int, place: ChunkPlace) -> memoryview:
        """One chunk of a blob; the frames last opened are remembered, because files that are neighbours lie in one.

        Raises DamageError, StoreError.
        """
        try:
            blob = self._blob(name, size)
            frame = blob.frame_at(place.raw_offset)
            raw = self._frames.get((name, frame.index))
            if raw is None:
                raw = self._frames[name, frame.index] = blob.read_frame(frame)
                if len(self._frames) > KEPT_OPEN:
                    self._frames.popitem(last=False)
            return take_chunk(frame, raw, place)
        except _DAMAGE as error:
            raise _named(name, error) from error

    def _blob(self, name: str, size: int) -> BlobReader:
        blob = self._open.get(name)
        if blob is None:
            blob = self._open[name] = _open_blob(partial(self._store.get, name), name, size, self._identities)
            if len(self._open) > KEPT_OPEN:
                self._open.popitem(last=False)
        return blob


def _reader_of(data: bytes, identities: Sequence[Identity]) -> BlobReader | None:
    try:
        return BlobReader(lambda start, length: data[start : start + length], len(data), identities)
    except (DamageError, NoIdentity):
        return None


def _open_blob(fetch: Fetch, name: str, size: int, identities: Sequence[Identity]) -> BlobReader:
    try:
        return BlobReader(fetch, size, identities)
    except NoIdentity as error:
        # Not a matter of identities: the key was opened that the snapshot's blobs are for.
        raise DamageError(f"object {name} is not for the store key: its header was changed") from error


def _open_start(blob: BlobReader, group: _Group) -> Iterator[Fetched]:
    """As much of a frame as is wanted of it: one small file is not to cost what all that lies behind it does."""
    frame, rows = group
    try:
        raw = blob.read_start(frame, rows[-1][0] + rows[-1][1] - frame.raw_offset)
    except _DAMAGE as error:
        yield from _all_damaged(rows, error)
        return
    yield from _cut(group, raw)


def _cut(group: _Group, raw: bytes) -> Iterator[Fetched]:
    frame, rows = group
    for row in rows:
        try:
            yield row, cut_chunk(frame, raw, row[0], row[1], row[2])
        except DamageError as error:
            yield row, error


def _all_damaged(rows: Sequence[Row], error: VaultpyError) -> Iterator[Fetched]:
    damage = error if isinstance(error, DamageError) else DamageError(error.message, hint=error.hint)
    return ((row, damage) for row in rows)


def _named(name: str, error: VaultpyError) -> DamageError:
    """Damage that says in which object it is.  A blob's reader does not know that, and what a store says names it already."""
    message = error.message if name in error.message else f"object {name}: {error.message}"
    return DamageError(message, hint=error.hint)
