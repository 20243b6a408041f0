"""Proving a source's snapshots sound by their exports, for little of what loading these would take.

Of the whole export that a chain begins with, only what the changes after it have to do with is loaded; the rest is proven
as it passes (`index/thin.py`).  What cannot be proven so is no damage yet: `ChainReader` then reads it in full, and says
what is wrong, if anything is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from vaultpy.age import Identity
from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, StoreContradiction
from vaultpy.export import read_sql
from vaultpy.index.content import chunk_places
from vaultpy.index.db import Index, create_scratch
from vaultpy.index.digests import Digests
from vaultpy.index.examine import Unproven
from vaultpy.index.homes import homes_digest
from vaultpy.index.inventory import Inventory
from vaultpy.index.load import Expected, apply_export
from vaultpy.index.sound import check_sound, leave_entries
from vaultpy.index.thin import Thinner, examine_here, whole_lines
from vaultpy.index.touched import Touched
from vaultpy.manifest import Manifest
from vaultpy.model import ExportRef
from vaultpy.ops.checking.crew import Crew
from vaultpy.ops.reading.moment import add_source, blobs_digest, checked_pieces, translated
from vaultpy.ops.survey import Metadata
from vaultpy.store.base import Store

START_BYTES = 4 * 1024 * 1024
"""Bytes of a whole export, some 50,000 files, from which processes look at it."""

PART_BYTES = 1024 * 1024
"""Bytes of a whole export, some 13,000 files, whose digests are checked at once: they take 10 MiB meanwhile."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A believed manifest, what opens its objects, and a hash of its blobs: they are not kept, for a chain's manifests
    together name too many."""

    manifest: Manifest
    identity: Identity
    blobs: bytes


def has_large(metadata: Metadata) -> bool:
    """Whether there is an export that processes look at."""
    return any(info.size > START_BYTES for info in metadata.exports.values())


def claim(manifest: Manifest, identity: Identity) -> Claim:
    return Claim(replace(manifest, blobs=()), identity, blobs_digest(manifest))


def goes_on(chain: Sequence[Claim], manifest: Manifest) -> bool:
    """Whether a manifest's exports are those of the chain so far, and perhaps more."""
    last = chain[-1].manifest
    return last.source == manifest.source and manifest.exports[: len(last.exports)] == last.exports


@dataclass(frozen=True, slots=True)
class Means:
    """What proving takes: a store, a folder for scratch, where places are noted, and who helps."""

    store: Store
    folder: Path
    inventory: Inventory
    crew: Crew


def prove(means: Means, chain: Sequence[Claim]) -> Iterator[int]:
    """Prove the snapshots of claims of which each goes on where the one before it ends, in their order.

    Yields of each how many files it has, once the places of its chunks are in the inventory; ends before the first that
    is not proven.  Raises StoreError where the store fails.  Leaves nothing in the folder.
    """
    mark, proven = means.inventory.last_columns(), 0
    with contextlib.ExitStack() as stack:
        prover = _Prover(means, chain, stack)
        try:
            for one in chain:
                with translated():
                    files = prover.prove(one)
                yield files
                proven += 1
        except (Unproven, DamageError, NoIdentity, ObjectNotFound, StoreContradiction):
            if not proven:
                means.inventory.forget_columns(mark)


class _Prover:
    """What one chain's exports brought so far."""

    def __init__(self, means: Means, chain: Sequence[Claim], stack: contextlib.ExitStack) -> None:
        self._store, self._folder, self._inventory = means.store, means.folder, means.inventory
        self._crew, self._stack = means.crew, stack
        self._refs = chain[-1].manifest.exports
        self._identities = list(dict.fromkeys(one.identity for one in chain))
        self._changes: list[Path] = []
        self._scratch: Index | None = None
        self._left_out = 0

    def prove(self, one: Claim) -> int:
        """As `prove` does one.  Raises Unproven, DamageError, NoIdentity, StoreError."""
        manifest = one.manifest
        expected = Expected(manifest.snapshot, manifest.source, manifest.host, manifest.sequence)
        if self._scratch is None:
            touched = self._read_changes()
            self._scratch = self._new_scratch()
            self._applied = self._read_whole(self._scratch, add_source(self._scratch, manifest), expected, touched)
        scratch, source_id = self._scratch, add_source(self._scratch, manifest)
        for path in self._changes[self._applied - 1 : len(manifest.exports) - 1]:
            with path.open("rb") as lines, scratch.transaction():
                apply_export(scratch, lines, expected, source_id=source_id, whole=False, close_seq=None)
            self._applied += 1
        check_sound(scratch, source_id)
        # Files that were left out may have chunks that stay when their blob goes.
        if scratch.row(_STRAY, (source_id,)) or homes_digest(scratch, source_id, manifest.sequence) != one.blobs:
            raise Unproven
        self._inventory.add_places(chunk_places(scratch))
        return self._left_out + int(scratch.value("SELECT count(*) FROM files"))

    def _read_changes(self) -> Touched:
        """Fetch all changes, once, into files; what they have to do with."""
        touched = Touched()
        for ref in self._refs[1:]:
            path = self._folder / f"{ref.id}.sql"
            self._stack.callback(partial(path.unlink, missing_ok=True))
            with path.open("xb") as file:
                for text in whole_lines(self._read(ref)):
                    file.write(text)
                    touched.add(text)
                    if touched.is_too_much:
                        raise Unproven
            self._changes.append(path)
        return touched

    def _read_whole(self, scratch: Index, source_id: int, expected: Expected, touched: Touched) -> int:
        inventory = self._inventory
        find = partial(inventory.find_in_columns, inventory.last_columns())
        parts = self._refs[0].size // PART_BYTES
        with Digests(self._folder, parts) as digests, inventory.adding_columns(), scratch.transaction():
            helped = self._refs[0].size > START_BYTES and self._crew.start()
            examine_all = self._crew.examine_all if helped else examine_here
            thinner = Thinner(digests, inventory.add_columns, find, examine_all)
            lines = thinner.lines(self._read(self._refs[0]), touched, expected.seq)
            apply_export(scratch, lines, expected, source_id=source_id, whole=True, close_seq=None)
            leave_entries(scratch, source_id)
        self._left_out = thinner.files
        return 1

    def _read(self, ref: ExportRef) -> Iterator[bytes]:
        return read_sql(checked_pieces(self._store, ref), self._identities)

    def _new_scratch(self) -> Index:
        path = self._folder / "thin.sqlite"
        self._stack.callback(partial(path.unlink, missing_ok=True))
        return self._stack.enter_context(create_scratch(path))


_STRAY = """
    SELECT 1 FROM chunks c WHERE NOT EXISTS (SELECT 1 FROM snapshot_blobs b WHERE b.blob_id = c.blob_id AND b.source_id = ?1
    AND b.last_seq IS NULL)"""
