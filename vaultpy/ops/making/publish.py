"""Making a snapshot exist: export, manifest, second look (rule 2).

Durable before visible, and in this order: blobs (they are, when this begins), export, read back, the manifest's bytes
decided in the index, signature, manifest.  A crash anywhere leaves either no snapshot or a whole one; a run that finds
bytes decided and not confirmed puts the same bytes again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import vaultpy
from vaultpy.errors import DamageError, IndexDatabaseError, ObjectExists, StoreContradiction, StoreDenied
from vaultpy.export import WrittenExport, read_sql, write_export
from vaultpy.index.checks import damaged_objects
from vaultpy.index.db import Index
from vaultpy.index.dump import delta_lines, whole_lines
from vaultpy.index.homes import homeless, homes_at, open_homes, refresh_homes
from vaultpy.index.runs import Run, last_move
from vaultpy.index.snapshots import (
    Counts,
    SnapshotRow,
    State,
    complete_snapshot_at,
    find_snapshot,
    forget_snapshots,
    get_chain,
    insert_snapshot,
    keep_manifest,
    put_chain,
    put_problems,
    set_state,
    source_id_of,
    unconfirmed,
)
from vaultpy.manifest import About, Manifest, encode, encode_about
from vaultpy.model import (
    BlobHash,
    BlobRef,
    ExportId,
    ExportRef,
    Problem,
    SnapshotId,
    SnapshotState,
    SourceId,
    uuid7,
)
from vaultpy.ops.survey import Marked, Metadata, list_marked, list_metadata, listed_blobs
from vaultpy.purges import PurgeRecord, encode_record
from vaultpy.signature import MANIFEST_NAMESPACE, sign
from vaultpy.store import names
from vaultpy.vault import Vault

CHAIN_LIMIT = 32
"""Exports in a chain, the base counted: a restore reads them all."""

_GET_PIECE = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Draft:
    """What a run knows about the snapshot it is about to publish; times in nanoseconds."""

    source: SourceId
    source_name: str
    host_name: str
    paths: tuple[bytes, ...]
    tags: tuple[str, ...]
    started: int
    counts: Counts
    problems: Sequence[Problem]
    wrapped_keys: tuple[bytes, ...]
    repairs: SnapshotId | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """What a second look found missing, or marked for deletion: indexed blobs, and whether an export was among it;
    `manifest`: whether the snapshot itself is not shown as it was put."""

    blobs: frozenset[int]
    exports: bool
    manifest: bool = False

    def __bool__(self) -> bool:
        return bool(self.blobs) or self.exports or self.manifest


def publish(vault: Vault, index: Index, run: Run, draft: Draft, allowed: frozenset[int]) -> SnapshotId:
    """Make the run's snapshot; returns its id, which the index has as PUBLISHING until `confirm`.

    `allowed`: ids of the blobs that this run may name (reused by rule 3, or stored by it).
    """
    snapshot = _snapshot_row(vault, run, draft, index)
    base = _chain_to_extend(vault, index, run)
    with index.transaction():
        refresh_homes(index, run, whole=not base)
    _check_homes(index, run, allowed, whole=not base)
    chain = [*base, put_export(vault, index, run, snapshot, draft.problems, whole=not base)]
    manifest = _manifest(vault, index, snapshot, draft, [ref for ref, _ in chain])
    message = encode(manifest)
    signature = sign(vault.host.signing_key, message, MANIFEST_NAMESPACE)
    with index.transaction():
        insert_snapshot(index, snapshot, run.source_id)
        put_chain(index, snapshot.id, chain)
        put_problems(index, snapshot.id, draft.problems)
        keep_manifest(index, snapshot.id, message, signature)
    put_manifest(vault, snapshot.id, message, signature)
    return snapshot.id


def put_manifest(vault: Vault, snapshot: SnapshotId, message: bytes, signature: bytes) -> None:
    """The signature first: a manifest is never seen without it."""
    vault.store.put(names.signature_name(snapshot), signature)
    vault.store.put(names.manifest_name(snapshot), message)


def look_again(vault: Vault, index: Index, snapshot: SnapshotRow, source_id: int) -> Lost:
    """The second look: now that the manifest was put, is it there, is everything that it names, and is nothing marked for
    deletion?

    A prune that had listed the manifests before this one appeared has either recorded what it means to delete, which is
    seen here, or will look again before it deletes, and see the manifest.
    """
    lost, metadata = _find_lost(vault, index, snapshot, source_id)
    for id, message, signature in unconfirmed(index):
        if id == snapshot.id and not _shows(metadata, id, message, signature):
            return replace(lost, manifest=not _put_once_more(vault, id, message, signature))
    return lost


def _find_lost(vault: Vault, index: Index, snapshot: SnapshotRow, source_id: int) -> tuple[Lost, Metadata]:
    """What a snapshot names and is missing or marked, and the listing of metadata/ that says so."""
    marked = list_marked(vault.store)
    sizes = {(hash, size) for hash, size in listed_blobs(vault.store) if hash not in marked.blobs}
    lost = frozenset(
        int(index.value("SELECT id FROM blobs WHERE hash = ?", (hash,)))
        for hash, size in homes_at(index, source_id, snapshot.seq)
        if (hash, size) not in sizes
    )
    metadata = list_metadata(vault.store)
    chain_whole = all(
        ref.id in metadata.exports and metadata.exports[ref.id].size == ref.size and ref.id not in marked.exports
        for ref, _ in get_chain(index, snapshot.id)
    )
    return Lost(lost, not chain_whole), metadata


def _shows(metadata: Metadata, snapshot: SnapshotId, message: bytes, signature: bytes) -> bool:
    """Whether a listing shows a manifest and its signature with the sizes that they were put with."""
    listed = metadata.manifests.get(snapshot), metadata.signatures.get(snapshot)
    return [info and info.size for info in listed] == [len(message), len(signature)]


def _put_once_more(vault: Vault, snapshot: SnapshotId, message: bytes, signature: bytes) -> bool:
    """Put what the store said it had taken, and does not show; whether it does now."""
    with contextlib.suppress(ObjectExists):
        put_manifest(vault, snapshot, message, signature)
    return _shows(list_metadata(vault.store), snapshot, message, signature)


def confirm(index: Index, snapshot: SnapshotId, *, clean: bool) -> None:
    """Write down what the second look said; with that the bytes to put are forgotten."""
    with index.transaction():
        set_state(index, snapshot, State.COMPLETE if clean else State.UNCLEAN)


def finish_unconfirmed(vault: Vault, index: Index) -> None:
    """Publish to its end what an earlier run had decided: the same bytes, then the second look.

    What somebody removed while we were away would come back from the dead, and what has lost blobs to a prune since (for
    which nothing was published, so that nothing kept them) would be a snapshot that is not whole: both are forgotten, and
    the run that follows makes its own.
    """
    for snapshot, message, signature in unconfirmed(index):
        row, source_id = _row_and_source(index, snapshot)
        is_there = vault.store.stat(names.manifest_name(snapshot)) is not None
        is_removed = snapshot in list_marked(vault.store).snapshots
        if is_removed or (not is_there and _find_lost(vault, index, row, source_id)[0]):
            if not is_removed:
                # Its signature may be there, which without a word would be a loss for every prune to stop at.
                named = PurgeRecord(snapshots=(snapshot,))
                vault.store.put(names.purge_name(uuid7(row.seq, vault.random(10))), encode_record(named))
            with index.transaction():
                forget_snapshots(index, [snapshot])
            continue
        # Other bytes in its place (cut on their way, or somebody's) stop no run: the look finds them.
        with contextlib.suppress(ObjectExists):
            put_manifest(vault, snapshot, message, signature)
        confirm(index, snapshot, clean=not look_again(vault, index, row, source_id))


def publish_partial(vault: Vault, index: Index, run: Run, draft: Draft) -> SnapshotId:
    """A partial manifest: signed, names what unpublished runs of this source stored so far, keeps it from prunes."""
    snapshot = replace(_snapshot_row(vault, run, draft, index), state=State.PARTIAL, counts=None)
    rows = index.rows(
        f"SELECT hash, stored_size FROM blobs WHERE run_no IN ({', '.join('?' * len(run.unpublished))}) ORDER BY hash",
        tuple(run.unpublished),
    )
    manifest = _manifest(vault, index, snapshot, draft, [])
    manifest = replace(
        manifest,
        state=SnapshotState.PARTIAL,
        blobs=tuple(BlobRef(BlobHash(hash), size) for hash, size in rows),
    )
    message = encode(manifest)
    with index.transaction():
        # Known before it is visible: an own manifest that the index does not know stops the next run.
        insert_snapshot(index, snapshot, run.source_id)
    put_manifest(vault, snapshot.id, message, sign(vault.host.signing_key, message, MANIFEST_NAMESPACE))
    return snapshot.id


def _row_and_source(index: Index, snapshot: SnapshotId) -> tuple[SnapshotRow, int]:
    row = find_snapshot(index, snapshot)
    assert row is not None
    return row, source_id_of(index, row.source)


def _snapshot_row(vault: Vault, run: Run, draft: Draft, index: Index) -> SnapshotRow:
    now = vault.clock()
    parent = None
    if run.parent_seq is not None:
        parent = complete_snapshot_at(index, run.source_id, run.parent_seq).id
    return SnapshotRow(
        id=SnapshotId(uuid7(id_time(index, run, now // 1_000_000), vault.random(10))),
        source=draft.source,
        source_name=draft.source_name,
        host=vault.host.id,
        seq=run.seq,
        parent=parent,
        repairs=draft.repairs,
        state=State.PUBLISHING,
        key_id=vault.key.id,
        started_at=draft.started,
        completed_at=now,
        version=vaultpy.__version__,
        tags=draft.tags,
        pinned=False,
        counts=draft.counts,
        problems=len(draft.problems),
    )


def id_time(index: Index, run: Run, now_ms: int) -> int:
    """Milliseconds for a new snapshot's id: above those that this run published before, whatever the clock says, because of
    one sequence the ids tell which mends which."""
    last = index.value("SELECT max(id) FROM snapshots WHERE source_id = ? AND seq = ?", (run.source_id, run.seq))
    return now_ms if last is None else max(now_ms, int.from_bytes(last[:6], "big") + 1)


def _chain_to_extend(vault: Vault, index: Index, run: Run) -> list[tuple[ExportRef, int]]:
    """The parent's chain, if a delta may stand on it; else nothing, and the export is whole."""
    if run.parent_seq is None or last_move(index) > run.parent_seq:
        return []
    parent = complete_snapshot_at(index, run.source_id, run.parent_seq)
    chain = get_chain(index, parent.id)
    if not chain or len(chain) >= CHAIN_LIMIT or parent.key_id != vault.key.id:
        return []
    if sum(ref.size for ref, _ in chain[1:]) * 2 >= chain[0][0].size:
        return []
    try:
        bad = {one.object for one in damaged_objects(index)}
        there: Metadata = list_metadata(vault.store)
        marked: Marked = list_marked(vault.store)
    except StoreDenied:
        return []  # a chain that cannot be seen is not built on
    for ref, _ in chain:
        info = there.exports.get(ref.id)
        if info is None or info.size != ref.size or ref.id in marked.exports or ref.id.bytes in bad:
            return []
    return chain if parent.id in there.manifests else []


