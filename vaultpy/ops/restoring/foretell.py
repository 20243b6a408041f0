"""What a restore will not be able to bring back, said before it begins: by the store's listing, and by what verifications
found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from vaultpy.errors import StoreContradiction, StoreDenied
from vaultpy.events import Noticed, OnEvent
from vaultpy.index.at import Moment
from vaultpy.index.checks import damaged_objects
from vaultpy.index.needed import PieceRow, needed_blobs, pieces_in, settle
from vaultpy.manifest import Manifest
from vaultpy.model import BlobHash
from vaultpy.ops.reading.choose import Tree
from vaultpy.ops.reading.findings import Damage
from vaultpy.ops.reading.older import candidates
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.survey import listed_blobs
from vaultpy.store import names
from vaultpy.store.base import Store

FEW = 64
"""Blobs that are looked for one by one; for more, one listing of them all is quicker."""

NAMED = 20
"""Paths that are named; all are counted."""


def foretell(
    reader: Reader, manifest: Manifest, moment: Moment, directories: Tree, on_event: OnEvent, *, all_of_it: bool
) -> int:
    """Tell which of the wanted files cannot come back; returns how many.

    `all_of_it`: the whole snapshot is wanted.  Costs a listing of the blobs, or a few looks.
    """
    if all_of_it:
        wanted = {blob.hash: blob.size for blob in manifest.blobs}
    else:
        settle(moment)
        wanted = {one.hash: one.stored_size for one in needed_blobs(moment)}
    try:
        lost = set(_lost(reader.at.store, wanted)) | set(_bad(reader, wanted))
        if len(lost) <= FEW:
            lost = {hash for hash in lost if not _has_version(reader.at.store, hash, wanted[hash])}
    except StoreDenied:
        return 0  # who may not list the store has to be content with finding out
    if not lost:
        return 0
    if all_of_it:
        settle(moment)
    return _tell(sorted(set(_paths(moment, directories, lost))), len(lost), on_event)


def _has_version(store: Store, hash: BlobHash, size: int) -> bool:
    """Whether the store kept what may be the blob: the restore looks whether it is."""
    try:
        return any(not one.latest for one in candidates(store, names.blob_name(hash), size))
    except (StoreDenied, StoreContradiction):
        return False


def _lost(store: Store, wanted: dict[BlobHash, int]) -> Iterator[BlobHash]:
    """What the store does not show as it was put."""
    if len(wanted) <= FEW:
        for hash, size in wanted.items():
            found = store.stat(names.blob_name(hash))
            if found is None or found.size != size:
                yield hash
        return
    left = dict(wanted)
    for hash, size in listed_blobs(store):
        if left.get(hash) == size:
            del left[hash]
    yield from left


def _bad(reader: Reader, wanted: dict[BlobHash, int]) -> Iterator[BlobHash]:
    """What is there, and was found to be not what was put."""
    if reader.index is None:
        return
    for one in damaged_objects(reader.index):
        if one.damage in (Damage.CHANGED, Damage.CONTENT) and BlobHash(one.object) in wanted:
            yield BlobHash(one.object)


def _paths(moment: Moment, directories: Tree, lost: Iterable[BlobHash]) -> Iterator[bytes]:
    gone = set(lost)
    for blob in needed_blobs(moment):
        if blob.hash in gone:
            for row in map(PieceRow._make, pieces_in(moment, blob)):
                yield directories.path(row.directory_id, row.name)


def _tell(paths: list[bytes], blobs: int, on_event: OnEvent) -> int:
    if paths:
        said = f"{len(paths)} files cannot come back whole, as {blobs} of the store's blobs are missing or bad"
        on_event(Noticed(f"{said}; the rest is restored", warning=True))
    for path in paths[:NAMED]:
        on_event(Noticed(f"will be missing: {os.fsdecode(path)}", warning=True))
    if len(paths) > NAMED:
        on_event(Noticed(f"and {len(paths) - NAMED} more", warning=True))
    return len(paths)
