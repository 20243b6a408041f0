"""Reading age files: at random, as a stream, or whole.  Nothing unauthenticated is ever returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from vaultpy.age.errors import HeaderError, PassphraseError, PayloadError
from vaultpy.age.format import MAX_HEADER_SIZE, Header, check_mac, decode_header, header_size
from vaultpy.age.recipients import Identity
from vaultpy.age.stream import (
    NONCE_SIZE,
    PIECE_SIZE,
    SEALED_SIZE,
    TAG_SIZE,
    Buffer,
    open_piece,
    open_piece_into,
    payload_cipher,
    piece_count,
    plaintext_size,
)
from vaultpy.errors import NoIdentity

_FIRST_FETCH = 4096
_SCRYPT = "scrypt"


class AgeReader:
    """Random access to the plaintext of an age file of which any range can be fetched.

    Opening proves that the header was written by someone who knows the file key.  A read proves that its bytes are
    those of that place in the file that was encrypted.  `size` is computed from the size of the encrypted object and
    is proven only by a read that reaches it: a file cut after a piece, or lengthened, opens and reads up to there, and
    fails in whatever read includes its last piece, because that does not carry the final flag.  `read(size, 0)`
    checks just that.  age says nothing about who wrote the file.

    May be used from several threads if `fetch` may.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, identities: Sequence[Identity]) -> None:
        """`fetch(start, length)` returns exactly these bytes of the encrypted object of `size` bytes.

        Takes one fetch of up to 4 KiB, one more if the header is longer.  Raises AgeError, NoIdentity, and what
        `fetch` raises.
        """
        self._fetch = fetch
        self._total = size
        self._start = b""
        self._start = self._fetch_sealed(0, min(size, _FIRST_FETCH))
        header_end = header_size(self._start)
        if header_end is None or header_end + NONCE_SIZE > len(self._start):
            self._start = self._fetch_sealed(0, min(size, MAX_HEADER_SIZE + NONCE_SIZE))
            header_end = header_size(self._start)
        if header_end is None:
            raise HeaderError("age file ends within its header")
        file_key = unwrap_file_key(self._start[:header_end], identities)
        self.size = plaintext_size(header_end, size)
        """The size of the plaintext in bytes; see the class for what proves it."""
        self._payload = header_end + NONCE_SIZE
        self._cipher = payload_cipher(file_key, self._start[header_end : self._payload])

    def read(self, start: int, length: int) -> memoryview:
        """`length` bytes of plaintext from `start` on, in one fetch of the pieces that hold them.

        A read that ends at `size`, be it empty, includes the last piece and so proves the size.  Raises PayloadError
        when a piece is damaged, or when the range is not all inside the plaintext (whatever told the caller of it and
        this file do not belong together).
        """
        end = start + length
        if not 0 <= start <= end <= self.size:
            raise PayloadError(f"age payload has {self.size} bytes, asked for were {start} to {end}")
        if start == end < self.size:
            return memoryview(b"")
        last = piece_count(self.size) - 1
        first = min(start // PIECE_SIZE, last)
        skip = start - first * PIECE_SIZE
        return self._open_pieces(range(first, piece_count(end)), last)[skip : skip + length]

    def _open_pieces(self, counters: range, last: int) -> memoryview:
        begin = self._payload + counters.start * SEALED_SIZE
        end = min(self._payload + counters.stop * SEALED_SIZE, self._total)
        sealed = memoryview(self._fetch_sealed(begin, end - begin))
        # Opened end to end into one buffer, which nobody sees before all of it was proven.
        opened = memoryview(bytearray(len(sealed) - TAG_SIZE * len(counters)))
        for i, counter in enumerate(counters):
            piece = sealed[i * SEALED_SIZE : (i + 1) * SEALED_SIZE]
            into = opened[i * PIECE_SIZE : (i + 1) * PIECE_SIZE]
            open_piece_into(self._cipher, counter, piece, into, final=counter == last)
        return opened.toreadonly()

    def _fetch_sealed(self, start: int, length: int) -> bytes:
        # A file that fitted whole into the first fetch is not fetched again.
        if start + length <= len(self._start):
            return self._start[start : start + length]
        data = self._fetch(start, length)
        if len(data) != length:
            raise PayloadError(f"age file gave {len(data)} bytes where {length} were asked for")
        return data


def open_stream(pieces: Iterable[bytes], identities: Sequence[Identity]) -> Iterator[bytes]:
    """The plaintext of an age file that arrives in `pieces` of any sizes, in pieces of up to 64 KiB.

    The header is read and opened at once, the rest as it is asked for; at most two pieces of `pieces`, and 64 KiB, are
    held.  Every piece given out was written in that place; but only when the iterator ends without an error is it
    known that the file is whole.  Raises AgeError (also for anything after the last piece), NoIdentity, and what
    `pieces` raises.
    """
    source = iter(pieces)
    start = b""
    while (header_end := header_size(start)) is None or len(start) < header_end + NONCE_SIZE:
        piece = next(source, None)
        if piece is None:
            raise HeaderError("age file ends within its header or nonce")
        start += piece
    payload = header_end + NONCE_SIZE
    cipher = payload_cipher(unwrap_file_key(start[:header_end], identities), start[header_end:payload])
    return _open_all(cipher, _regroup(memoryview(start)[payload:], source))


def decrypt(data: bytes, identities: Sequence[Identity]) -> bytes:
    """The plaintext of a whole age file in memory; all of it was proven.  Raises AgeError and NoIdentity."""
    return b"".join(open_stream([data], identities))


def stanza_types(start: bytes) -> tuple[str, ...]:
    """The first arguments of the stanzas (`X25519`, `ssh-ed25519`, `scrypt` …) of a file that begins with `start`.

    For saying what kinds of keys a file is for, and refusing some, before any identity is tried.  Unproven: whoever
    wrote the header can have put in what they like.  Raises HeaderError.
    """
    end = header_size(start)
    if end is None:
        raise HeaderError("age file ends within its header")
    return tuple(stanza.arguments[0] for stanza in decode_header(start[:end]).stanzas)


def unwrap_file_key(encoded: bytes, identities: Sequence[Identity]) -> bytes:
    """The file key out of a complete header, which is proven by it to be unchanged.

    Stanzas of types that no identity knows are passed over.  Raises NoIdentity when none opens, HeaderError when a
    stanza for a known type is malformed, PassphraseError for any scrypt stanza, HeaderMacError.
    """
    header = decode_header(encoded)
    if any(stanza.arguments[0] == _SCRYPT for stanza in header.stanzas):
        raise PassphraseError("age file is encrypted with a passphrase, which is not accepted here")
    file_key = _unwrap(header, identities)
    if file_key is None:
        raise NoIdentity(
            "age file is for none of the identities given", hint="give the identity of one of its recipients"
        )
    check_mac(header, file_key)
    return file_key


def _unwrap(header: Header, identities: Sequence[Identity]) -> bytes | None:
    for identity in identities:
        for stanza in header.stanzas:
            file_key = identity.unwrap(stanza)
            if file_key is not None:
                return file_key
    return None


def _open_all(cipher: ChaCha20Poly1305, sealed: Iterator[Buffer]) -> Iterator[bytes]:
    # Whether a piece is the last is known only once there is, or is not, another one.
    held = next(sealed, None)
    if held is None:
        raise PayloadError("age payload is missing")
    counter = 0
    for following in sealed:
        yield open_piece(cipher, counter, held, final=False)
        held = following
        counter += 1
    yield open_piece(cipher, counter, held, final=True)


def _regroup(first: memoryview, rest: Iterator[bytes]) -> Iterator[Buffer]:
    """The same bytes in pieces of SEALED_SIZE, the last one shorter but not empty; uncopied where they lie whole."""
    tail = bytearray()
    piece: bytes | memoryview | None = first
    while piece is not None:
        at = 0
        if tail:
            at = min(SEALED_SIZE - len(tail), len(piece))
            tail += piece[:at]
        if len(tail) == SEALED_SIZE:
            yield tail
            tail = bytearray()
        if not tail:
            view = memoryview(piece)
            while len(piece) - at >= SEALED_SIZE:
                yield view[at : at + SEALED_SIZE]
                at += SEALED_SIZE
            tail += view[at:]
        piece = next(rest, None)
    if tail:
        yield tail