def _check_homes(index: Index, run: Run, allowed: frozenset[int], *, whole: bool) -> None:
    """Every live chunk must resolve to a blob that the manifest will list, and that this run may name."""
    lost = homeless(index, run, whole=whole)
    strange = open_homes(index, run.source_id) - allowed
    if lost or strange:
        raise IndexDatabaseError(
            f"index {index.path} disagrees with itself: {lost} chunks without a home, {len(strange)} blobs not seen",
            hint="nothing was published; bring it back with: vaultpy index rebuild",
        )


def put_export(
    vault: Vault, index: Index, run: Run, snapshot: SnapshotRow, problems: Sequence[Problem], *, whole: bool
) -> tuple[ExportRef, int]:
    """Write, put and read back the export of a snapshot."""
    with _scratch_file(vault.paths.scratch, f"{snapshot.id}.export") as path:
        with index.reading():
            lines = (whole_lines if whole else delta_lines)(index, run, snapshot, problems)
            written = write_export(lines, path, vault.recipients, vault.random)
        ref = ExportRef(ExportId(snapshot.id), written.size, written.blake3, written.sha256)
        vault.store.put(names.export_name(ref.id), path)
    _read_back(vault, ref, written)
    return ref, written.raw_size


def _read_back(vault: Vault, ref: ExportRef, written: WrittenExport) -> None:
    """What a restore will need is tried now, while the source is still there (litestream#752)."""
    sql = hashlib.sha256()
    try:
        for piece in read_sql(fetch_pieces(vault, ref), [vault.host.index_key]):
            sql.update(piece)
    except DamageError as error:
        raise StoreContradiction(f"export {ref.id} came back other than it was put: {error}") from error
    if sql.digest() != written.sql_sha256:
        raise StoreContradiction(f"export {ref.id} came back with other lines than were written")


