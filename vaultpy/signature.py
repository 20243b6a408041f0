"""Who made a manifest: Ed25519 signatures in OpenSSH's SSHSIG format (PROTOCOL.sshsig), as `ssh-keygen -Y sign` writes
them and `ssh-keygen -Y verify` reads them, and the question of whose are believed.

Of that format one form only is written and read: Ed25519, version 1, SHA-512, nothing reserved, lines of 70 columns.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from vaultpy.errors import DamageError, UntrustedSigner, UsageError

MANIFEST_NAMESPACE = "vaultpy-manifest@1"
"""What a host signs its manifests as, so that no signature that it made for something else can pass for one."""

SIGNATURE_LIMIT = 4096
"""Bytes of the longest signature that is looked at; one of a manifest has 314."""

_KEY_TYPE = "ssh-ed25519"
_KEY_SIZE = 32
_SIGNATURE_SIZE = 64
_HASH = "sha512"
_MAGIC = b"SSHSIG"
_VERSION = (1).to_bytes(4, "big")
_BEGIN = b"-----BEGIN SSH SIGNATURE-----\n"
_END = b"-----END SSH SIGNATURE-----\n"
_COLUMNS = 70
_PEM_LIMIT = 16 * 1024
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A host's signing key: equal when the public halves are, and shown without the secret."""

    public: bytes
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key, from the operating system's randomness."""
        return _signing_key(Ed25519PrivateKey.generate())

    def to_pem(self) -> bytes:
        """OpenSSH's private key format without a passphrase: `ssh-keygen` reads it, and `load_signing_key`."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())

    def public_text(self) -> str:
        """`ssh-ed25519 AAAA…`, without a comment: how a signer is named everywhere."""
        return _encode_public(self.public)

    def sign_raw(self, data: bytes) -> bytes:
        """Ed25519's 64 bytes over exactly `data`."""
        return self._private.sign(data)


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures are believed: keys (`ssh-ed25519 AAAA…`) and fingerprints (`SHA256:…`), or everybody's."""

    pinned: frozenset[str]
    any: bool

    def check(self, signer_public: str) -> None:
        """Raise UntrustedSigner, which shows the fingerprint found, unless the signer is one of those believed."""
        found = fingerprint(signer_public)
        if self.any or found in self.pinned or signer_public in map(_without_comment, self.pinned):
            return
        raise UntrustedSigner(
            f"signer {found} is not one that is known here",
            hint=f"if you know it for your host's: --signer {found}; or --signer any, which believes whoever"
            " could write to the store",
        )


def load_signing_key(pem: bytes) -> SigningKey:
    """The key that `to_pem`, or `ssh-keygen -t ed25519 -N ''`, wrote.  Raises DamageError; the message holds no secret."""
    if len(pem) > _PEM_LIMIT:
        raise DamageError("signing key is too large to be one")
    try:
        private = load_ssh_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise DamageError("signing key is not an Ed25519 key in OpenSSH's format without a passphrase")
    return _signing_key(private)


def fingerprint(public_text: str) -> str:
    """`SHA256:…` of a public key (a comment may follow it), as `ssh-keygen -l` shows it.  Raises UsageError."""
    digest = hashlib.sha256(_public_blob(_decode_public(public_text))).digest()
    return "SHA256:" + binascii.b2a_base64(digest, newline=False).decode("ascii").rstrip("=")


def check_pin(text: str) -> str:
    """A signer as `Trust.pinned` holds it, out of what a person wrote: the comment behind a key is dropped.

    Raises UsageError for what is neither a key nor a fingerprint.
    """
    if _FINGERPRINT.fullmatch(text):
        return text
    return _encode_public(_decode_public(text))


def sign(key: SigningKey, message: bytes, namespace: str) -> bytes:
    """The armored signature of `message`; the same key, message and namespace give the same bytes."""
    return _encode(key.public, namespace, key.sign_raw(_to_be_signed(message, namespace)))


