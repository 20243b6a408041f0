"""Frames: grouped, compressed, opened; and refused when they are not exactly what they should be."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Sequence

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.blob.frames import (
    FRAME_CHUNKS,
    FRAME_LIMIT,
    FRAME_SIZE,
    LEAST_SAVED,
    TRIED_ABOVE,
    WINDOW_LIMIT,
    Frame,
    FrameBuilder,
    FrameCompressor,
    FrameInput,
    decompress_frame,
    decompress_start,
    split,
)
from vaultpy.chunker import MAXIMUM, hash_chunk
from vaultpy.errors import DamageError
from vaultpy.model import ChunkHash

REAL_COMPRESSOR = zstandard.ZstdCompressor


def named(*contents: bytes) -> FrameInput:
    return [(hash_chunk(data), data) for data in contents]


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def text(size: int) -> bytes:
    return b"".join(b"line %d of a log that says little\n" % n for n in range(size // 30 + 1))[:size]


def grouped(sizes: Sequence[int]) -> list[list[int]]:
    """The sizes of the chunks in each frame, in the order in which a builder gives them out."""
    builder = FrameBuilder()
    frames: list[FrameInput] = []
    for size in sizes:
        frames += builder.add(ChunkHash(bytes(32)), bytes(size))
    frames += builder.flush()
    return [[len(data) for _, data in frame] for frame in frames]


def test_a_chunk_of_the_frame_size_is_a_frame_by_itself() -> None:
    assert grouped([3, FRAME_SIZE]) == [[FRAME_SIZE], [3]]
    assert grouped([FRAME_SIZE + 1, 5]) == [[FRAME_SIZE + 1], [5]]


def test_a_chunk_just_below_the_frame_size_shares_and_is_followed_by_one_more() -> None:
    assert grouped([FRAME_SIZE - 1, FRAME_SIZE - 1, 1]) == [[FRAME_SIZE - 1, FRAME_SIZE - 1], [1]]


def test_a_shared_frame_closes_at_exactly_the_frame_size() -> None:
    half = FRAME_SIZE // 2
    assert grouped([half, half - 1, 1, 7]) == [[half, half - 1, 1], [7]]


def test_a_large_chunk_does_not_disturb_the_shared_frame() -> None:
    assert grouped([3, MAXIMUM, 4]) == [[MAXIMUM], [3, 4]]


def test_a_shared_frame_closes_at_its_number_of_chunks() -> None:
    assert [len(frame) for frame in grouped([1] * (2 * FRAME_CHUNKS + 1))] == [FRAME_CHUNKS, FRAME_CHUNKS, 1]


def test_no_chunks_make_no_frame() -> None:
    assert grouped([]) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 2 * FRAME_SIZE), max_size=30))
def test_every_chunk_is_in_one_frame_in_walk_order_and_shared_frames_are_below_twice_the_frame_size(
    sizes: list[int],
) -> None:
    frames = grouped(sizes)
    shared = [size for frame in frames for size in frame if size < FRAME_SIZE]
    alone = [size for frame in frames for size in frame if size >= FRAME_SIZE]
    assert shared == [size for size in sizes if size < FRAME_SIZE]
    assert alone == [size for size in sizes if size >= FRAME_SIZE]
    assert all(len(frame) == 1 or sum(frame) < 2 * FRAME_SIZE for frame in frames)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 65_791, 65_792, FRAME_SIZE - 1, FRAME_SIZE, MAXIMUM])
@pytest.mark.parametrize("content", [noise, text, bytes])
def test_a_frame_gives_back_its_chunk(size: int, content: type[bytes]) -> None:
    data = content(size)
    frame = FrameCompressor(3).compress(named(data))
    assert frame.raw_size == size and frame.sizes == (size,) and frame.hashes == (hash_chunk(data),)
    assert decompress_frame(frame.data, size) == data


def test_a_shared_frame_gives_back_its_chunks_in_order() -> None:
    contents = [noise(n, n) for n in (1, 200, 70_000, 1, 3)]
    frame = FrameCompressor(3).compress(named(*contents))
    assert list(split(decompress_frame(frame.data, frame.raw_size), frame.sizes)) == contents


@pytest.mark.parametrize("level", [-5, 1, 3, 9, 19, 22])
def test_frames_state_their_size_and_checksum_and_keep_the_window_small_at_every_level(level: int) -> None:
    frame = FrameCompressor(level).compress(named(bytes(MAXIMUM)))
    header = zstandard.get_frame_parameters(frame.data)
    assert header.content_size == MAXIMUM
    assert header.has_checksum
    assert header.dict_id == 0
    assert header.window_size <= WINDOW_LIMIT


def test_the_largest_frame_that_is_written_can_be_read_at_the_highest_level() -> None:
    frame = FrameCompressor(22).compress(named(bytes(FRAME_LIMIT)))
    assert decompress_frame(frame.data, FRAME_LIMIT) == bytes(FRAME_LIMIT)


def test_an_empty_chunk_is_never_stored() -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        FrameCompressor(3).compress(named(b"a", b""))


def test_a_frame_that_nobody_would_open_is_not_written() -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        FrameCompressor(3).compress(named(bytes(FRAME_LIMIT + 1)))


def test_a_chunk_that_changed_in_memory_since_it_was_hashed_is_not_stored() -> None:
    good, bad = b"as it was read", b"as it was reaD"
    with pytest.raises(DamageError, match="another hash"):
        FrameCompressor(3).compress([*named(good), (hash_chunk(good), bad)])


@pytest.mark.parametrize("flip", [-1, 12, 40])
def test_a_fault_of_the_encoder_is_noticed_before_the_frame_is_handed_out(
    flip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FaultyCompressor:
        def __init__(self, **options: object) -> None:
            self._real = REAL_COMPRESSOR(write_checksum=True)

        def compress(self, raw: bytes) -> bytes:
            data = bytearray(self._real.compress(raw))
            data[flip] ^= 4
            return bytes(data)

    monkeypatch.setattr(zstandard, "ZstdCompressor", FaultyCompressor)
    with pytest.raises(DamageError, match="does not give back what went into it") as caught:
        FrameCompressor(3).compress(named(noise(100)))
    assert caught.value.hint and "memory" in caught.value.hint


def test_an_encoder_that_drops_a_byte_with_a_good_checksum_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherBytes:
        def __init__(self, **options: object) -> None:
            self._real = REAL_COMPRESSOR(write_checksum=True)

        def compress(self, raw: bytes) -> bytes:
            return self._real.compress(raw[:-1] + b"?")

    monkeypatch.setattr(zstandard, "ZstdCompressor", OtherBytes)
    with pytest.raises(DamageError, match="another hash"):
        FrameCompressor(3).compress(named(noise(100)))


def test_one_compressor_serves_many_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    compressor = FrameCompressor(3)
    groups = [named(text(50_000 + n)) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        frames: list[Frame] = list(pool.map(compressor.compress, groups))
    for frame, [(name, data)] in zip(frames, groups, strict=True):
        assert frame.hashes == (name,)
        assert decompress_frame(frame.data, len(data)) == data


def at_level(level: int, raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(raw)


@pytest.fixture
def levels_used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The level of each compression, in order."""
    used: list[int] = []

    class Noted:
        def __init__(self, *, level: int, **options: bool) -> None:
            self._level, self._real = level, REAL_COMPRESSOR(level=level, **options)

        def compress(self, raw: bytes) -> bytes:
            used.append(self._level)
            return self._real.compress(raw)

    monkeypatch.setattr(zstandard, "ZstdCompressor", Noted)
    return used


