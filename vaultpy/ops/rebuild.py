"""`index rebuild`: the index again, from this host's snapshots in the store.

The host's own index key opens its exports, so no identity is needed.  The new index is made beside the old one and takes
its name when it is whole; the old one is kept as index.sqlite.old.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vaultpy.age import Identity
from vaultpy.durable import sync_folder
from vaultpy.errors import DamageError, IndexDatabaseError, NoIdentity, ObjectNotFound, StoreContradiction
from vaultpy.events import OnEvent, StepBegan
from vaultpy.export import read_export
from vaultpy.index.checks import all_checks, put_checks
from vaultpy.index.db import Index, create_index, open_index
from vaultpy.index.homes import has_moved
from vaultpy.index.load import Expected, apply_export, start_chain
from vaultpy.index.runs import note_move
from vaultpy.index.snapshots import Counts, SnapshotRow, State, insert_snapshot, put_chain
from vaultpy.index.sound import check_sound
from vaultpy.manifest import About, Manifest, decode_about, open_manifest
from vaultpy.model import ExportRef, SnapshotId, SnapshotState, SourceId
from vaultpy.ops.reading.moment import add_source, blobs_digest, check_blobs, checked_pieces
from vaultpy.ops.reading.reader import fetch_manifest
from vaultpy.ops.survey import list_metadata
from vaultpy.signature import MANIFEST_NAMESPACE, Trust, verify
from vaultpy.vault import Vault

_BESIDE = ("-journal", "-wal", "-shm")

NOTHING_BEFORE = -1
"""Sequence before every snapshot: rows that end there were never shown by one."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many snapshots the new index knows, and those that could not be read, each with why."""

    snapshots: int
    unreadable: tuple[tuple[SnapshotId, str], ...]


def rebuild_index(vault: Vault, identities: Sequence[Identity], on_event: OnEvent) -> Rebuilt:
    """Make the index anew; the caller holds the lock.  `identities` besides the host's index key open exports of a host
    key that was lost.  Raises StoreError, IndexDatabaseError."""
    path = vault.paths.index
    fresh = path.with_name(path.name + ".new")
    meta = {"store": vault.at.settings.id.bytes, "host": vault.host.id.bytes}
    on_event(StepBegan("index rebuild"))
    try:
        _unlink_whole(fresh)
        with create_index(fresh, meta) as index:
            rebuilt = _fill(index, vault, [vault.host.index_key, *identities])
            _carry_checks(path, index)
        _put_aside(path)
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:  # the store's own are StoreErrors by now
        raise IndexDatabaseError(
            f"index {path} cannot be replaced: {(error.strerror or str(error)).lower()}",
            hint="look at the disk of the state folder, and run it again",
        ) from error
    return rebuilt


def _unlink_whole(path: Path) -> None:
    """A database that a dead rebuild left, and its journal, which would be played into the next one of that name."""
    for end in ("", *_BESIDE):
        path.with_name(path.name + end).unlink(missing_ok=True)


def _carry_checks(old: Path, index: Index) -> None:
    """Take over what verifications found: the store does not say it, and a run must not build on what is bad.  Where the old
    index cannot be read, the next verification finds it again."""
    if not old.exists():
        return
    with contextlib.suppress(IndexDatabaseError), open_index(old, read_only=True) as before:
        known = list(all_checks(before))
        with index.transaction():
            put_checks(index, known)


def _put_aside(path: Path) -> None:
    """Keep the old index as `.old`, with what SQLite left beside it.

    A journal or log that finds another database under its name is played into that one and spoils it, also where only the
    index itself was moved away or lost: so none stays behind.
    """
    kept = path.with_name(path.name + ".old")
    is_there = path.exists()
    if is_there:
        for end in _BESIDE:
            kept.with_name(kept.name + end).unlink(missing_ok=True)
        path.replace(kept)
    for end in _BESIDE:
        beside = path.with_name(path.name + end)
        if is_there and beside.exists():
            beside.replace(kept.with_name(kept.name + end))
        else:
            beside.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Own:
    """A manifest of this host's, and the digest of its blobs: they are not kept, for all manifests together name too many."""

    manifest: Manifest
    blobs: bytes


def _own_manifests(vault: Vault) -> tuple[list[_Own], list[tuple[SnapshotId, str]]]:
    """The manifests that this host signed, oldest first, and the snapshots of which none could be read."""
    found: list[_Own] = []
    unreadable: list[tuple[SnapshotId, str]] = []
    own = vault.host.signing_key.public_text()
    for snapshot in sorted(list_metadata(vault.store).manifests):
        try:
            data, signature = fetch_manifest(vault.store, snapshot)
            # Nothing looks into what another signed: it may be of a newer format, and is none of this index's business.
            if verify(signature, data, MANIFEST_NAMESPACE) == own:
                trust = Trust(frozenset([own]), False)
                manifest = open_manifest(data, signature, vault.at.settings.id, snapshot, trust)
                found.append(_Own(replace(manifest, blobs=()), blobs_digest(manifest)))
        except ObjectNotFound:
            continue  # removed since it was listed
        except DamageError as error:
            unreadable.append((snapshot, error.message))
    return sorted(found, key=lambda one: (one.manifest.sequence, one.manifest.snapshot)), unreadable


