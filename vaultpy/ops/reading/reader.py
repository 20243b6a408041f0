"""What reading needs: a store, and as much as there is of a configuration, an index, identities and known signers.

On a backed-up host all of it is there; on a machine with nothing but a URL and an identity, a restore works as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vaultpy.age import Identity
from vaultpy.config import Config
from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, OtherVersion, UntrustedSigner, UsageError
from vaultpy.index.db import Index, open_index
from vaultpy.keys import IDENTITY_LIMIT, Identities, OpenedStoreKey, load_identities, open_store_key
from vaultpy.manifest import Manifest, open_manifest
from vaultpy.model import KeyId, SnapshotId
from vaultpy.ops.wrapped import read_wrapped_keys
from vaultpy.signature import Trust, check_pin
from vaultpy.state import Host, load_host, state_paths
from vaultpy.store import names
from vaultpy.store.base import Store
from vaultpy.store.limit import FREE, Line
from vaultpy.store.open import open_store
from vaultpy.store.whole import get_document
from vaultpy.vault import OpenStore, Vault, open_at, open_configured


@dataclass(frozen=True, slots=True)
class Reader:
    """A store to read from.  `trust`: whose manifests are believed; None where nothing says whose, so that only a signer
    found inside the opened store key can vouch.  `index` and `host` are None away from the backed-up host."""

    at: OpenStore
    config: Config | None
    host: Host | None
    index: Index | None
    identities: Identities | None
    trust: Trust | None


@contextlib.contextmanager
def open_reader(
    place: Config | str,
    *,
    line: Line = FREE,
    identity_files: Sequence[Path] = (),
    signers: Sequence[str] = (),
    ask_passphrase: Callable[[], str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Reader]:
    """Open what `place` (a configuration, or a store's URL) gives for reading; nothing is made or changed.

    `line` leads to a URL's store; that of a configuration has its own.  `ask_passphrase` and `tell` are for identity files
    behind a passphrase and for age's plugins, whose messages come unescaped.  Raises UsageError for a signer that is none.
    """
    config = place if isinstance(place, Config) else None
    at = open_configured(config) if config else open_at(str(place), partial(open_store, line=line))
    identities = _load_identities(identity_files, ask_passphrase, tell)
    host = load_host(state_paths(config.state, config.path), config.store_id) if config else None
    trust = _known_signers(config, host, identities, signers)
    path = state_paths(config.state, config.path).index if config else None
    with contextlib.ExitStack() as stack:
        index = _open_index(stack, path) if path and path.exists() else None
        yield Reader(at, config, host, index, identities, trust)


def _open_index(stack: contextlib.ExitStack, path: Path) -> Index | None:
    """The host's index; none where the next run has to upgrade it first, since nobody waits for that to restore."""
    with contextlib.suppress(OtherVersion):
        return stack.enter_context(open_index(path, read_only=True))
    return None


def read_manifest(reader: Reader, snapshot: SnapshotId, trust: Trust | None) -> Manifest:
    """A snapshot's manifest: its signature is good, it lies where it says, and `trust` (if given) knows its signer.

    Raises ObjectNotFound, DamageError, UntrustedSigner, StoreFormatError.
    """
    data, signature = fetch_manifest(reader.at.store, snapshot)
    return open_manifest(data, signature, reader.at.settings.id, snapshot, trust)


def fetch_manifest(store: Store, snapshot: SnapshotId) -> tuple[bytes, bytes]:
    """The bytes of a snapshot's manifest and of its signature.  Raises ObjectNotFound, DamageError for half of it."""
    data = get_document(store, names.manifest_name(snapshot))
    try:
        return data, get_document(store, names.signature_name(snapshot))
    except ObjectNotFound:
        if store.stat(names.manifest_name(snapshot)) is None:
            raise  # whoever removes takes the manifest first, then its signature, and was between our two questions
        raise DamageError(f"snapshot {snapshot} has no signature", hint="nothing proves who made it") from None


def open_key(reader: Reader, manifest: Manifest) -> tuple[OpenedStoreKey, Manifest]:
    """The opened store key of a snapshot, and its manifest again (from `read_manifest`, with or without trust), now believed.

    Where a known signer made the manifest, the copies in it are tried first: keys/ is open to whoever can write to the
    store, and a form put there must not lock anybody out.  Where nobody is pinned, the signer written inside the wrapped
    key vouches: whoever made the store key wrote it.  Raises NoIdentity (before anything is said of signers),
    UntrustedSigner, DamageError.
    """
    if reader.identities is None:
        raise NoIdentity("no identity was given", hint="give --identity FILE, or set VAULTPY_IDENTITY")
    opened = _open_from(reader, manifest)
    trust = reader.trust or Trust(frozenset(opened.signers), False)
    trust.check(manifest.signer)  # who is the one that signed it: that was checked when it was read
    return opened, manifest


def _open_from(reader: Reader, manifest: Manifest) -> OpenedStoreKey:
    if reader.trust is not None and manifest.wrapped_keys:
        # Copies that are damaged were so when the host made them: then what lies in keys/ may still be right.
        with contextlib.suppress(UntrustedSigner, NoIdentity, DamageError):
            reader.trust.check(manifest.signer)
            assert reader.identities is not None
            return open_store_key(manifest.wrapped_keys, reader.identities, manifest.key, None)
    return open_wrapped(reader, manifest.key, manifest.wrapped_keys)


def open_wrapped(reader: Reader, key_id: KeyId, copies: Sequence[bytes] = ()) -> OpenedStoreKey:
    """Open a store key by the forms in keys/, or by the copies that a manifest carries."""
    assert reader.identities is not None
    recipient = None
    if reader.config and reader.config.key and reader.config.key.id == key_id:
        recipient = reader.config.key.recipient
    forms = [*read_wrapped_keys(reader.at.store, key_id), *copies]
    return open_store_key(list(dict.fromkeys(forms)), reader.identities, key_id, recipient)


def file_identities(
    vault: Vault,
    files: Sequence[Path],
    ask_passphrase: Callable[[], str] | None,
    tell: Callable[[str], None] | None = None,
) -> list[Identity]:
    """The vault's own store key, opened by the identities in these files; nothing where no file is given."""
    identities = _load_identities(files, ask_passphrase, tell)
    if identities is None:
        return []
    forms = read_wrapped_keys(vault.store, vault.key.id)
    return [open_store_key(list(forms), identities, vault.key.id, vault.key.recipient).identity]


def about_identities(reader: Reader) -> list[Identity]:
    """What may open the names in manifests, without asking a hardware key once per snapshot: the host's index key."""
    return [reader.host.index_key] if reader.host else []


def _load_identities(
    files: Sequence[Path], ask_passphrase: Callable[[], str] | None, tell: Callable[[str], None] | None
) -> Identities | None:
    loaded = []
    for path in files:
        try:
            with path.open("rb") as source:
                data = source.read(IDENTITY_LIMIT + 1)
        except OSError as error:
            raise UsageError(
                f"identity file {path} cannot be read: {(error.strerror or str(error)).lower()}"
            ) from error
        if len(data) > IDENTITY_LIMIT:
            raise UsageError(f"identity file {path} is too large to be one")
        try:
            loaded.append(load_identities(data, ask_passphrase, tell))
        except (UsageError, NoIdentity) as error:
            raise type(error)(f"{path}: {error.message}", hint=error.hint) from error
    if not loaded:
        return None
    return Identities(
        tuple(key for one in loaded for key in one.keys), tuple(signer for one in loaded for signer in one.signers)
    )


def _known_signers(
    config: Config | None, host: Host | None, identities: Identities | None, signers: Sequence[str]
) -> Trust | None:
    """Everyone that some local source names; None if there is nobody.  Raises UsageError for a malformed signer: passed
    over, it would leave others believed."""
    pinned = {check_pin(one) for one in signers if one != "any"}
    if "any" in signers:
        return Trust(frozenset(), True)
    if config:
        pinned.update(config.signers)
    if host:
        pinned.add(host.signing_key.public_text())
    if identities:
        pinned.update(identities.signers)
    return Trust(frozenset(pinned), False) if pinned else None
