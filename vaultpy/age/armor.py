"""age's ASCII armor: strict PEM (RFC 7468, section 3) with the label AGE ENCRYPTED FILE."""

from __future__ import annotations

import base64
import binascii

from vaultpy.age.errors import ArmorError

_BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----\n"
_END = b"-----END AGE ENCRYPTED FILE-----\n"
_COLUMNS = 64


def encode_armor(data: bytes) -> bytes:
    """`data` as text, lines of 64 columns that end in LF."""
    text = base64.b64encode(data)
    lines = [text[i : i + _COLUMNS] + b"\n" for i in range(0, len(text), _COLUMNS)]
    return b"".join([_BEGIN, *lines, _END])


def decode_armor(text: bytes) -> bytes:
    """The bytes whose armor is `text`; lines may end in CRLF, and blanks and empty lines may stand around it.

    Raises ArmorError for every other difference from what `encode_armor` writes, so that no two texts mean the same.
    """
    inner = text.strip(b" \t\r\n").replace(b"\r\n", b"\n") + b"\n"
    if not inner.startswith(_BEGIN) or not inner.endswith(_END):
        raise ArmorError("age armor lacks its first or last line")
    try:
        data = base64.b64decode(inner[len(_BEGIN) : -len(_END)].replace(b"\n", b""), validate=True)
    except binascii.Error:
        raise ArmorError("age armor has malformed base64") from None
    # One comparison for all rules of the form: line lengths, padding, canonical base64, nothing in between.
    if encode_armor(data) != inner:
        raise ArmorError("age armor is not canonical")
    return data
