"""The seek table: as zstd's contrib/seekable_format has it, and refused wherever it does not add up."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.blob.frames import FRAME_LIMIT
from vaultpy.blob.seektable import (
    MAX_FRAMES,
    MAX_SEEK_TABLE,
    MIN_PADDING,
    Entry,
    decode_seek_table,
    encode_padding,
    encode_seek_table,
    seek_table_size,
)
from vaultpy.errors import DamageError

PADDING = Entry(100, 0)
FRAMES = [Entry(10, 30), Entry(400, 400), Entry(1, 1_000_000)]


def blob_end(entries: Sequence[Entry], table: bytes | None = None) -> tuple[bytes, int]:
    """What a reader sees of a blob with these entries: its last bytes, and its size before encryption."""
    table = encode_seek_table(entries) if table is None else table
    size = sum(entry.length for entry in entries) + len(table)
    return (bytes(MAX_SEEK_TABLE) + table)[-min(size, MAX_SEEK_TABLE) :], size


def refuse(entries: Sequence[Entry], words: str = "seek table", table: bytes | None = None) -> None:
    with pytest.raises(DamageError, match=words):
        decode_seek_table(*blob_end(entries, table))


def test_the_table_has_the_bytes_that_the_format_says() -> None:
    assert encode_seek_table([Entry(0x11, 0x22), Entry(8, 0)]) == bytes.fromhex(
        "5e2a4d18 19000000  11000000 22000000  08000000 00000000  02000000 00 b1ea928f"
    )


def test_padding_is_a_skippable_frame_of_exactly_that_size() -> None:
    assert encode_padding(MIN_PADDING) == bytes.fromhex("502a4d18 00000000")
    assert encode_padding(11) == bytes.fromhex("502a4d18 03000000 000000")
    assert len(encode_padding(300_000)) == 300_000


def test_the_table_comes_back_without_its_padding() -> None:
    assert decode_seek_table(*blob_end([*FRAMES, PADDING])) == tuple(FRAMES)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.builds(Entry, st.integers(1, 1000), st.integers(1000, FRAME_LIMIT)), min_size=1, max_size=40),
    st.integers(MIN_PADDING, 2**20),
)
def test_every_table_comes_back(frames: list[Entry], padding: int) -> None:
    table = encode_seek_table([*frames, Entry(padding, 0)])
    assert len(table) == seek_table_size(len(frames))
    assert decode_seek_table(*blob_end([*frames, Entry(padding, 0)])) == tuple(frames)


def test_as_many_frames_as_a_blob_may_have_are_read_and_one_more_is_not() -> None:
    most = [Entry(20, 20)] * MAX_FRAMES
    assert len(decode_seek_table(*blob_end([*most, PADDING]))) == MAX_FRAMES
    assert len(encode_seek_table([*most, PADDING])) == MAX_SEEK_TABLE
    refuse([*most, Entry(20, 20), PADDING], "1026 frames")


@pytest.mark.parametrize("count", [0, 1, 3, 5, 1026, 2**31, 2**32 - 1])
def test_a_lie_about_the_number_of_frames_is_refused(count: int) -> None:
    table = bytearray(encode_seek_table([*FRAMES, PADDING]))
    table[-9:-5] = struct.pack("<I", count)
    refuse([*FRAMES, PADDING], table=bytes(table))


def test_a_table_without_frames_or_without_padding_is_refused() -> None:
    refuse([PADDING], "1 frames")
    refuse([], "0 frames")
    refuse([*FRAMES, Entry(100, 300)], "padding")


def test_padding_elsewhere_than_at_the_end_is_refused() -> None:
    refuse([PADDING, *FRAMES], "padding")
    refuse([FRAMES[0], PADDING, PADDING], "0 raw bytes")


def test_padding_that_could_not_be_a_frame_is_refused() -> None:
    refuse([*FRAMES, Entry(MIN_PADDING - 1, 0)], "padding")


@pytest.mark.parametrize("off", [-1, 1, 2**31])
def test_sizes_that_do_not_add_up_are_refused(off: int) -> None:
    wrong = [*FRAMES[:-1], Entry(FRAMES[-1].length + off, FRAMES[-1].raw_size), PADDING]
    refuse([*FRAMES, PADDING], "add up", table=encode_seek_table(wrong))


def test_huge_numbers_are_refused() -> None:
    refuse([Entry(10, FRAME_LIMIT + 1), PADDING], "not allowed")
    refuse([Entry(10, 2**32 - 1), PADDING], "not allowed")
    refuse([Entry(2**32 - 1, 10), PADDING], "cannot take")
    refuse([Entry(0, 10), PADDING], "cannot take")


def test_the_limit_of_raw_bytes_is_the_callers() -> None:
    tail, size = blob_end([Entry(10, 31), PADDING])
    assert decode_seek_table(tail, size, max_raw=31)
    with pytest.raises(DamageError):
        decode_seek_table(tail, size, max_raw=30)


@pytest.mark.parametrize("at", [0, 4, -5, -1])
def test_a_wrong_magic_number_size_or_descriptor_is_refused(at: int) -> None:
    table = bytearray(encode_seek_table([*FRAMES, PADDING]))
    table[at] ^= 0x80
    refuse([*FRAMES, PADDING], table=bytes(table))


def test_a_table_with_checksums_is_refused() -> None:
    body = b"".join(struct.pack("<III", *entry, 0) for entry in [*FRAMES, PADDING])
    footer = struct.pack("<IBI", 4, 0x80, 0x8F92EAB1)
    table = struct.pack("<II", 0x184D2A5E, len(body) + len(footer)) + body + footer
    refuse([*FRAMES, PADDING], "not ours", table=table)


def test_a_table_cut_anywhere_is_refused() -> None:
    table = encode_seek_table([*FRAMES, PADDING])
    for length in range(len(table)):
        with pytest.raises(DamageError):
            decode_seek_table(table[:length], length)
        with pytest.raises(DamageError):
            decode_seek_table(table[-length:] if length else b"", 10_000)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 30))
def test_any_bytes_are_a_table_or_damage(data: bytes, size: int, count: int) -> None:
    crafted = struct.pack("<II", 0x184D2A5E, len(data) + 9) + data + struct.pack("<IBI", count, 0, 0x8F92EAB1)
    for tail in (data, crafted):
        try:
            entries = decode_seek_table(tail, size)
        except DamageError:
            continue
        assert sum(entry.length for entry in entries) < size
        assert all(entry.raw_size <= FRAME_LIMIT for entry in entries)
