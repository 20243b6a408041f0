"""Fetching the chunks that files need: grouped by blob and frame, each frame fetched and opened once, in threads.

Memory is bounded by frames, not blobs.  A blob that is missing or damaged costs only the pieces in it: they come out as
the error that they met, in their place.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby

from vaultpy.age import Identity
from vaultpy.blob.reader import BlobReader, FrameInfo, take_chunk
from vaultpy.errors import DamageError, ObjectNotFound, StoreContradiction
from vaultpy.index.at import Moment, PieceAt, blob_of
from vaultpy.store.base import Store
from vaultpy.store.names import blob_name

Fetched = tuple[PieceAt, bytes | DamageError]
"""A piece with its bytes, checked by their hash, or with what is wrong with them."""

BATCH_RAW = 4 * 1024 * 1024
"""Raw bytes of the frames that one task opens."""

AHEAD = 4
"""Tasks under way before the oldest must be taken."""


def fetch_pieces(store: Store, moment: Moment, identity: Identity, wanted: Iterable[PieceAt]) -> Iterator[Fetched]:
    """The bytes of pieces that come ordered by blob and place, in that order.

    Raises StoreError where the store fails; damage comes out piece by piece.
    """
    under_way: deque[Future[list[Fetched]]] = deque()
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="fetch") as pool:
        try:
            for task in _tasks(store, moment, identity, wanted):
                under_way.append(pool.submit(task))
                if len(under_way) >= AHEAD:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _tasks(
    store: Store, moment: Moment, identity: Identity, wanted: Iterable[PieceAt]
) -> Iterator[Callable[[], list[Fetched]]]:
    for blob_id, group in groupby(wanted, lambda piece: piece.blob_id):
        hash, size = blob_of(moment, blob_id)
        name = blob_name(hash)
        try:
            blob = BlobReader(partial(store.get, name), size, [identity])
        except (DamageError, ObjectNotFound, StoreContradiction) as error:
            damage = _as_damage(name, error)
            for piece in group:
                yield partial(_all_damaged, [piece], damage)
            continue
        yield from _frame_tasks(blob, name, group)


def _frame_tasks(blob: BlobReader, name: str, group: Iterable[PieceAt]) -> Iterator[Callable[[], list[Fetched]]]:
    batch: list[tuple[FrameInfo, list[PieceAt]]] = []
    for piece in group:
        try:
            frame = blob.frame_at(piece.place.raw_offset)
        except DamageError as error:
            yield partial(_all_damaged, [piece], error)
            continue
        if batch and batch[-1][0] is frame:
            batch[-1][1].append(piece)
            continue
        if sum(one.raw_size for one, _ in batch) + frame.raw_size > BATCH_RAW and batch:
            yield partial(_open_frames, blob, name, batch)
            batch = []
        batch.append((frame, [piece]))
    if batch:
        yield partial(_open_frames, blob, name, batch)


def _open_frames(blob: BlobReader, name: str, batch: list[tuple[FrameInfo, list[PieceAt]]]) -> list[Fetched]:
    found: list[Fetched] = []
    try:
        for (frame, group), (_, raw) in zip(batch, blob.read_frames(frame for frame, _ in batch), strict=True):
            found += [(piece, _take(frame, raw, piece)) for piece in group]
    except (DamageError, ObjectNotFound, StoreContradiction) as error:
        if len(batch) > 1:
            # One bad frame must not take its neighbours with it.
            return [one for part in batch for one in _open_frames(blob, name, [part])]
        return _all_damaged(batch[0][1], _as_damage(name, error))
    return found


def _take(frame: FrameInfo, raw: bytes, piece: PieceAt) -> bytes | DamageError:
    try:
        return take_chunk(frame, raw, piece.place)
    except DamageError as error:
        return error


def _all_damaged(group: list[PieceAt], damage: DamageError) -> list[Fetched]:
    return [(piece, damage) for piece in group]


def _as_damage(name: str, error: Exception) -> DamageError:
    return error if isinstance(error, DamageError) else DamageError(f"object {name}: {error}")
