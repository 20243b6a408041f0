"""age's native key pairs: X25519, and the post-quantum hybrid mlkem768x25519 (C2SP age specification).

A recipient (public) wraps a file key into a stanza; an identity (secret) unwraps it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from vaultpy.age.bech32 import decode_bech32, encode_bech32
from vaultpy.age.errors import HeaderError, KeyTextError
from vaultpy.age.format import FILE_KEY_SIZE, Stanza, decode_base64, encode_base64, hkdf

Random = Callable[[int], bytes]
"""Gives that many bytes nobody can guess, as os.urandom does."""

_TAG_SIZE = 16
_ZERO_NONCE = bytes(12)
_X25519 = "X25519"
_X25519_PREFIX = "age"
_X25519_SECRET_PREFIX = "AGE-SECRET-KEY-"
_X25519_SIZE = 32
_HYBRID = "mlkem768x25519"
_HYBRID_PREFIX = "age1pq"
_HYBRID_SECRET_PREFIX = "AGE-SECRET-KEY-PQ-"
_HYBRID_INFO = b"age-encryption.org/mlkem768x25519"
_SEED_SIZE = 32
_MLKEM_SEED_SIZE = 64
_MLKEM_PUBLIC_SIZE = 1184
_MLKEM_ENCAPSULATED_SIZE = 1088


class Recipient(Protocol):
    """Whom a file is for."""

    def wrap(self, file_key: bytes, random: Random) -> Stanza:
        """A stanza that only the recipient's identity opens, different each time."""

    def to_text(self) -> str:
        """The key as `parse_recipient` reads it."""