def verify(signature: bytes, message: bytes, namespace: str) -> str:
    """The public text of the key that signed `message` in `namespace`; whether to believe it is `Trust`'s to say.

    Raises DamageError for a signature that is malformed, of another namespace, or not of this message.
    """
    public, raw = _decode(signature, namespace)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(raw, _to_be_signed(message, namespace))
    except (InvalidSignature, ValueError):
        raise DamageError("signature is not of these bytes: one of the two was changed") from None
    return _encode_public(public)


def claimed_signer(signature: bytes, namespace: str) -> str:
    """The public text of the key that a signature says it is by; only `verify` proves it.  Raises DamageError."""
    return _encode_public(_decode(signature, namespace)[0])


def _encode(public: bytes, namespace: str, raw: bytes) -> bytes:
    text = base64.b64encode(_head(public, namespace) + raw)
    lines = [text[i : i + _COLUMNS] + b"\n" for i in range(0, len(text), _COLUMNS)]
    return b"".join([_BEGIN, *lines, _END])


def _decode(signature: bytes, namespace: str) -> tuple[bytes, bytes]:
    """The public key and the 64 bytes of Ed25519 in an armored signature."""
    if len(signature) > SIGNATURE_LIMIT:
        raise DamageError(f"signature has more than {SIGNATURE_LIMIT} bytes")
    if not signature.startswith(_BEGIN) or not signature.endswith(_END):
        raise DamageError("signature lacks its first or last line")
    try:
        blob = base64.b64decode(signature[len(_BEGIN) : -len(_END)].replace(b"\n", b""), validate=True)
    except binascii.Error:
        raise DamageError("signature has malformed base64") from None
    # Every field but these two is known beforehand, and both have a fixed place.
    start = len(_MAGIC + _VERSION) + len(_string(_public_blob(bytes(_KEY_SIZE)))) - _KEY_SIZE
    public, raw = blob[start : start + _KEY_SIZE], blob[-_SIGNATURE_SIZE:]
    # One comparison for all rules of the form: type, version, namespace, hash, lengths, line lengths, canonical base64.
    if _encode(public, namespace, raw) != signature:
        raise DamageError(f"signature is not one of namespace {namespace} by an Ed25519 key, in its one form")
    return public, raw


def _head(public: bytes, namespace: str) -> bytes:
    """All of the SSHSIG blob that stands before Ed25519's 64 bytes."""
    fields = [_public_blob(public), namespace.encode(), b"", _HASH.encode()]
    # The signature is a string that holds two: its type, and its 64 bytes.
    kind = _string(_KEY_TYPE.encode())
    inner = (len(kind) + 4 + _SIGNATURE_SIZE).to_bytes(4, "big") + kind + _SIGNATURE_SIZE.to_bytes(4, "big")
    return _MAGIC + _VERSION + b"".join(map(_string, fields)) + inner


def _to_be_signed(message: bytes, namespace: str) -> bytes:
    fields = [namespace.encode(), b"", _HASH.encode(), hashlib.sha512(message).digest()]
    return _MAGIC + b"".join(map(_string, fields))


def _string(data: bytes) -> bytes:
    """RFC 4251's `string`: the length in 4 bytes, then the bytes."""
    return len(data).to_bytes(4, "big") + data


def _public_blob(public: bytes) -> bytes:
    return _string(_KEY_TYPE.encode()) + _string(public)


def _encode_public(public: bytes) -> str:
    return f"{_KEY_TYPE} {base64.b64encode(_public_blob(public)).decode('ascii')}"


def _decode_public(text: str) -> bytes:
    _, _, encoded = _without_comment(text).partition(" ")
    try:
        public = base64.b64decode(encoded, validate=True)[-_KEY_SIZE:]
    except (binascii.Error, ValueError):
        public = b""
    if len(public) != _KEY_SIZE or _encode_public(public) != _without_comment(text):
        shown = repr(text if len(text) <= 100 else text[:100] + "…")
        raise UsageError(f"{shown} is not a signer", hint="write `ssh-ed25519 AAAA…` or `SHA256:…`")
    return public


def _without_comment(text: str) -> str:
    return " ".join(text.split(" ", 2)[:2])


def _signing_key(private: Ed25519PrivateKey) -> SigningKey:
    return SigningKey(private.public_key().public_bytes_raw(), private)