def fetch_pieces(vault: Vault, ref: ExportRef) -> Iterator[bytes]:
    """An export's bytes in pieces of 8 MiB."""
    name = names.export_name(ref.id)
    for start in range(0, ref.size, _GET_PIECE):
        yield vault.store.get(name, start, min(_GET_PIECE, ref.size - start))


@contextlib.contextmanager
def _scratch_file(folder: Path, name: str) -> Iterator[Path]:
    path = folder / name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:  # the store's own are StoreErrors by now
        raise IndexDatabaseError(
            f"state folder {folder.parent} cannot hold the export: {(error.strerror or str(error)).lower()}",
            hint="make room there; nothing finished is lost, the next run goes on",
        ) from error


def _manifest(
    vault: Vault, index: Index, snapshot: SnapshotRow, draft: Draft, exports: Sequence[ExportRef]
) -> Manifest:
    blobs = homes_at(index, source_id_of(index, snapshot.source), snapshot.seq) if exports else []
    return Manifest(
        store=vault.at.settings.id,
        snapshot=snapshot.id,
        source=snapshot.source,
        host=vault.host.id,
        signer=vault.host.signing_key.public_text(),
        state=SnapshotState.COMPLETE,
        sequence=snapshot.seq,
        started=snapshot.started_at,
        completed=snapshot.completed_at or snapshot.started_at,
        pinned=snapshot.pinned,
        parent=snapshot.parent,
        repairs=snapshot.repairs,
        blobs=tuple(BlobRef(BlobHash(hash), size) for hash, size in blobs),
        exports=tuple(exports),
        store_config_hash=vault.at.settings_hash,
        key=vault.key.id,
        wrapped_keys=draft.wrapped_keys,
        about=encode_about(_about(snapshot, draft), vault.recipients, vault.random),
    )


def _about(snapshot: SnapshotRow, draft: Draft) -> About:
    counts = draft.counts
    return About(
        host=draft.host_name,
        source=draft.source_name,
        paths=draft.paths,
        tags=draft.tags,
        files=counts.files,
        bytes=counts.bytes,
        new_bytes=counts.new_bytes,
        stored_bytes=counts.stored_bytes,
        problems=len(draft.problems),
        version=snapshot.version,
    )


__all__ = [
    "CHAIN_LIMIT",
    "Draft",
    "Lost",
    "confirm",
    "fetch_pieces",
    "finish_unconfirmed",
    "id_time",
    "look_again",
    "publish",
    "publish_partial",
    "put_export",
    "put_manifest",
]
