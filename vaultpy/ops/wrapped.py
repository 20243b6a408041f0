"""The wrapped forms of the store key that every manifest carries, so that losing keys/ loses nothing.

A host may not read keys/ (Roles), so it keeps what it knows in its state folder and otherwise takes the copy that an
earlier manifest of the same key holds.  What it copies opens nothing without an identity, and verify compares it.
"""

from __future__ import annotations

from pathlib import Path

from vaultpy.errors import DamageError, ObjectNotFound, StoreDenied, StoreFormatError, UntrustedSigner
from vaultpy.keys import FORM_LIMIT
from vaultpy.manifest import open_manifest
from vaultpy.model import KeyId
from vaultpy.ops.survey import list_metadata
from vaultpy.signature import Trust
from vaultpy.store import names
from vaultpy.store.base import Store
from vaultpy.vault import Vault


def load_wrapped_keys(vault: Vault) -> tuple[bytes, ...]:
    """The wrapped forms of the vault's store key, as far as this host can know them; none is not an error."""
    key_id = vault.key.id
    fresh = read_wrapped_keys(vault.store, key_id)
    if fresh:
        keep_wrapped_keys(vault.paths.folder, key_id, fresh)
        return fresh
    return _kept(vault.paths.folder, key_id) or _from_manifests(vault, key_id)


def read_wrapped_keys(store: Store, key_id: KeyId) -> tuple[bytes, ...]:
    """The forms in keys/, in order; empty where they may not be read."""
    try:
        found = [info for info in store.list(names.key_folder(key_id)) if names.parse_key_name(info.name) is not None]
        return tuple(store.get(info.name) for info in found if info.size <= FORM_LIMIT)
    except (StoreDenied, ObjectNotFound):
        return ()


def keep_wrapped_keys(state: Path, key_id: KeyId, wrapped: tuple[bytes, ...]) -> None:
    """Remember the forms in the state folder: a cache, so nothing here needs to be durable."""
    folder = _folder(state, key_id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number, form in enumerate(wrapped):
        (folder / f"{number}.age").write_bytes(form)


def _kept(state: Path, key_id: KeyId) -> tuple[bytes, ...]:
    folder = _folder(state, key_id)
    if not folder.is_dir():
        return ()
    return tuple(path.read_bytes() for path in sorted(folder.glob("*.age"), key=lambda path: int(path.stem)))


def _folder(state: Path, key_id: KeyId) -> Path:
    return state / "keys" / str(key_id)


def _from_manifests(vault: Vault, key_id: KeyId) -> tuple[bytes, ...]:
    """The copy in the newest manifest of the same key that a known signer made: a stranger's could hold other keys."""
    pinned = frozenset([vault.host.signing_key.public_text(), *vault.config.signers])
    try:
        manifests = list_metadata(vault.store).manifests
    except StoreDenied:
        return ()
    for snapshot in sorted(manifests, reverse=True):
        try:
            data = vault.store.get(names.manifest_name(snapshot))
            signature = vault.store.get(names.signature_name(snapshot))
            manifest = open_manifest(data, signature, vault.at.settings.id, snapshot, Trust(pinned, False))
        except (DamageError, ObjectNotFound, StoreFormatError, UntrustedSigner):
            continue
        if manifest.key == key_id and manifest.wrapped_keys:
            return manifest.wrapped_keys
    return ()
