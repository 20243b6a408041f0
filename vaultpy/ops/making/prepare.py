"""Before a run: the index is there, agrees with the store, and knows what must never be read."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from vaultpy.errors import ConfigError, IndexDatabaseError, ObjectExists, StoreDenied
from vaultpy.events import Noticed, OnEvent
from vaultpy.index.checks import note_exports
from vaultpy.index.db import Index, create_index, open_index
from vaultpy.index.intervals import drop_unheld
from vaultpy.index.snapshots import State, all_exports, all_snapshots, forget_snapshots, unconfirmed
from vaultpy.ops.making.publish import confirm, finish_unconfirmed, put_manifest
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.ops.records import put_record
from vaultpy.ops.survey import Metadata, list_metadata, refuse_unknown, unknown_own_snapshots
from vaultpy.purges import PurgeRecord
from vaultpy.source.roots import PlaceOf, itself
from vaultpy.state import StatePaths
from vaultpy.store.base import Store
from vaultpy.store.local import LocalStore
from vaultpy.vault import Vault


def open_or_make_index(vault: Vault, on_event: OnEvent) -> Index:
    """This host's index; where it is lost, rebuilt from the snapshots that this host has in the store.

    A host that may not list the store begins with an empty one.
    """
    if not vault.paths.index.exists():
        try:
            rebuilt = rebuild_index(vault, [], on_event)
            if rebuilt.snapshots:
                on_event(Noticed(f"the index was lost: rebuilt it from {rebuilt.snapshots} snapshots", warning=True))
        except StoreDenied:
            meta = {"store": vault.at.settings.id.bytes, "host": vault.host.id.bytes}
            create_index(vault.paths.index, meta).close()
    return open_index(vault.paths.index)


def database_scratch(vault: Vault) -> Path:
    """Where copies of databases in use lie until they are read: a folder that is this host's alone."""
    chosen = vault.config.scratch
    return vault.paths.scratch if chosen is None else chosen / str(vault.host.id)


def clear_scratch(vault: Vault) -> None:
    """Remove what a dead run left in the scratch folders; the lock is held, so nobody is using them.

    Raises ConfigError for one that is not this host's alone: what lies in it would be removed, whosever it is.
    """
    for folder in {vault.paths.scratch, database_scratch(vault)}:
        try:
            _check_own(folder)
            for path in folder.iterdir() if folder.is_dir() else ():
                path.unlink()
        except OSError as error:
            raise IndexDatabaseError(
                f"scratch folder {folder} cannot be cleared: {(error.strerror or str(error)).lower()}",
                hint="look at its disk, and who owns it",
            ) from error


def _check_own(folder: Path) -> None:
    fault = _fault_above(folder.parent) or _fault_of(folder)
    if fault is not None:
        raise ConfigError(
            f"scratch folder {folder} {fault}",
            hint="a run removes what lies in there: move it away, or set scratch in the config to a folder of your own",
        )


def _fault_above(folder: Path) -> str | None:
    """Why what lies in a folder could be exchanged by somebody else; a link to it is its owner's choice."""
    with contextlib.suppress(FileNotFoundError):
        found = folder.stat()
        if found.st_uid not in (0, os.geteuid()):
            return f"lies in a folder that belongs to user {found.st_uid}"
        if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            return "lies in a folder where anybody could exchange it"
    return None


def _fault_of(folder: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        found = folder.lstat()
        if stat.S_ISLNK(found.st_mode):
            return "is a link"
        if found.st_uid != os.geteuid():
            return f"belongs to user {found.st_uid}"
    return None


def prepare(vault: Vault, index: Index, on_event: OnEvent) -> bool:
    """Bring the index and the store together before a run: finish what was decided, stop where the store knows more of
    this host than the index, forget what is gone.

    Returns whether this host may list the store.  One that may not sees nothing, so it frees, forgets and confirms
    nothing: what an earlier run had decided stays unconfirmed for good.
    """
    try:
        metadata = list_metadata(vault.store)
    except StoreDenied:
        for snapshot, message, signature in unconfirmed(index):
            # Its signature may be there: the manifest follows, and this run's next snapshot mends it.
            with contextlib.suppress(ObjectExists):
                put_manifest(vault, snapshot, message, signature)
            confirm(index, snapshot, clean=False)
        on_event(
            Noticed(
                "this host may not list the store: nothing is reused unless reuse_blind is set, and no second look taken"
            )
        )
        return False
    refuse_unknown(unknown_own_snapshots(vault, index, metadata), index)
    finish_unconfirmed(vault, index)
    metadata = list_metadata(vault.store)
    gone = [
        row.id for row in all_snapshots(index) if row.id not in metadata.manifests and row.state != State.PUBLISHING
    ]
    if gone:
        _explain_unfinished(vault, index, metadata)
        with index.transaction():
            forget_snapshots(index, gone)
        drop_unheld(index)
    listed = {id: info.size for id, info in metadata.exports.items()}
    shown = {ref.id.bytes for ref in all_exports(index) if listed.get(ref.id) == ref.size}
    note_exports(index, shown, vault.clock())
    return True


def _explain_unfinished(vault: Vault, index: Index, metadata: Metadata) -> None:
    """Say of the partial manifests of which a dead run put only the signature that they will not come: without a word,
    each would be a loss for every prune to stop at."""
    half = metadata.signatures.keys() - metadata.manifests.keys()
    unfinished = tuple(row.id for row in all_snapshots(index) if row.state == State.PARTIAL and row.id in half)
    if unfinished:
        put_record(vault.store, PurgeRecord(snapshots=unfinished), vault.clock(), vault.random)


def own_things(paths: StatePaths, store: Store | None, place_of: PlaceOf = itself) -> frozenset[tuple[int, int]]:
    """Device and inode of what a run never reads: the state folder, the secrets beside the config, a local store; and of
    what these were when a snapshot was made of their file system."""
    own = [paths.folder, paths.secrets, paths.copy, paths.index]
    if isinstance(store, LocalStore):
        own.append(store.root)
    found = set()
    live = [os.fsencode(path) for path in own]
    for path in {*live, *(place_of(os.path.realpath(path)) for path in live)}:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.add((status.st_dev, status.st_ino))
    return frozenset(found)
