"""Older snapshots made whole again: after a run, without a key.

    what was found damaged → which snapshots need it → their rows, and where the chunks lie now → export → manifest that
    repairs → second look

A run stores anew every chunk whose blob is gone or bad and that the source still has.  The manifests of older snapshots
still name the lost blob.  The index knows what was in them, so for each of them that gains by it a new export is put, and a
manifest with the same source, sequence and description, that repairs the first one.  So it is where an export was lost.
What no source has any more stays lost: then the new manifest still names the lost blob, and costs less than the old one.
Only snapshots under the store key in use can be mended: nothing here knows to whom others were encrypted.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import replace

from vaultpy.errors import DamageError, ObjectNotFound, StoreFormatError
from vaultpy.events import Noticed, OnEvent, StepBegan
from vaultpy.index.checks import ObjectKey, damaged_objects, snapshots_hurt
from vaultpy.index.db import Index
from vaultpy.index.homes import has_moved
from vaultpy.index.mending import blobs_at, blobs_needed, copied_moment, is_news, note_pass, replace_homes
from vaultpy.index.runs import Run
from vaultpy.index.snapshots import (
    SnapshotRow,
    State,
    complete_snapshot_at,
    find_snapshot,
    get_chain,
    get_problems,
    insert_snapshot,
    keep_manifest,
    put_chain,
    put_problems,
    set_state,
    source_id_of,
)
from vaultpy.manifest import Manifest, encode, open_manifest
from vaultpy.model import BlobHash, BlobRef, SnapshotId, uuid7
from vaultpy.ops.making.publish import id_time, look_again, put_export, put_manifest
from vaultpy.signature import MANIFEST_NAMESPACE, Trust, sign
from vaultpy.store import names
from vaultpy.vault import Vault


def mend_snapshots(vault: Vault, index: Index, on_event: OnEvent) -> tuple[SnapshotId, ...]:
    """Publish anew each snapshot of this host that gains by it; returns the ids of the new manifests.

    For the end of a run, which holds the lock and has looked at the store.  Raises StoreError, IndexDatabaseError.
    """
    made: list[SnapshotId] = []
    damaged = {one.object for one in damaged_objects(index)}
    if not damaged or not is_news(index, damaged):
        return ()
    for row in _to_mend(vault, index, damaged):
        if not made:
            on_event(StepBegan("mending older snapshots"))
        manifest = _read(vault, row)
        if manifest is None:
            continue
        lost = _mend(vault, index, row, manifest)
        if lost is None:
            continue
        id, still_lost = lost
        made.append(id)
        said = f"; {still_lost} of the blobs that it needs stay lost" if still_lost else ", and is whole again"
        text = f"snapshot {row.id} of {row.source_name} had lost something in the store: it was published anew as {id}{said}"
        on_event(Noticed(text, warning=True))
    note_pass(index, damaged)
    return tuple(made)


def _to_mend(vault: Vault, index: Index, damaged: Set[ObjectKey]) -> Iterator[SnapshotRow]:
    """The snapshots that miss something and would gain by a new manifest, the newest first."""
    hurt = [row for id in snapshots_hurt(index, damaged) if (row := find_snapshot(index, id)) is not None]
    for row in sorted(hurt, key=lambda one: (one.seq, one.id), reverse=True):
        if row.state != State.COMPLETE or row.host != vault.host.id or row.key_id != vault.key.id:
            continue
        source_id = source_id_of(index, row.source)
        if complete_snapshot_at(index, source_id, row.seq).id != row.id:
            continue
        chain_lost = any(ref.id.bytes in damaged for ref, _ in get_chain(index, row.id))
        if chain_lost or has_moved(index, source_id, row.seq):
            yield row


def _read(vault: Vault, row: SnapshotRow) -> Manifest | None:
    """The manifest that is to be repaired, whose description the new one takes over as it is; None where it cannot be had."""
    trust = Trust(frozenset([vault.host.signing_key.public_text()]), False)
    try:
        data = vault.store.get(names.manifest_name(row.id))
        signature = vault.store.get(names.signature_name(row.id))
        return open_manifest(data, signature, vault.at.settings.id, row.id, trust)
    except (DamageError, ObjectNotFound, StoreFormatError):
        return None


def _mend(vault: Vault, index: Index, row: SnapshotRow, manifest: Manifest) -> tuple[SnapshotId, int] | None:
    """The new manifest's id, and how many of the blobs that it names are known to be lost; None where it cannot be made."""
    source_id = source_id_of(index, row.source)
    run = Run(0, source_id, row.seq, None, frozenset())
    id = SnapshotId(uuid7(id_time(index, run, vault.clock() // 1_000_000), vault.random(10)))
    mended = replace(row, id=id, repairs=row.id, state=State.PUBLISHING)
    vault.paths.scratch.mkdir(mode=0o700, exist_ok=True)
    with copied_moment(index, source_id, row.seq, vault.paths.scratch / f"{id}.sqlite") as scratch:
        if scratch.value("SELECT count(*) FROM blobs WHERE key_id <> ?", (row.key_id.bytes,)):
            return None  # some of it was stored anew under another store key, and a manifest names one
        needed = blobs_needed(scratch)
        refs = scratch.rows("SELECT hash, stored_size FROM blobs ORDER BY hash")
        problems = get_problems(index, row.id)
        chain = [put_export(vault, scratch, run, mended, problems, whole=True)]
    new = replace(
        manifest,
        snapshot=id,
        repairs=row.id,
        blobs=tuple(BlobRef(BlobHash(hash), size) for hash, size in refs),
        exports=tuple(ref for ref, _ in chain),
        store_config_hash=vault.at.settings_hash,
    )
    message = encode(new)
    signature = sign(vault.host.signing_key, message, MANIFEST_NAMESPACE)
    before = blobs_at(index, source_id, row.seq)
    with index.transaction():
        replace_homes(index, source_id, row.seq, needed)
        insert_snapshot(index, mended, source_id)
        put_chain(index, id, chain)
        put_problems(index, id, problems)
        keep_manifest(index, id, message, signature)
    put_manifest(vault, id, message, signature)
    lost = look_again(vault, index, mended, source_id)
    with index.transaction():
        if lost.manifest:
            # The store did not keep it, so the old one stands, and is tried again.
            set_state(index, id, State.UNCLEAN)
            replace_homes(index, source_id, row.seq, before)
            return None
        # What it names and is missing costs no more than before, and is found damaged by the next run's listing.
        set_state(index, id, State.COMPLETE)
        set_state(index, row.id, State.UNCLEAN)
    return id, len(lost.blobs)