def _fill(index: Index, vault: Vault, identities: Sequence[Identity]) -> Rebuilt:
    own, unreadable = _own_manifests(vault)
    manifests = [one.manifest for one in own]
    mended = {one.repairs for one in manifests if one.repairs is not None}
    last = {one.source: one.snapshot for one in manifests if one.state == SnapshotState.COMPLETE}
    chains: dict[SourceId, _Chain] = {}
    for one in own:
        manifest = one.manifest
        whole = manifest.state == SnapshotState.COMPLETE and manifest.snapshot not in mended
        chain = chains.setdefault(manifest.source, _Chain())
        try:
            with index.transaction():
                source_id = _take_snapshot(index, manifest, identities, whole)
                if whole:
                    chain = _read_chain(index, vault, one, identities, chain, source_id)
                    if manifest.snapshot == last[manifest.source]:
                        # Not later: another source's snapshots may have stored its chunks anew, and moved them.
                        check_sound(index, source_id)
            chains[manifest.source] = chain
        except (DamageError, NoIdentity, ObjectNotFound, StoreContradiction) as error:
            unreadable.append((manifest.snapshot, error.message))
            chains[manifest.source] = _Chain(seq=chain.seq)
            with index.transaction():
                # Known, and never built on: a snapshot in the store that the index does not know stops every run.
                _take_snapshot(index, manifest, identities, whole=False)
    _note_moves(index)
    return Rebuilt(int(index.value("SELECT count(*) FROM snapshots")), tuple(unreadable))


def _note_moves(index: Index) -> None:
    """Where a chunk of a source's newest snapshot has its home by a later snapshot of another source, the first one's next
    export has to be whole, as it would have been without the rebuild."""
    newest = index.rows(
        "SELECT source_id, max(seq) FROM snapshots WHERE state = ? GROUP BY source_id", (State.COMPLETE,)
    )
    if any(has_moved(index, source_id, seq) for source_id, seq in newest):
        with index.transaction():
            note_move(index, max(seq for _, seq in newest))


@dataclass(frozen=True, slots=True)
class _Chain:
    """What the index holds of a source: up to which sequence, by which exports."""

    seq: int = NOTHING_BEFORE
    exports: tuple[tuple[ExportRef, int], ...] = ()


def _take_snapshot(index: Index, manifest: Manifest, identities: Sequence[Identity], whole: bool) -> int:
    about = _about(manifest, identities)
    source_id = add_source(index, manifest)
    if about is not None:
        index.run("UPDATE sources SET name = ? WHERE id = ?", (about.source, source_id))
    insert_snapshot(index, _row(manifest, about, whole), source_id)
    return source_id


def _read_chain(
    index: Index, vault: Vault, own: _Own, identities: Sequence[Identity], before: _Chain, source_id: int
) -> _Chain:
    """Bring the source's rows from the snapshot before to this one, by the exports that are new in its chain."""
    manifest = own.manifest
    known = [ref for ref, _ in before.exports]
    goes_on = bool(known) and list(manifest.exports[: len(known)]) == known
    read = list(before.exports) if goes_on else []
    if not goes_on:
        start_chain(index, source_id, before.seq)
    expected = Expected(manifest.snapshot, manifest.source, manifest.host, manifest.sequence)
    for ref in manifest.exports[len(read) :]:
        counter = _Counter(read_export(checked_pieces(vault.store, ref), identities))
        apply_export(index, counter, expected, source_id=source_id, whole=not read, close_seq=before.seq)
        read.append((ref, counter.size))
    # A run asks which blobs were stored since its parent, because chunks may have moved there.
    index.run(_NOTE_RUN, {"source": source_id, "seq": manifest.sequence})
    check_blobs(index, source_id, manifest, own.blobs)
    put_chain(index, manifest.snapshot, read)
    return _Chain(manifest.sequence, tuple(read))


_NOTE_RUN = """
    UPDATE blobs SET run_no = (SELECT no FROM runs WHERE source_id = :source AND seq <= :seq ORDER BY seq DESC LIMIT 1)
    WHERE run_no IS NULL"""


class _Counter:
    """Lines passing by, and the bytes of them."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.size = 0
        self._lines = lines

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self.size += len(line)
            yield line


def _about(manifest: Manifest, identities: Sequence[Identity]) -> About | None:
    with contextlib.suppress(NoIdentity, DamageError):
        return decode_about(manifest.about, identities)
    return None


def _row(manifest: Manifest, about: About | None, whole: bool) -> SnapshotRow:
    state = State.COMPLETE if whole else State.UNCLEAN
    if manifest.state == SnapshotState.PARTIAL:
        state = State.PARTIAL
    return SnapshotRow(
        id=manifest.snapshot,
        source=manifest.source,
        source_name=about.source if about else str(manifest.source),
        host=manifest.host,
        seq=manifest.sequence,
        parent=manifest.parent,
        repairs=manifest.repairs,
        state=state,
        key_id=manifest.key,
        started_at=manifest.started,
        completed_at=manifest.completed,
        version=about.version if about else "",
        tags=about.tags if about else (),
        pinned=manifest.pinned,
        counts=Counts(about.files, about.bytes, about.new_bytes, about.stored_bytes) if about else None,
        problems=about.problems if about else 0,
    )
