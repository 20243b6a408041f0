"""What stands behind the frames of a blob: padding, and the table that says where each frame lies.

The format is zstd's own seekable format (facebook/zstd, contrib/seekable_format, version 0.1.0) without its optional
checksums.  Both parts are skippable frames, which every zstd decoder passes over; all numbers are little-endian:

    padding     0x184D2A50 · size of what follows (4 bytes) · zeros
    seek table  0x184D2A5E · size of what follows (4 bytes)
                per frame: its stored size, its raw size (4 bytes each)
                number of frames (4 bytes) · 0x00 · 0x8F92EAB1

The padding has an entry too, with a raw size of 0, and is the last, so that the stored sizes add up to exactly where
the table begins.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from vaultpy.blob.frames import FRAME_LIMIT
from vaultpy.errors import DamageError

MAX_FRAMES = 1024
"""Frames in a blob, the padding not counted."""

MIN_PADDING = 8
"""Bytes of the smallest padding; there always is one, so that there is one layout only."""

_SKIPPABLE = struct.Struct("<II")
_FOOTER = struct.Struct("<IBI")
_PADDING_MAGIC = 0x184D2A50
_TABLE_MAGIC = 0x184D2A5E
_SEEKABLE_MAGIC = 0x8F92EAB1


class Entry(NamedTuple):
    """One frame in the seek table: its bytes as stored (before encryption), and its raw bytes (0: padding)."""

    length: int
    raw_size: int


def seek_table_size(frames: int) -> int:
    """Bytes of the table of a blob with so many frames, the padding not counted."""
    return _SKIPPABLE.size + 8 * (frames + 1) + _FOOTER.size


MAX_SEEK_TABLE = seek_table_size(MAX_FRAMES)
"""A reader that has these many bytes of a blob's end has all of its seek table."""


def encode_padding(size: int) -> bytes:
    """A skippable frame of exactly `size` bytes, MIN_PADDING at least."""
    return _SKIPPABLE.pack(_PADDING_MAGIC, size - _SKIPPABLE.size) + bytes(size - _SKIPPABLE.size)


def encode_seek_table(entries: Sequence[Entry]) -> bytes:
    """The table for all frames in order, of which the last is the padding."""
    body = struct.pack(f"<{2 * len(entries)}I", *(number for entry in entries for number in entry))
    footer = _FOOTER.pack(len(entries), 0, _SEEKABLE_MAGIC)
    return _SKIPPABLE.pack(_TABLE_MAGIC, len(body) + len(footer)) + body + footer


def decode_seek_table(tail: bytes | memoryview, size: int, *, max_raw: int = FRAME_LIMIT) -> tuple[Entry, ...]:
    """The entries of the frames (the padding's, which must be the last, is left out), from a blob's decrypted end.

    `tail` is the last MAX_SEEK_TABLE bytes, or all there are, of `size`; `max_raw` the most raw bytes that a frame may
    have.  Raises DamageError unless it all adds up.
    """
    table = tail[-_table_size(tail) :]
    if _SKIPPABLE.unpack_from(table) != (_TABLE_MAGIC, len(table) - _SKIPPABLE.size):
        raise _damage("it does not begin where its size says")
    entries = tuple(map(Entry._make, struct.iter_unpack("<II", table[_SKIPPABLE.size : -_FOOTER.size])))
    if sum(entry.length for entry in entries) != size - len(table):
        raise _damage("its sizes do not add up to where it begins")
    *frames, padding = entries
    if padding.raw_size != 0 or padding.length < MIN_PADDING:
        raise _damage("its last entry is not padding")
    for frame in frames:
        if not 0 < frame.raw_size <= max_raw:
            raise _damage(f"a frame of {frame.raw_size} raw bytes is not allowed")
        if not 0 < frame.length <= _bound(frame.raw_size):
            raise _damage(f"a frame of {frame.raw_size} raw bytes cannot take {frame.length} bytes")
    return tuple(frames)


def _table_size(tail: bytes | memoryview) -> int:
    """Bytes of the table whose footer ends `tail`, all of which are there."""
    if len(tail) < _FOOTER.size:
        raise _damage("it is cut short")
    count, descriptor, magic = _FOOTER.unpack_from(tail, len(tail) - _FOOTER.size)
    if magic != _SEEKABLE_MAGIC or descriptor != 0:
        raise _damage("there is none, or of a kind that is not ours")
    # With at least one frame and the padding.  The count is checked before anything is computed from it.
    if not 2 <= count <= MAX_FRAMES + 1:
        raise _damage(f"{count} frames are not allowed")
    size = seek_table_size(count - 1)
    if size > len(tail):
        raise _damage("it is cut short")
    return size


def _bound(raw_size: int) -> int:
    """At least ZSTD_COMPRESSBOUND (zstd.h): no encoder makes more of so many bytes."""
    return raw_size + (raw_size >> 8) + 64


def _damage(what: str) -> DamageError:
    return DamageError(f"blob's seek table is damaged: {what}")
