"""The user's identities: age identity files, SSH keys, and either of them behind a passphrase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyrage  # type: ignore[import-untyped]

from vaultpy.age import (
    HybridIdentity,
    KeyTextError,
    X25519Identity,
    decode_armor,
    parse_identity,
    stanza_types,
)
from vaultpy.age.bech32 import decode_bech32
from vaultpy.errors import DamageError, NoIdentity, UsageError
from vaultpy.keys.plugins import IDENTITY_PREFIX, PluginTalk, identity_plugin, missing_plugin
from vaultpy.signature import check_pin

IDENTITY_LIMIT = 1024 * 1024
"""Bytes of an identity file, at most."""

SIGNER_MARK = "# signer:"
"""Begins a line of an identity file that names a signer whose manifests are believed."""

_AGE_BEGIN = b"age-encryption.org/"
_ARMOR_BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
_PEM_BEGIN = b"-----BEGIN "
_ACCEPTED = "accepted are age identity files, OpenSSH private keys (ed25519, RSA), and either one encrypted by age -p"


@dataclass(frozen=True, slots=True)
class ForeignIdentity:
    """An identity that pyrage holds: an SSH key, or (`plugin` is its name) one that a plugin holds."""

    plugin: str | None
    handle: Any = field(repr=False)


IdentityKey = X25519Identity | HybridIdentity | ForeignIdentity
"""One secret key of the user."""


@dataclass(frozen=True, slots=True)
class Identities:
    """What an identity file holds: keys, and the signers (`ssh-ed25519 AAAA…` or `SHA256:…`) that it vouches for."""

    keys: tuple[IdentityKey, ...]
    signers: tuple[str, ...]


def new_identity_text(created: str, random: Callable[[int], bytes]) -> tuple[str, str]:
    """A new X25519 identity file, as age-keygen writes it, and its recipient; `created` is an RFC 3339 time."""
    identity = X25519Identity.generate(random)
    recipient = identity.recipient().to_text()
    return f"# created: {created}\n# public key: {recipient}\n{identity.to_text()}\n", recipient


def load_identities(
    data: bytes, ask_passphrase: Callable[[], str] | None, tell: Callable[[str], None] | None = None
) -> Identities:
    """The identities in the bytes of a file of the user's own.

    `ask_passphrase` is called when the file, or later a plugin, needs one (None: nobody can be asked); `tell` shows a
    plugin's messages, which come unescaped.  Raises UsageError for what is no identity file, NoIdentity for one that
    stays shut; no message holds a secret.
    """
    if len(data) > IDENTITY_LIMIT:
        raise UsageError("identity file is too large to be one", hint=_ACCEPTED)
    if data.startswith(_AGE_BEGIN) or data.lstrip().startswith(_ARMOR_BEGIN):
        data = _open_passphrase(data, ask_passphrase)
    if data.lstrip().startswith(_PEM_BEGIN):
        return Identities((_load_ssh(data),), ())
    return parse_identity_file(data, PluginTalk(ask_passphrase, tell))


def parse_identity_file(data: bytes, talk: PluginTalk | None) -> Identities:
    """age's identity file format: a key a line, empty lines, comments; and the comments that name signers.

    `talk` None refuses plugins' identities: a text that comes from a store must not choose a program.  Raises
    UsageError that names the line, never its text.
    """
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise UsageError("identity file is not text", hint=_ACCEPTED) from None
    keys: list[IdentityKey] = []
    signers: list[str] = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if line.startswith(SIGNER_MARK):
            signers.append(_parse_signer(line, number))
        elif line and not line.startswith("#"):
            keys.append(_parse_key(line, number, talk))
    if not keys:
        raise UsageError("identity file holds no identity", hint=_ACCEPTED)
    return Identities(tuple(keys), tuple(dict.fromkeys(signers)))


def _parse_signer(line: str, number: int) -> str:
    # A pin that does not parse is not passed over: without it, others would be believed.
    try:
        return check_pin(line.removeprefix(SIGNER_MARK).strip())
    except UsageError as error:
        raise UsageError(f"identity file, line {number}: {error.message}", hint=error.hint) from None


def _parse_key(line: str, number: int, talk: PluginTalk | None) -> IdentityKey:
    try:
        if talk is not None and line.startswith(IDENTITY_PREFIX):
            return _load_plugin(line, talk)
        identity = parse_identity(line)
    except KeyTextError as error:
        raise UsageError(f"identity file, line {number}: {error.message}", hint=error.hint or _ACCEPTED) from None
    assert isinstance(identity, X25519Identity | HybridIdentity)
    return identity


def _load_plugin(line: str, talk: PluginTalk) -> ForeignIdentity:
    prefix, _ = decode_bech32(line)
    name = identity_plugin(prefix)
    if name is None:
        raise KeyTextError("the name of the plugin has letters that are not allowed")
    try:
        parsed = pyrage.plugin.Identity.from_str(line)
    except pyrage.IdentityError:
        raise KeyTextError("the plugin's identity does not parse") from None
    try:
        return ForeignIdentity(name, pyrage.plugin.IdentityPluginV1(name, [parsed], talk))
    except pyrage.DecryptError as error:
        raise missing_plugin(name) from error


def _load_ssh(data: bytes) -> ForeignIdentity:
    try:
        return ForeignIdentity(None, pyrage.ssh.Identity.from_buffer(data.strip() + b"\n"))
    except pyrage.IdentityError as error:
        if "decrypted first" in str(error):
            raise NoIdentity(
                "identity is an SSH key with a passphrase, which has to be taken off first",
                hint="on a copy in memory (/dev/shm): ssh-keygen -p -N '' -f COPY, and remove the copy afterwards",
            ) from None
        raise UsageError("identity file is no SSH key that age knows", hint=_ACCEPTED) from None


def _open_passphrase(data: bytes, ask_passphrase: Callable[[], str] | None) -> bytes:
    try:
        binary = decode_armor(data) if data.lstrip().startswith(_ARMOR_BEGIN) else data
        kinds = stanza_types(binary)
    except DamageError as error:
        raise UsageError(f"identity file does not parse: {error.message}") from None
    if kinds != ("scrypt",):
        raise UsageError(
            "identity file is encrypted to a recipient", hint="decrypt it first: age -d -i OTHER-IDENTITY FILE"
        )
    if ask_passphrase is None:
        raise NoIdentity(
            "identity file needs its passphrase, and nobody can be asked for it",
            hint="run this at a terminal, or decrypt the file first: age -d FILE",
        )
    # The work that its header asks for is the user's own choice: this file never comes from a store.
    try:
        return bytes(pyrage.passphrase.decrypt(binary, ask_passphrase()))
    except pyrage.DecryptError:
        raise NoIdentity(
            "identity file does not open: the passphrase is wrong, or the file damaged",
            hint="try again; age -d FILE should open it, too",
        ) from None
