"""A store key: an age key pair whose secret half lies in the store, wrapped for the user's recipients.

The secret half is an age identity file, so `age -d -i IDENTITY keys/KEY-ID/N.age` gives one that opens everything:

    # vaultpy store key 0198c5f0-0000-7000-8000-000000000000
    # signer: ssh-ed25519 AAAA…
    AGE-SECRET-KEY-1…
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyrage  # type: ignore[import-untyped]

from vaultpy.age import HybridIdentity, Identity, X25519Identity, decrypt, stanza_types
from vaultpy.errors import DamageError, NoIdentity, UsageError
from vaultpy.keys.identities import (
    SIGNER_MARK,
    ForeignIdentity,
    Identities,
    IdentityKey,
    parse_identity_file,
)
from vaultpy.keys.recipients import wrap
from vaultpy.model import KeyId
from vaultpy.signature import check_pin

FORM_LIMIT = 64 * 1024
"""Bytes of one wrapped form, at most."""

_KEY_MARK = "# vaultpy store key "
_KEY_LINE = re.compile(rf"^{_KEY_MARK}(\S+)$", re.MULTILINE)
_NO_MATCH = "No matching keys found"


@dataclass(frozen=True, slots=True)
class MadeStoreKey:
    """A new store key as the host may know it: `wrapped` has one age file per recipient, in their order."""

    id: KeyId
    recipient: str
    wrapped: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class OpenedStoreKey:
    """A store key with its secret half; `signers` are whom its maker vouched for; `text` is what the forms wrap."""

    id: KeyId
    recipient: str
    identity: Identity
    signers: tuple[str, ...]
    text: bytes = field(repr=False)


def make_store_key(
    recipients: Sequence[str], signer: str | None, key_id: KeyId, random: Callable[[int], bytes]
) -> MadeStoreKey:
    """A new X25519 store key, wrapped for every one of `recipients`; nothing of its secret half stays here.

    `signer` (`ssh-ed25519 AAAA…`) is the host that will use it.  Raises UsageError for recipients that are missing,
    malformed or cannot be encrypted to.
    """
    if not recipients:
        raise UsageError("store key needs at least one recipient", hint="without one, nobody could restore")
    identity = X25519Identity.generate(random)
    signers = [f"{SIGNER_MARK} {check_pin(signer)}\n"] if signer is not None else []
    text = "".join([f"{_KEY_MARK}{key_id}\n", *signers, identity.to_text(), "\n"]).encode()
    return MadeStoreKey(
        key_id, identity.recipient().to_text(), tuple(wrap(text, one) for one in dict.fromkeys(recipients))
    )


def open_store_key(
    wrapped: Sequence[bytes], identities: Identities, key_id: KeyId, recipient: str | None
) -> OpenedStoreKey:
    """The store key `key_id` out of its wrapped forms; `recipient` is its public half, where that is known.

    A form that is too large, malformed or for a passphrase is refused and the next one tried: whoever can write to the
    store can add such.  Where `recipient` is None every form that opens must hold the same secret, because nothing else
    tells the true one from another's.  Raises NoIdentity when no form is for these identities; DamageError when one is,
    and is not what it should be, or when not one is readable: junk beside good forms says nothing of whom they are for.
    """
    faults: list[str] = []
    opened: OpenedStoreKey | None = None
    readable = damaged = False
    for number, form in enumerate(wrapped, 1):
        try:
            _check_form(form)
        except DamageError as error:
            faults.append(f"form {number}: {error.message}")
            continue
        readable = True
        try:
            text = _open_form(form, identities.keys, faults)
            found = _read(text, key_id, recipient) if text is not None else None
        except DamageError as error:
            damaged = True
            faults.append(f"form {number}: {error.message}")
            continue
        if found is None:
            continue
        if recipient is not None:
            return found
        if opened is not None and opened.recipient != found.recipient:
            raise DamageError(
                f"store key {key_id} has two secret halves that differ: somebody put one there",
                hint="run this with the configuration of the backed-up host, which knows the true one",
            )
        opened = opened or found
    if opened is not None:
        return opened
    raise _nothing_opened(key_id, faults, damaged or not readable)


def _check_form(form: bytes) -> None:
    """Raise DamageError for a form that is not even looked into."""
    if len(form) > FORM_LIMIT:
        raise DamageError(f"it has more than {FORM_LIMIT} bytes")
    # Before anything tries to open it: an scrypt stanza can ask for hours of work.
    if "scrypt" in stanza_types(form):
        raise DamageError("it is for a passphrase, which is not accepted from a store")


def _open_form(form: bytes, keys: Sequence[IdentityKey], faults: list[str]) -> bytes | None:
    """What one form wraps, None when it is for none of `keys`.  Raises DamageError."""
    native = [key for key in keys if not isinstance(key, ForeignIdentity)]
    try:
        return decrypt(form, native)
    except NoIdentity:
        pass
    foreign = (key for key in keys if isinstance(key, ForeignIdentity))
    return next(filter(None, (_open_foreign(form, key, faults) for key in foreign)), None)


def _open_foreign(form: bytes, key: ForeignIdentity, faults: list[str]) -> bytes | None:
    try:
        return bytes(pyrage.decrypt(form, [key.handle]))
    except pyrage.DecryptError as error:
        said = " ".join(str(error).split())
        if said == _NO_MATCH:
            return None
        if key.plugin is None:
            raise DamageError(f"it is for the SSH key given, but does not open ({said.lower()})") from error
        # A plugin fails for reasons of its own: no token in the slot, no touch in time.
        faults.append(f"age-plugin-{key.plugin}: {said}")
        return None


def _read(text: bytes, key_id: KeyId, recipient: str | None) -> OpenedStoreKey:
    """Check that a form's content is the store key that it should be.  Raises DamageError."""
    try:
        holds = parse_identity_file(text, None)
    except UsageError:
        raise DamageError("it opens, but holds no store key") from None
    if _KEY_LINE.findall(text.decode()) != [str(key_id)]:
        raise DamageError("it does not hold this store key: it was swapped for another's")
    if len(holds.keys) != 1 or not isinstance(identity := holds.keys[0], X25519Identity | HybridIdentity):
        raise DamageError("it opens, but holds something else than one secret key")
    found = identity.recipient().to_text()
    if recipient is not None and found != recipient:
        raise DamageError("its secret half is not that of the store key: it was swapped")
    return OpenedStoreKey(key_id, found, identity, holds.signers, text)


def _nothing_opened(key_id: KeyId, faults: list[str], damaged: bool) -> DamageError | NoIdentity:
    listed = "; ".join(faults)
    if damaged:
        return DamageError(
            f"store key {key_id} does not open: {listed or 'the store has no form of it'}",
            hint="every manifest of that key carries copies of its forms",
        )
    return NoIdentity(
        f"store key {key_id} is opened by none of the identities given" + (f" ({listed})" if listed else ""),
        hint="give the identity of one of the recipients that init was told (--identity FILE)",
    )
