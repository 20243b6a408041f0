"""The header of an age file: stanzas and MAC, encoded and decoded (C2SP age specification, "Header").

age-encryption.org/v1
-> X25519 XEl0dJ6y3C7KZkgmgWUicg63EyXJiwBJW8PdYJ/cYBE
qRS0AMjdjPvZ/WT08U2KL4G+PIooA3hy38SvLpvaC1E
--- HK2NmOBN9Dpq0Gw6xMCuhFcQlQLvZ/wQUi/2scLG75s
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vaultpy.age.errors import HeaderError, HeaderMacError

FILE_KEY_SIZE = 16
MAX_HEADER_SIZE = 64 * 1024
"""What is accepted, in bytes (600 X25519 recipients).  The format has no limit; reading hostile bytes needs one."""

_VERSION_LINE = b"age-encryption.org/v1\n"
_MAC_MARK = b"---"
_COLUMNS = 64
_ARGUMENT = re.compile(rb"[!-~]+")
_UNPADDED_BASE64 = re.compile(rb"[A-Za-z0-9+/]*")


@dataclass(frozen=True, slots=True)
class Stanza:
    """The file key, wrapped for one recipient; the first argument says how."""

    arguments: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header: `authenticated` are its own bytes up to and including `---`, which `mac` vouches for."""

    stanzas: tuple[Stanza, ...]
    authenticated: bytes
    mac: bytes


def encode_header(stanzas: Sequence[Stanza], file_key: bytes) -> bytes:
    """The complete header, from the version line to the end of the MAC line."""
    authenticated = _VERSION_LINE + b"".join(map(_encode_stanza, stanzas)) + _MAC_MARK
    return authenticated + b" " + encode_base64(_mac(authenticated, file_key)) + b"\n"


def header_size(start: bytes) -> int | None:
    """Where the header ends in a file that begins with `start`; None when `start` is too short to tell.

    Raises HeaderError when no header can follow, or none of MAX_HEADER_SIZE or less.
    """
    if not start.startswith(_VERSION_LINE[: len(start)]):
        raise HeaderError("age file does not begin with 'age-encryption.org/v1'")
    # No stanza line can begin with the mark: they begin with "-> " or hold base64, which has no "-".
    mark = start.find(b"\n" + _MAC_MARK, 0, MAX_HEADER_SIZE)
    end = start.find(b"\n", mark + 1, MAX_HEADER_SIZE) if mark >= 0 else -1
    if end >= 0:
        return end + 1
    if len(start) >= MAX_HEADER_SIZE:
        raise HeaderError(f"age header is longer than {MAX_HEADER_SIZE} bytes")
    return None


def decode_header(header: bytes) -> Header:
    """Parse a header that is exactly `header`; the MAC is not checked here (that takes the file key).

    Raises HeaderError for whatever `encode_header` could not have written.
    """
    if not header.startswith(_VERSION_LINE) or not header.endswith(b"\n"):
        raise HeaderError("age header is incomplete")
    *lines, mac_line = header[len(_VERSION_LINE) : -1].split(b"\n")
    mark, _, mac_text = mac_line.partition(b" ")
    mac = decode_base64(mac_text)
    if mark != _MAC_MARK or len(mac) != SHA256.digest_size:
        raise HeaderError("age header has a malformed MAC line")
    stanzas = tuple(_decode_stanzas(lines))
    if not stanzas:
        raise HeaderError("age header has no stanza")
    return Header(stanzas, header[: -len(mac_line) - 1] + _MAC_MARK, mac)


def check_mac(header: Header, file_key: bytes) -> None:
    """Raises HeaderMacError unless the header was written by someone who knew `file_key`."""
    if not hmac.compare_digest(header.mac, _mac(header.authenticated, file_key)):
        raise HeaderMacError("age header was changed: its MAC does not match")


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869), 32 bytes: the only key derivation of the format."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)


def encode_base64(data: bytes) -> bytes:
    """Base64 without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=")


def decode_base64(text: bytes) -> bytes:
    """The bytes of canonical base64 without padding; anything else is a HeaderError."""
    if not _UNPADDED_BASE64.fullmatch(text) or len(text) % 4 == 1:
        raise HeaderError("age header has malformed base64")
    data = base64.b64decode(text + b"=" * (-len(text) % 4))
    if encode_base64(data) != text:
        raise HeaderError("age header has base64 that is not canonical")
    return data


def _mac(authenticated: bytes, file_key: bytes) -> bytes:
    return hmac.digest(hkdf(file_key, b"", b"header"), authenticated, "sha256")


def _encode_stanza(stanza: Stanza) -> bytes:
    text = encode_base64(stanza.body)
    # One line more than there are full ones: the last is always shorter than 64 columns, if need be empty.
    lines = [text[i : i + _COLUMNS] for i in range(0, len(text) + 1, _COLUMNS)]
    return "-> {}\n".format(" ".join(stanza.arguments)).encode("ascii") + b"\n".join(lines) + b"\n"


def _decode_stanzas(lines: Sequence[bytes]) -> Iterator[Stanza]:
    rest = iter(lines)
    for line in rest:
        mark, *arguments = line.split(b" ")
        if mark != b"->" or not arguments or not all(map(_ARGUMENT.fullmatch, arguments)):
            raise HeaderError("age header has a malformed stanza")
        yield Stanza(tuple(argument.decode("ascii") for argument in arguments), _decode_body(rest))


def _decode_body(lines: Iterator[bytes]) -> bytes:
    body = []
    for line in lines:
        body.append(line)
        if len(line) < _COLUMNS:
            return decode_base64(b"".join(body))
        if len(line) > _COLUMNS:
            raise HeaderError("age header has a line of more than 64 columns")
    raise HeaderError("age header has a stanza that does not end")
