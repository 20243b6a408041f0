"""`key list`, `add-recipient`, `new` and `test`: who can open what."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vaultpy.config import StoreKeyConfig, change_key
from vaultpy.errors import DamageError, NoIdentity, ObjectExists, StoreError, UsageError
from vaultpy.keys import check_recipient, wrap
from vaultpy.model import KeyId
from vaultpy.ops.init import add_store_key, write_identity
from vaultpy.ops.reading.reader import Reader, open_wrapped
from vaultpy.store import names
from vaultpy.store.base import Store
from vaultpy.vault import Vault

RACES = 16
"""Numbers that are tried for a new form of a key, where others take one after the other."""


@dataclass(frozen=True, slots=True)
class KeyListed:
    """A store key: how many recipients can open it, and whether this host encrypts to it."""

    id: KeyId
    recipients: int
    in_use: bool


@dataclass(frozen=True, slots=True)
class KeyTried:
    """Whether an identity opened a store key, and why not."""

    id: KeyId
    opened: bool
    why: str | None


def list_keys(reader: Reader) -> list[KeyListed]:
    """The store's keys, oldest first."""
    own = reader.config.key.id if reader.config and reader.config.key else None
    counts = _forms(reader.at.store)
    return [KeyListed(key_id, len(numbers), key_id == own) for key_id, numbers in sorted(counts.items())]


def try_keys(reader: Reader) -> list[KeyTried]:
    """Which of the store's keys the reader's identities open.  Raises NoIdentity where none was given."""
    if reader.identities is None:
        raise NoIdentity("no identity was given", hint="give --identity FILE, or set VAULTPY_IDENTITY")
    tried = []
    for key_id in sorted(_forms(reader.at.store)):
        try:
            open_wrapped(reader, key_id)
            tried.append(KeyTried(key_id, True, None))
        except (NoIdentity, DamageError) as error:
            tried.append(KeyTried(key_id, False, error.message))
    return tried


def add_recipient(reader: Reader, recipient: str, key_id: KeyId | None = None) -> KeyId:
    """Let one more recipient open a store key, by one small object; no data is touched.

    The key is this host's, else the only one there is.  Raises NoIdentity, UsageError, DamageError.
    """
    form = check_recipient(recipient)
    if reader.identities is None:
        raise NoIdentity(
            "no identity was given", hint="only who can open the store key can add to it: give --identity FILE"
        )
    forms = _forms(reader.at.store)
    chosen = key_id or _own_or_only(reader, forms)
    opened = open_wrapped(reader, chosen)
    number = max(forms.get(chosen, [-1])) + 1
    # The host takes it into its manifests from its next run on.
    wrapped = wrap(opened.text, form.text)
    for other in range(RACES):
        with contextlib.suppress(ObjectExists):  # somebody else adds one at this moment
            reader.at.store.put(names.key_name(chosen, number + other), wrapped)
            return chosen
    raise StoreError(f"store key {chosen}: others keep adding recipients", hint="try again")


def new_key(vault: Vault, recipients: Sequence[str], new_identity: Path | None) -> StoreKeyConfig:
    """Make a store key for the snapshots to come, and write it into the configuration.

    Nothing older is reused from then on.  Whoever could open the old key still opens what was stored under it.
    """
    forms = [check_recipient(one).text for one in recipients]
    signer = vault.host.signing_key.public_text()
    if new_identity is not None:
        forms.append(write_identity(new_identity, signer, vault.clock, vault.random))
    made = add_store_key(vault.store, vault.paths.folder, forms, signer, vault.clock, vault.random)
    # The configuration last: until it names the key, nobody uses it, and nothing is lost.
    change_key(vault.config.path, made)
    return made


def _forms(store: Store) -> dict[KeyId, list[int]]:
    """The numbers of the wrapped forms of each key.  Raises StoreError where keys/ may not be listed."""
    found: dict[KeyId, list[int]] = {}
    for info in store.list(names.KEYS):
        parsed = names.parse_key_name(info.name)
        if parsed is not None:
            found.setdefault(parsed[0], []).append(parsed[1])
    return found


def _own_or_only(reader: Reader, forms: dict[KeyId, list[int]]) -> KeyId:
    if reader.config and reader.config.key:
        return reader.config.key.id
    if len(forms) == 1:
        return next(iter(forms))
    if not forms:
        raise StoreError("the store has no keys")
    raise UsageError(f"the store has {len(forms)} keys", hint="run this where the configuration of the host is")
