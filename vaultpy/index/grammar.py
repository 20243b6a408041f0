"""The grammar of an export's lines: what a statement may look like, and nothing else (docs/format.md)."""

from __future__ import annotations

import re
from binascii import unhexlify

from vaultpy.errors import DamageError

LINE_LIMIT = 64 * 1024
INT_LIMIT = 1 << 63
_HEX_MARK = ord("X")


def parse_line(line: bytes) -> tuple[str, tuple[object, ...]]:
    """A statement as its table (`-table` for a deletion) and its values."""
    if len(line) > LINE_LIMIT:
        raise DamageError("export has a line of more than 64 KiB")
    for table, pattern in _PATTERNS:
        match = pattern.fullmatch(line)
        if match is not None:
            return table, tuple(
                # Written out, because a million lines of twenty values pass here.
                [
                    None if token == b"NULL" else unhexlify(token[2:-1]) if token[0] == _HEX_MARK else _number(token)
                    for token in match[1].split(b",")
                ]
            )
    raise DamageError(f"export has a line that is not of its format: {line[:60]!r}")


def _number(token: bytes) -> int:
    number = int(token)
    if not -INT_LIMIT <= number < INT_LIMIT:
        raise DamageError("export has a number of more than 64 bits")
    return number


_INT = rb"(?:0|-?[1-9][0-9]{0,18})"
_UUID = rb"X'[0-9A-F]{32}'"
_HASH = rb"X'[0-9A-F]{64}'"
_HEX = rb"X'(?:[0-9A-F]{2})*'"
_TOKENS = {
    b"u": _UUID,
    b"U": rb"(?:%s|NULL)" % _UUID,
    b"h": _HASH,
    b"H": rb"(?:%s|NULL)" % _HASH,
    b"x": _HEX,
    b"X": rb"(?:%s|NULL)" % _HEX,
    b"i": _INT,
    b"I": rb"(?:%s|NULL)" % _INT,
    b"N": b"NULL",
}


def _insert(table: str, shape: bytes) -> tuple[str, re.Pattern[bytes]]:
    values = b",".join(_TOKENS[bytes([one])] for one in shape)
    return table, re.compile(rb"INSERT INTO %s VALUES \((%s)\);\n" % (table.encode(), values))


def _delete(table: str, key: str, token: bytes) -> tuple[str, re.Pattern[bytes]]:
    return f"-{table}", re.compile(rb"DELETE FROM %s WHERE %s = (%s);\n" % (table.encode(), key.encode(), token))


_PATTERNS = (
    # Most frequent first.  u: UUID, h: hash, x: bytes, i: integer, N: NULL; capitals may be NULL.
    _insert("files", b"uuxiiiIiiiiiiXXHXIIIXIiN"),
    _insert("chunks", b"hiui"),
    _insert("file_chunks", b"uih"),
    _insert("xattrs", b"uxix"),
    _insert("access_times", b"ui"),
    _insert("directories", b"uuUx"),
    _insert("blobs", b"uuhii"),
    _insert("problems", b"uxxx"),
    _insert("snapshots", b"uuii"),
    _insert("sources", b"uux"),
    _delete("files", "id", _UUID),
    _delete("file_chunks", "file_id", _UUID),
    _delete("xattrs", "file_id", _UUID),
    _delete("access_times", "file_id", _UUID),
    _delete("chunks", "hash", _HASH),
    _delete("blobs", "id", _UUID),
    _delete("directories", "id", _UUID),
)
