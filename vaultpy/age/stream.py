"""The payload of an age file: a nonce, then STREAM (C2SP age specification, "Payload").

The plaintext is cut into pieces of 64 KiB, each sealed by ChaCha20-Poly1305 under its own counter, the last one marked
as final.  The last piece may be full; it is empty only when the whole plaintext is, which makes one piece of 16 bytes.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from vaultpy.age.errors import HeaderError, PayloadError
from vaultpy.age.format import hkdf

NONCE_SIZE = 16
PIECE_SIZE = 64 * 1024
TAG_SIZE = 16
SEALED_SIZE = PIECE_SIZE + TAG_SIZE

Buffer = bytes | bytearray | memoryview


def encrypted_size(header_size: int, plaintext_size: int) -> int:
    """The size in bytes of a whole age file with a header and a plaintext of these sizes."""
    return header_size + NONCE_SIZE + plaintext_size + TAG_SIZE * piece_count(plaintext_size)


def plaintext_size(header_size: int, total: int) -> int:
    """The inverse of `encrypted_size`.

    Raises HeaderError when there is no room for the nonce (the vectors count it to the header), PayloadError when no
    plaintext makes a file of `total` bytes.
    """
    sealed = total - header_size - NONCE_SIZE
    if sealed < 0:
        raise HeaderError("age file ends before its payload begins")
    pieces = -(-sealed // SEALED_SIZE)
    size = sealed - TAG_SIZE * pieces
    # False for: no piece, a last piece shorter than its tag, and an empty last piece after others.
    if size < 0 or piece_count(size) != pieces:
        raise PayloadError("age payload is cut short: its size is not possible")
    return size


def piece_count(plaintext_size: int) -> int:
    """How many pieces a plaintext of that size makes."""
    return max(1, -(-plaintext_size // PIECE_SIZE))


def payload_cipher(file_key: bytes, nonce: bytes) -> ChaCha20Poly1305:
    """The cipher of all pieces of one file; safe to use from several threads."""
    return ChaCha20Poly1305(hkdf(file_key, nonce, b"payload"))


def seal_piece(cipher: ChaCha20Poly1305, counter: int, piece: Buffer, *, final: bool) -> bytes:
    """`piece` (at most PIECE_SIZE) encrypted as number `counter`; frees the GIL."""
    return cipher.encrypt(_piece_nonce(counter, final), piece, None)


def open_piece(cipher: ChaCha20Poly1305, counter: int, sealed: Buffer, *, final: bool) -> bytes:
    """The plaintext of piece number `counter`; frees the GIL.

    Raises PayloadError unless exactly this piece was sealed in this place, as the last one or not as `final` says.
    """
    try:
        piece = cipher.decrypt(_piece_nonce(counter, final), sealed, None)
    except InvalidTag:
        raise _damaged_at(counter) from None
    if not piece and counter:
        raise PayloadError("age payload ends in an empty piece")
    return piece


def open_piece_into(cipher: ChaCha20Poly1305, counter: int, sealed: Buffer, into: memoryview, *, final: bool) -> None:
    """As `open_piece`, into a buffer of exactly the plaintext's size; what is in there after an error is nothing."""
    try:
        cipher.decrypt_into(_piece_nonce(counter, final), sealed, None, into)
    except InvalidTag:
        raise _damaged_at(counter) from None
    if not into and counter:
        raise PayloadError("age payload ends in an empty piece")


def _damaged_at(counter: int) -> PayloadError:
    return PayloadError(f"age payload is damaged or cut short at piece {counter}")


def _piece_nonce(counter: int, final: bool) -> bytes:
    return (counter << 8 | final).to_bytes(12, "big")