class Identity(Protocol):
    """Who can read a file."""

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key (16 bytes); None when the stanza is for someone else; HeaderError when it is malformed."""

    def recipient(self) -> Recipient:
        """The public half."""

    def to_text(self) -> str:
        """The secret key as `parse_identity` reads it."""


@dataclass(frozen=True, slots=True)
class X25519Recipient:
    """`age1…`: 32 bytes, a point on Curve25519."""

    public: bytes

    def wrap(self, file_key: bytes, random: Random) -> Stanza:
        """See Recipient; raises KeyTextError for a point of low order, which would wrap for everybody."""
        ephemeral = X25519PrivateKey.from_private_bytes(random(_X25519_SIZE))
        share = ephemeral.public_key().public_bytes_raw()
        try:
            shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(self.public))
        except ValueError:
            raise KeyTextError("recipient is a point of low order, which protects nothing") from None
        body = _x25519_cipher(shared, share, self.public).encrypt(_ZERO_NONCE, file_key, None)
        return Stanza((_X25519, encode_base64(share).decode("ascii")), body)

    def to_text(self) -> str:
        return encode_bech32(_X25519_PREFIX, self.public)


@dataclass(frozen=True, slots=True)
class X25519Identity:
    """`AGE-SECRET-KEY-1…`; equal when the public halves are, and shown without the secret."""

    public: bytes
    _private: X25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_secret(cls, secret: bytes) -> X25519Identity:
        """From the 32 bytes of the scalar."""
        private = X25519PrivateKey.from_private_bytes(secret)
        return cls(private.public_key().public_bytes_raw(), private)

    @classmethod
    def generate(cls, random: Random = os.urandom) -> X25519Identity:
        """A new key pair."""
        return cls.from_secret(random(_X25519_SIZE))

    def unwrap(self, stanza: Stanza) -> bytes | None:
        if stanza.arguments[0] != _X25519:
            return None
        share = _decode_share(stanza, _X25519_SIZE)
        cipher = _x25519_cipher(_exchange(self._private, share), share, self.public)
        try:
            return cipher.decrypt(_ZERO_NONCE, stanza.body, None)
        except InvalidTag:
            return None

    def recipient(self) -> X25519Recipient:
        return X25519Recipient(self.public)

    def to_text(self) -> str:
        return encode_bech32(_X25519_SECRET_PREFIX.lower(), self._private.private_bytes_raw()).upper()


@dataclass(frozen=True, slots=True)
class HybridRecipient:
    """`age1pq1…`: an ML-KEM-768 key (1,184 bytes), then an X25519 key (32 bytes); safe while either of them holds."""

    public: bytes

    def wrap(self, file_key: bytes, random: Random) -> Stanza:
        """See Recipient; takes its randomness from the operating system, because HPKE accepts no other."""
        sealed = _hybrid_suite().encrypt(file_key, self._key(), _HYBRID_INFO)
        encapsulated_size = len(sealed) - FILE_KEY_SIZE - _TAG_SIZE
        encapsulated, body = sealed[:encapsulated_size], sealed[encapsulated_size:]
        return Stanza((_HYBRID, encode_base64(encapsulated).decode("ascii")), body)

    def to_text(self) -> str:
        return encode_bech32(_HYBRID_PREFIX, self.public)

    def _key(self) -> MLKEM768X25519PublicKey:
        return MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(self.public[:_MLKEM_PUBLIC_SIZE]),
            X25519PublicKey.from_public_bytes(self.public[_MLKEM_PUBLIC_SIZE:]),
        )


@dataclass(frozen=True, slots=True)
class HybridIdentity:
    """`AGE-SECRET-KEY-PQ-1…`; equal when the public halves are, and shown without the secret."""

    public: bytes
    _seed: bytes = field(repr=False, compare=False)
    _mlkem: MLKEM768PrivateKey = field(repr=False, compare=False)
    _x25519: X25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_secret(cls, seed: bytes) -> HybridIdentity:
        """From the 32-byte seed, expanded as filippo.io/hpke-pq says.

        Raises KeyTextError where the cryptographic library has no ML-KEM.
        """
        expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_SIZE + _X25519_SIZE)
        x25519 = X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_SIZE:])
        try:
            mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_SIZE])
        except UnsupportedAlgorithm:
            raise _no_mlkem() from None
        return cls(mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw(), seed, mlkem, x25519)

    @classmethod
    def generate(cls, random: Random = os.urandom) -> HybridIdentity:
        """A new key pair."""
        return cls.from_secret(random(_SEED_SIZE))

    def unwrap(self, stanza: Stanza) -> bytes | None:
        if stanza.arguments[0] != _HYBRID:
            return None
        encapsulated = _decode_share(stanza, _MLKEM_ENCAPSULATED_SIZE + _X25519_SIZE)
        # HPKE reports a point of low order as it does a wrong key; the first is a forgery and has to be told apart.
        _exchange(self._x25519, encapsulated[_MLKEM_ENCAPSULATED_SIZE:])
        key = MLKEM768X25519PrivateKey(self._mlkem, self._x25519)
        try:
            return _hybrid_suite().decrypt(encapsulated + stanza.body, key, _HYBRID_INFO)
        except InvalidTag:
            return None

    def recipient(self) -> HybridRecipient:
        return HybridRecipient(self.public)

    def to_text(self) -> str:
        return encode_bech32(_HYBRID_SECRET_PREFIX.lower(), self._seed).upper()


def parse_recipient(text: str) -> Recipient:
    """`age1…` or `age1pq1…` (lower case), nothing around it.

    Raises KeyTextError, also for a key that cannot be used.
    """
    if text.upper().startswith(_X25519_SECRET_PREFIX):
        raise KeyTextError("recipient is a secret key", hint="give its public half, which begins with 'age1'")
    shown = repr(text if len(text) <= 70 else text[:70] + "…")
    try:
        recipient = _recipient_of(*decode_bech32(text))
        # Wrapping once shows here, not in the middle of a run, that the key is one that can be used.
        recipient.wrap(bytes(FILE_KEY_SIZE), os.urandom)
    except KeyTextError as error:
        raise KeyTextError(f"recipient {shown} does not parse: {error.message}", hint=error.hint) from None
    except UnsupportedAlgorithm:
        raise _no_mlkem() from None
    except ValueError:
        raise KeyTextError(f"recipient {shown} is no valid public key") from None
    return recipient


def parse_identity(text: str) -> Identity:
    """`AGE-SECRET-KEY-1…` or `AGE-SECRET-KEY-PQ-1…` (upper case), nothing around it.  Raises KeyTextError."""
    try:
        prefix, secret = decode_bech32(text)
    except KeyTextError as error:
        raise KeyTextError(f"identity does not parse: {error.message}", hint=error.hint) from None
    if prefix == _X25519_SECRET_PREFIX and len(secret) == _X25519_SIZE:
        return X25519Identity.from_secret(secret)
    if prefix == _HYBRID_SECRET_PREFIX and len(secret) == _SEED_SIZE:
        return HybridIdentity.from_secret(secret)
    raise KeyTextError("identity is of no kind that is known", hint="it begins with 'AGE-SECRET-KEY-' in capitals")


def _recipient_of(prefix: str, public: bytes) -> Recipient:
    if prefix == _X25519_PREFIX and len(public) == _X25519_SIZE:
        return X25519Recipient(public)
    if prefix == _HYBRID_PREFIX and len(public) == _MLKEM_PUBLIC_SIZE + _X25519_SIZE:
        return HybridRecipient(public)
    raise KeyTextError("key text is of no kind that is known here")


def _decode_share(stanza: Stanza, size: int) -> bytes:
    if len(stanza.arguments) != 2:
        raise HeaderError(f"age stanza {stanza.arguments[0]} has {len(stanza.arguments)} arguments instead of 2")
    share = decode_base64(stanza.arguments[1].encode("ascii"))
    # The body's size is checked before it is decrypted: against partitioning oracles, says the specification.
    if len(share) != size or len(stanza.body) != FILE_KEY_SIZE + _TAG_SIZE:
        raise HeaderError(f"age stanza {stanza.arguments[0]} has parts of a wrong size")
    return share


def _exchange(private: X25519PrivateKey, share: bytes) -> bytes:
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError:
        raise HeaderError("age stanza has a share of low order") from None


def _x25519_cipher(shared: bytes, share: bytes, public: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hkdf(shared, share + public, b"age-encryption.org/v1/X25519"))


def _hybrid_suite() -> Suite:
    return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def _no_mlkem() -> KeyTextError:
    return KeyTextError("post-quantum keys are not supported by the installed cryptography package's OpenSSL")