@pytest.mark.parametrize("level", [TRIED_ABOVE + 1, 19])
def test_what_does_not_shrink_is_not_worked_on_at_a_high_level(level: int, levels_used: list[int]) -> None:
    raw = noise(300_000)
    frame = FrameCompressor(level).compress(named(raw))
    assert levels_used == [1]
    assert decompress_frame(frame.data, len(raw)) == raw


@pytest.mark.parametrize("level", [2, TRIED_ABOVE])
def test_up_to_the_level_where_a_trial_would_pay_there_is_none(level: int, levels_used: list[int]) -> None:
    FrameCompressor(level).compress(named(noise(300_000)))
    assert levels_used == [level]


def test_what_shrinks_gets_the_level_that_was_asked_for(levels_used: list[int]) -> None:
    raw = text(300_000)
    frame = FrameCompressor(19).compress(named(raw))
    assert levels_used == [1, 19]
    assert frame.data == at_level(19, raw)


@pytest.mark.parametrize(("saved", "used"), [(LEAST_SAVED * 0.8, [1]), (LEAST_SAVED * 1.2, [1, 19])])
def test_little_is_what_the_trial_saves_of_all_the_frame(saved: float, used: list[int], levels_used: list[int]) -> None:
    raw = bytes(int(FRAME_SIZE * saved)) + noise(int(FRAME_SIZE * (1 - saved)))
    FrameCompressor(19).compress(named(raw))
    assert levels_used == used


def compressed(raw: bytes, *, write_checksum: bool = True, write_content_size: bool = True) -> bytes:
    compressor = zstandard.ZstdCompressor(write_checksum=write_checksum, write_content_size=write_content_size)
    return compressor.compress(raw)


def test_a_frame_of_another_size_than_expected_is_refused_in_both_directions() -> None:
    for expected in (0, 999, 1001, FRAME_LIMIT):
        with pytest.raises(DamageError):
            decompress_frame(compressed(bytes(1000)), expected)


