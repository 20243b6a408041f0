"""Bech32 (BIP 173), strict, without its limit of 90 characters: how age writes keys as text."""

from __future__ import annotations

from collections.abc import Iterable

from vaultpy.age.errors import KeyTextError

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_LENGTH = 6


def encode_bech32(prefix: str, data: bytes) -> str:
    """`prefix` (human-readable part, lower case), `1`, `data` in 5-bit letters, and the checksum; lower case."""
    values = _to_fives(data)
    check = _polymod([*_expand(prefix), *values, *[0] * _CHECKSUM_LENGTH]) ^ 1
    values += [check >> 5 * (_CHECKSUM_LENGTH - 1 - i) & 31 for i in range(_CHECKSUM_LENGTH)]
    return prefix + "1" + "".join(_ALPHABET[value] for value in values)


def decode_bech32(text: str) -> tuple[str, bytes]:
    """The prefix, in the case in which it was written, and the data.

    Raises KeyTextError for mixed case, foreign letters, a wrong checksum and padding that is not canonical; it never
    quotes the text, which may be a secret.
    """
    if not text.isascii() or text not in (text.lower(), text.upper()):
        raise KeyTextError("key text is not all upper or all lower case ASCII")
    prefix, separator, letters = text.rpartition("1")
    if not separator or not prefix or len(letters) < _CHECKSUM_LENGTH or not all("!" <= c <= "~" for c in prefix):
        raise KeyTextError("key text is not Bech32")
    values = [_ALPHABET.find(letter) for letter in letters.lower()]
    if -1 in values:
        raise KeyTextError("key text has a letter that Bech32 does not use")
    if _polymod([*_expand(prefix.lower()), *values]) != 1:
        raise KeyTextError("key text has a wrong checksum", hint="a letter is wrong or missing: copy the key again")
    return prefix, _from_fives(values[:-_CHECKSUM_LENGTH])


def _polymod(values: Iterable[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate(_GENERATOR):
            if top >> i & 1:
                check ^= generator
    return check


def _expand(prefix: str) -> list[int]:
    codes = prefix.encode("ascii")
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _to_fives(data: bytes) -> list[int]:
    padding = -len(data) * 8 % 5
    number = int.from_bytes(data, "big") << padding
    count = (len(data) * 8 + padding) // 5
    return [number >> 5 * (count - 1 - i) & 31 for i in range(count)]


def _from_fives(values: list[int]) -> bytes:
    size, padding = divmod(len(values) * 5, 8)
    number = 0
    for value in values:
        number = number << 5 | value
    if padding > 4 or number & (1 << padding) - 1:
        raise KeyTextError("key text has padding that is not canonical")
    return (number >> padding).to_bytes(size, "big")
