"""The small JSON documents of a store, written compactly and read strictly: one meaning per text, one text per value.

Whoever can write to the store can write these, so nothing is taken on faith: no name twice, no NaN, hex and UUIDs in
lower case, base64 as it would be written, sizes bounded before anything is unfolded.  Fields that are not known are
passed over, so that a later version can add some.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn, TypeVar

import zstandard

from vaultpy.errors import DamageError, StoreFormatError

T = TypeVar("T")

WINDOW_LIMIT = 8 * 1024 * 1024
"""The largest zstd window in bytes: what RFC 8878 asks every decoder to support."""

FOLD_LIMIT = 32
FOLD_SLACK = 1024 * 1024
"""What a document unfolds to, at most: so many times its bytes, and this more.  Hashes and base64, of which all large ones
are made, fold to half; what unfolds to more is a bomb."""

_NUMBER_LIMIT = 1 << 63
_DIGEST = re.compile("[0-9a-f]{64}")
_EPOCH = datetime(1970, 1, 1)
_MILLISECOND = 1_000_000
# Hashes never repeat, so looking for matches only costs: level 1 is both the fastest and the smallest (34 bytes per
# blob of a manifest, 36 at level 3).
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object out of a store, and what people call it."""

    what: str
    fields: Mapping[str, object]

    def get(self, name: str, read: Callable[[object], T]) -> T:
        """The field of that name, as `read` understands it; DamageError names the document, the field and the fault."""
        if name not in self.fields:
            raise DamageError(f"{self.what} has no {name}")
        try:
            return read(self.fields[name])
        except DamageError as error:
            raise DamageError(f"{self.what} has a bad {name}: {error.message}") from None

    def check_format(self, known: int) -> None:
        """Raise StoreFormatError when a later version than this wrote the document."""
        found = self.get("format", number)
        if found > known:
            raise StoreFormatError(
                f"{self.what} is of format {found}, and this vaultpy knows none above {known}",
                hint="use a newer vaultpy",
            )
        if found < 1:
            raise DamageError(f"{self.what} has a bad format: {found}")


def write_document(fields: Mapping[str, object]) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def read_document(data: bytes, what: str) -> Document:
    """The JSON object that `data` is; `what` names it in errors.  Raises DamageError."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{what} is not the JSON it should be: {_explain(error)}") from None
    return record(what)(found)


def _explain(error: ValueError | RecursionError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    text = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
    return text[:1].lower() + text[1:]


def fold(data: bytes) -> bytes:
    """One zstd frame (RFC 8878) that states its size and carries a checksum."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, write_content_size=True).compress(data)


def unfold(data: bytes, what: str, *, folded_limit: int, raw_limit: int) -> bytes:
    """What is in the one frame that `data` is, from its first byte to its last; both limits in bytes.

    Nothing is allocated before the frame's header was found to keep the limits: zstandard's own `max_output_size` has no
    effect on a frame that states its size.  Raises DamageError.
    """
    if len(data) > folded_limit:
        raise DamageError(f"{what} has {len(data)} bytes, {folded_limit} at most are allowed")
    try:
        header = zstandard.get_frame_parameters(data)
        _check_frame(header, what, raw_limit)
        if header.content_size > FOLD_LIMIT * len(data) + FOLD_SLACK:
            raise DamageError(f"{what} would unfold from {len(data)} to {header.content_size} bytes: it is a bomb")
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DamageError(f"{what} does not decompress: {error}") from None


def _check_frame(header: zstandard.FrameParameters, what: str, raw_limit: int) -> None:
    if header.content_size > raw_limit:  # also where none is stated: that reads as 2^64 - 1
        raise DamageError(f"{what} states no size of at most {raw_limit} bytes")
    if header.window_size > WINDOW_LIMIT:
        raise DamageError(f"{what} needs a window of {header.window_size} bytes, {WINDOW_LIMIT} at most are allowed")
    if not header.has_checksum:
        raise DamageError(f"{what} has no checksum")


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


# What fields hold.  Each of these takes what JSON gave and raises DamageError, worded to follow the field's name.


def text(value: object) -> str:
    """Text that can be written again (JSON can escape half a surrogate pair)."""
    if not isinstance(value, str):
        raise DamageError("it is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DamageError("it is not Unicode text") from None
    return value


def number(value: object) -> int:
    """A whole number from 0 to 2^63 - 1: what SQLite can hold."""
    if type(value) is not int or not 0 <= value < _NUMBER_LIMIT:
        raise DamageError("it is not a whole number from 0 to 2^63 - 1")
    return value


def flag(value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise DamageError("it is neither true nor false")
    return value


def digest(value: object) -> bytes:
    """The 32 bytes of a hash, from hex in lower case."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise DamageError("it is not 64 lower-case hex digits")
    return bytes.fromhex(value)


def identifier(value: object) -> uuid.UUID:
    """A UUID (RFC 9562) in its canonical text."""
    try:
        found = uuid.UUID(text(value))
    except ValueError:
        raise DamageError("it is not a UUID") from None
    if str(found) != value:
        raise DamageError("it is not a UUID in canonical form")
    return found


def octets(value: object) -> bytes:
    """Bytes, from canonical base64 (RFC 4648, padded)."""
    try:
        found = base64.b64decode(text(value), validate=True)
    except (binascii.Error, ValueError):
        raise DamageError("it is not base64") from None
    if write_octets(found) != value:
        raise DamageError("it is not canonical base64")
    return found


def write_octets(data: bytes) -> str:
    """Base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def moment(value: object) -> int:
    """Nanoseconds since 1970, from the text that `write_moment` writes; within signed 64 bits."""
    try:
        elapsed = datetime.fromisoformat(text(value).removesuffix("Z")) - _EPOCH
        found = elapsed // timedelta(milliseconds=1) * _MILLISECOND
    except (ValueError, TypeError):  # TypeError: it has an offset
        raise DamageError("it is not a time") from None
    if not -_NUMBER_LIMIT <= found < _NUMBER_LIMIT or write_moment(found) != value:
        raise DamageError("it is not a time from 1677 to 2262 like 2026-01-31T23:59:59.000Z")
    return found


def write_moment(nanoseconds: int) -> str:
    """RFC 3339 in UTC with milliseconds; what is finer is cut off."""
    return (_EPOCH + timedelta(milliseconds=nanoseconds // _MILLISECOND)).isoformat(timespec="milliseconds") + "Z"


def optional(read: Callable[[object], T]) -> Callable[[object], T | None]:
    """null for None, or what `read` understands."""
    return lambda value: None if value is None else read(value)


def each(read: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    """A list, of which `read` understands every item."""

    def read_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise DamageError("it is not a list")
        return tuple(map(read, value))

    return read_all


def record(what: str) -> Callable[[object], Document]:
    """An object."""

    def read(value: object) -> Document:
        if not isinstance(value, dict):
            raise DamageError(f"{what} is not a JSON object")
        return Document(what, value)

    return read


def check_ascending(keys: Sequence[bytes], what: str) -> None:
    """Raise DamageError unless every key is above the one before it: sorted, and none twice."""
    if any(map(bytes.__le__, keys[1:], keys)):
        raise DamageError(f"{what} are not in ascending order, each once")