def test_a_bomb_is_refused_before_anything_is_allocated() -> None:
    bomb = compressed(bytes(256 * 1024 * 1024))
    assert len(bomb) < 40_000
    with pytest.raises(DamageError, match="does not state"):
        decompress_frame(bomb, 1000)


def test_a_lie_about_the_size_is_refused() -> None:
    # A frame header with an 8-byte content size that promises 2^40 bytes, and one that promises fewer than there are.
    honest = compressed(noise(70_000))
    assert honest[4] & 0xC0 == 0x80  # a content size of four bytes
    for lie in (69_999, 70_001):
        with pytest.raises(DamageError):
            decompress_frame(honest[:5] + struct.pack("<I", lie) + honest[9:], lie)


def test_a_frame_without_content_size_is_refused() -> None:
    with pytest.raises(DamageError, match="does not state"):
        decompress_frame(compressed(b"x" * 1000, write_content_size=False), 1000)


def test_a_frame_without_checksum_is_refused() -> None:
    with pytest.raises(DamageError, match="no checksum"):
        decompress_frame(compressed(b"x" * 1000, write_checksum=False), 1000)


def test_a_frame_with_a_wide_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24, write_checksum=True, write_content_size=True)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=9 << 20)
    data = stream.compress(bytes(9 << 20)) + stream.flush()
    with pytest.raises(DamageError, match="window"):
        decompress_frame(data, 9 << 20)


def test_a_frame_that_asks_for_a_dictionary_is_refused() -> None:
    dictionary = zstandard.train_dictionary(2048, [b"sample %d of the same kind" % n for n in range(2000)])
    data = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True).compress(b"sample 3 of the same kind")
    with pytest.raises(DamageError, match="dictionary"):
        decompress_frame(data, 25)


@pytest.mark.parametrize("behind", [b"\0", b"more", compressed(b"second"), b"\x50\x2a\x4d\x18\0\0\0\0"])
def test_a_frame_must_end_where_its_bytes_end(behind: bytes) -> None:
    with pytest.raises(DamageError):
        decompress_frame(compressed(b"first") + behind, 5)


def test_something_before_the_frame_is_refused() -> None:
    with pytest.raises(DamageError):
        decompress_frame(b"\x50\x2a\x4d\x18\0\0\0\0" + compressed(b"first"), 5)


def test_a_frame_cut_anywhere_is_refused() -> None:
    data = compressed(text(3000))
    for length in range(len(data)):
        with pytest.raises(DamageError):
            decompress_frame(data[:length], 3000)


def test_every_flipped_bit_of_a_frame_is_noticed() -> None:
    raw = text(700)
    data = compressed(raw)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            # A few bits of the format are read by nobody (they must be 0, or do not matter): then the bytes are right.
            assert decompress_frame(bytes(damaged), len(raw)) == raw
        except DamageError:
            continue
        assert bit // 8 < 20


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 2000), st.booleans())
def test_any_bytes_are_a_frame_or_damage(data: bytes, raw_size: int, magic: bool) -> None:
    try:
        raw = decompress_frame(b"\x28\xb5\x2f\xfd" + data if magic else data, raw_size)
    except DamageError:
        return
    assert len(raw) == raw_size


@pytest.mark.parametrize("wanted", [1, 2, 999_999, 1_000_000])
def test_the_start_of_a_frame_is_had_from_little_more_than_it_takes(wanted: int) -> None:
    raw = random.Random(3).randbytes(500_000) + b"text, and more text; " * 23_810
    raw = raw[:1_000_000]
    data = compressed(raw)
    assert decompress_start(data, len(raw), wanted) == raw[:wanted]
    assert decompress_start(data[: min(len(data), wanted + 140_000)], len(raw), wanted) == raw[:wanted]


def test_of_too_little_of_a_frame_comes_what_it_gives() -> None:
    raw = random.Random(3).randbytes(1_000_000)
    found = decompress_start(compressed(raw)[:400_000], len(raw), 900_000)
    assert 200_000 < len(found) < 900_000
    assert found == raw[: len(found)]


def test_a_start_is_refused_for_what_a_frame_is_refused_for() -> None:
    honest = compressed(bytes(1000))
    for data, size in (
        (honest, 999),
        (compressed(b"x" * 1000, write_content_size=False), 1000),
        (compressed(b"x" * 1000, write_checksum=False), 1000),
        (honest[:3], 1000),
        (b"\0" + honest, 1000),
    ):
        with pytest.raises(DamageError):
            decompress_start(data, size, 1)


def test_a_start_unfolds_to_no_more_than_was_asked_for() -> None:
    bomb = compressed(bytes(FRAME_LIMIT))
    tracemalloc.start()
    try:
        assert decompress_start(bomb, FRAME_LIMIT, 1000) == bytes(1000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
