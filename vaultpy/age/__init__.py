"""age v1 (https://c2sp.org/age) on the primitives of `cryptography`: X25519 and the post-quantum hybrid, incremental
writing, and reading at random.  Bytes in, bytes out; passphrases, SSH keys and plugins are not here."""

from vaultpy.age.armor import decode_armor, encode_armor
from vaultpy.age.errors import (
    AgeError,
    ArmorError,
    HeaderError,
    HeaderMacError,
    KeyTextError,
    PassphraseError,
    PayloadError,
)
from vaultpy.age.reader import AgeReader, decrypt, open_stream, stanza_types
from vaultpy.age.recipients import (
    HybridIdentity,
    HybridRecipient,
    Identity,
    Recipient,
    X25519Identity,
    X25519Recipient,
    parse_identity,
    parse_recipient,
)
from vaultpy.age.stream import PIECE_SIZE, encrypted_size, plaintext_size
from vaultpy.age.writer import Encryptor, encrypt

__all__ = [
    "PIECE_SIZE",
    "AgeError",
    "AgeReader",
    "ArmorError",
    "Encryptor",
    "HeaderError",
    "HeaderMacError",
    "HybridIdentity",
    "HybridRecipient",
    "Identity",
    "KeyTextError",
    "PassphraseError",
    "PayloadError",
    "Recipient",
    "X25519Identity",
    "X25519Recipient",
    "decode_armor",
    "decrypt",
    "encode_armor",
    "encrypt",
    "encrypted_size",
    "open_stream",
    "parse_identity",
    "parse_recipient",
    "plaintext_size",
    "stanza_types",
]
