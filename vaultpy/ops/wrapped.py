"""The wrapped forms of the store key that every manifest carries, so that losing keys/ loses nothing.

A host may not read keys/ (Roles), so it keeps what it knows in its state folder and otherwise takes the copy that an
earlier manifest of the same key holds.  What it copies opens nothing without an identity, and verify compares it.

It keeps the key's public half, too.  Nothing in a store says which that is, so a line of the configuration that was pasted
over would else give snapshots that look whole and that nobody can open.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

from vaultpy.config import StoreKeyConfig
from vaultpy.errors import (
    ConfigError,
    DamageError,
    IndexDatabaseError,
    ObjectNotFound,
    StoreDenied,
    StoreFormatError,
    UntrustedSigner,
)
from vaultpy.keys import FORM_LIMIT
from vaultpy.manifest import open_manifest
from vaultpy.model import KeyId
from vaultpy.ops.survey import list_metadata
from vaultpy.signature import Trust
from vaultpy.store import names
from vaultpy.store.base import Store
from vaultpy.store.whole import get_document
from vaultpy.vault import Vault

FORMS = 256
"""Forms of one key that are looked at, and copied into manifests."""

RECIPIENT = "recipient"
"""The file of a key's folder in the state folder that holds its public half."""


def load_wrapped_keys(vault: Vault) -> tuple[bytes, ...]:
    """The wrapped forms of the vault's store key, as far as this host can know them; none where they may not be read.

    A form is never rewritten, so the first bytes that this host saw under a number stay, whatever the store says later; it
    cannot open them, so a new one is believed when it comes twice alike.  Raises ConfigError for a key that nobody could
    open: one that has no form anywhere, or another public half than this host has used it with.
    """
    key_id = vault.key.id
    check_recipient_kept(vault.paths.folder, vault.key)
    kept = _kept(vault.paths.folder, key_id)
    fresh = _fetch(vault.store, key_id, without=kept)
    again = _fetch(vault.store, key_id, without=kept) if fresh else {}
    alike = {number: form for number, form in fresh.items() if again.get(number) == form}
    _keep(vault.paths.folder, key_id, alike)
    forms = _in_order(kept | alike) or _from_manifests(vault, key_id)
    if not forms and not has_wrapped_keys(vault.store, key_id):
        raise ConfigError(
            f"store key {key_id} has no form in the store: nobody could restore what is encrypted to it",
            hint=f"correct the id under [key] in {vault.config.path}, or make a new key: vaultpy key new",
        )
    # Only now, so that a key that is refused is not remembered.
    keep_recipient(vault.paths.folder, vault.key)
    return forms


def has_wrapped_keys(store: Store, key_id: KeyId) -> bool:
    """Whether keys/ has any form of a store key; true where that may not be listed, as nothing speaks against it."""
    try:
        return any(names.parse_key_name(info.name) for info in store.list(names.key_folder(key_id)))
    except StoreDenied:
        return True


def check_recipient_kept(state: Path, key: StoreKeyConfig) -> None:
    """Raise ConfigError where this host has used the store key with another public half than the configuration says now."""
    kept = _kept_recipient(state, key.id)
    if kept is not None and kept != key.recipient:
        raise ConfigError(
            f"store key {key.id}: its recipient is {kept}, not {key.recipient}: nobody could open what is encrypted to that",
            hint="put the recipient under [key] in the config back, or make a new key: vaultpy key new",
        )


def read_wrapped_keys(store: Store, key_id: KeyId) -> tuple[bytes, ...]:
    """The forms in keys/, by number; empty where they may not be read."""
    return _in_order(_fetch(store, key_id))


def keep_wrapped_keys(state: Path, key_id: KeyId, wrapped: Sequence[bytes]) -> None:
    """Remember the forms, of which the first has number 0, in the state folder."""
    _keep(state, key_id, dict(enumerate(wrapped)))


def keep_recipient(state: Path, key: StoreKeyConfig) -> None:
    """Remember a key's public half in the state folder, where none is remembered yet."""
    if _kept_recipient(state, key.id) is None:
        _write(state, key.id, {RECIPIENT: key.recipient.encode()})


def _fetch(store: Store, key_id: KeyId, without: Container[int] = ()) -> dict[int, bytes]:
    """The forms in keys/ by number, the lowest FORMS of them: whoever can write there can put as many as they like."""
    found: dict[int, bytes] = {}
    try:
        named = [(names.parse_key_name(info.name), info) for info in store.list(names.key_folder(key_id))]
        small = sorted((name[1], info.name) for name, info in named if name is not None and info.size <= FORM_LIMIT)
    except StoreDenied:
        return found
    for number, name in small[:FORMS]:
        if number not in without:
            with contextlib.suppress(StoreDenied, ObjectNotFound):
                found[number] = store.get(name)
    return found


def _keep(state: Path, key_id: KeyId, forms: Mapping[int, bytes]) -> None:
    _write(state, key_id, {f"{number}.age": form for number, form in forms.items()})


def _write(state: Path, key_id: KeyId, files: Mapping[str, bytes]) -> None:
    folder = _folder(state, key_id)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, data in files.items():
            # Whole or not at all, because nothing replaces it any more.
            fresh = folder / f"{name}.new"
            with fresh.open("wb") as target:
                target.write(data)
                target.flush()
                os.fsync(target.fileno())
            fresh.replace(folder / name)
    except OSError as error:
        raise IndexDatabaseError(
            f"state folder {state} cannot keep the store key's forms: {(error.strerror or str(error)).lower()}",
            hint="make room there, or look at its disk; nothing finished is lost",
        ) from error


def _kept(state: Path, key_id: KeyId) -> dict[int, bytes]:
    folder = _folder(state, key_id)
    with _reading(state):
        if not folder.is_dir():
            return {}
        return {int(path.stem): path.read_bytes() for path in folder.glob("*.age") if path.stem.isdecimal()}


def _kept_recipient(state: Path, key_id: KeyId) -> str | None:
    with _reading(state):
        try:
            return (_folder(state, key_id) / RECIPIENT).read_text("ascii", "backslashreplace")
        except FileNotFoundError:
            return None


@contextlib.contextmanager
def _reading(state: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise IndexDatabaseError(
            f"state folder {state}: the store key's forms cannot be read: {(error.strerror or str(error)).lower()}",
            hint="run as the user it belongs to, or look at its disk",
        ) from error


def _in_order(forms: Mapping[int, bytes]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(forms[number] for number in sorted(forms)))


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
            data = get_document(vault.store, names.manifest_name(snapshot))
            signature = get_document(vault.store, names.signature_name(snapshot))
            manifest = open_manifest(data, signature, vault.at.settings.id, snapshot, Trust(pinned, False))
        except (DamageError, ObjectNotFound, StoreFormatError, UntrustedSigner):
            continue
        if manifest.key == key_id and manifest.wrapped_keys:
            return manifest.wrapped_keys
    return ()
