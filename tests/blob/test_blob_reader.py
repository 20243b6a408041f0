"""Blobs as they are read: any chunk for a few fetches, memory bounded by frames, and nothing believed unchecked."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import blake3
import pytest
from blobkit import BlobKit, CountingFetch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.age import X25519Identity, decrypt, encrypt, parse_identity
from vaultpy.blob.frames import FRAME_SIZE
from vaultpy.blob.reader import FETCH_WHOLE, GUESS_MARGIN, MERGE_LIMIT, BlobReader, take_chunk
from vaultpy.blob.seektable import Entry, encode_padding, encode_seek_table, seek_table_size
from vaultpy.blob.writer import STEP, SealedBlob
from vaultpy.chunker import MAXIMUM, hash_chunk
from vaultpy.errors import DamageError, NoIdentity, StoreUnavailable
from vaultpy.model import ChunkHash, ChunkPlace

NOISE = random.Random(11).randbytes(12 * FRAME_SIZE)
SMALL_FILES = [b"file %d\n" % n * (n % 50 + 1) for n in range(5000)]
GOLDEN = Path(__file__).parent / "golden"


def joined(blob: SealedBlob) -> bytes:
    return b"".join(blob.pieces)


def reencrypt(kit: BlobKit, plain: bytes) -> bytes:
    """What a stranger who has the public key can put in a blob's place."""
    return encrypt(plain, [kit.identity.recipient()])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400_000), st.integers(0, 9)), min_size=1, max_size=25), st.booleans())
def test_every_chunk_comes_back(kit: BlobKit, shapes: list[tuple[int, int]], last: bool) -> None:
    contents = [NOISE[kind : kind + size] if kind else bytes(size) for size, kind in shapes]
    blob = kit.seal(contents, last=last)
    reader = kit.open(joined(blob))
    known = {hash_chunk(data): data for data in contents}
    assert [data for _, data in reader.chunks(blob.places())] == [known[name] for name in blob.hashes]
    for place in blob.places():
        assert reader.chunk(place) == known[place.hash]
    assert reader.raw_size == blob.raw_size == sum(map(len, contents))


@pytest.mark.parametrize("size", [1, 2, FRAME_SIZE - 1, FRAME_SIZE, FRAME_SIZE + 1, MAXIMUM])
def test_one_chunk_of_any_size_comes_back(kit: BlobKit, size: int) -> None:
    blob = kit.seal([NOISE[:size]])
    (place,) = blob.places()
    assert kit.open(joined(blob)).chunk(place) == NOISE[:size]


def test_frames_lie_end_to_end_and_are_found_by_every_offset_in_them(kit: BlobKit) -> None:
    blob = kit.seal([NOISE[:1_500_000], NOISE[:FRAME_SIZE], b"small"])
    reader = kit.open(joined(blob))
    raw_offset = start = 0
    for index, frame in enumerate(reader.frames):
        assert (frame.index, frame.raw_offset, frame.start) == (index, raw_offset, start)
        assert reader.frame_at(raw_offset) == reader.frame_at(raw_offset + frame.raw_size - 1) == frame
        raw_offset += frame.raw_size
        start += frame.length
    for outside in (-1, raw_offset, raw_offset + 1, 2**63):
        with pytest.raises(DamageError, match="raw bytes"):
            reader.frame_at(outside)


def test_a_small_file_out_of_a_large_blob_costs_three_small_fetches(kit: BlobKit) -> None:
    blob = kit.seal([*(NOISE[n * FRAME_SIZE :][:FRAME_SIZE] for n in range(12)), *SMALL_FILES])
    fetch = CountingFetch(joined(blob))
    reader = BlobReader(fetch, blob.size, [kit.identity])
    assert len(fetch.ranges) == 2
    place = list(blob.places())[3000]
    assert reader.chunk(place) == reader.chunk(place)
    assert len(fetch.ranges) == 4
    assert sum(length for _, length in fetch.ranges[:3]) < 500_000 < blob.size / 20


def test_the_start_of_a_frame_costs_little_more_than_it_takes_and_nothing_twice(kit: BlobKit) -> None:
    files = [NOISE[n * 100_000 :][:100_000] for n in range(20)]
    blob = kit.seal([NOISE[-FRAME_SIZE:], *files])
    fetch = CountingFetch(joined(blob))
    reader = BlobReader(fetch, blob.size, [kit.identity])
    shared = reader.frames[1]
    for wanted in (-1, 0, 1, 100_000, 1_000_000, 1_999_999, 2_000_000, 2_000_001):
        del fetch.ranges[:]
        raw = reader.read_start(shared, wanted)
        assert raw[: max(wanted, 1)] == b"".join(files)[: max(wanted, 1)]
        assert sum(length for _, length in fetch.ranges) < max(wanted, 0) + GUESS_MARGIN + 3 * 65_552
        assert len(fetch.ranges) == 1


def test_a_start_that_shrank_less_than_the_rest_of_its_frame_is_fetched_in_two(kit: BlobKit) -> None:
    blob = kit.seal([NOISE[:900_000], bytes(1_100_000)])
    fetch = CountingFetch(joined(blob))
    reader = BlobReader(fetch, blob.size, [kit.identity])
    del fetch.ranges[:]
    assert reader.read_start(reader.frames[0], 800_000)[:800_000] == NOISE[:800_000]
    assert len(fetch.ranges) == 2
    assert fetch.ranges[0][0] + fetch.ranges[0][1] == fetch.ranges[1][0]


def test_a_damaged_start_is_damage(kit: BlobKit) -> None:
    blob = kit.seal([NOISE[:1_500_000], b"behind"])
    data = bytearray(joined(blob))
    data[5000] ^= 1
    reader = kit.open(bytes(data))
    with pytest.raises(DamageError):
        reader.read_start(reader.frames[0], 1000)


def test_a_small_blob_is_fetched_at_once(kit: BlobKit) -> None:
    blob = kit.seal(SMALL_FILES)
    assert blob.size <= FETCH_WHOLE
    fetch = CountingFetch(joined(blob))
    list(BlobReader(fetch, blob.size, [kit.identity]).chunks(blob.places()))
    assert fetch.ranges == [(0, blob.size)]


def test_neighbouring_frames_are_fetched_together_up_to_a_limit(kit: BlobKit) -> None:
    half = FRAME_SIZE // 2
    chunks = [NOISE[n * half :][:half] + bytes(half) for n in range(11)]
    blob = kit.seal(chunks)
    fetch = CountingFetch(joined(blob))
    reader = BlobReader(fetch, blob.size, [kit.identity])
    del fetch.ranges[:]
    for index, (frame, raw) in enumerate(reader.read_frames(reader.frames)):
        assert frame.index == index
        assert raw == chunks[index]
    assert len(fetch.ranges) == 4  # 11 frames of a little over 1 MiB stored, three at a time
    assert all(length <= MERGE_LIMIT + 2 * 65_552 for _, length in fetch.ranges)


def test_frames_far_apart_or_backwards_are_fetched_one_by_one(kit: BlobKit) -> None:
    blob = kit.seal([NOISE[n * FRAME_SIZE :][:FRAME_SIZE] for n in range(6)])
    fetch = CountingFetch(joined(blob))
    reader = BlobReader(fetch, blob.size, [kit.identity])
    for order in ([0, 2, 4], [5, 4, 3], [1, 1, 1]):
        del fetch.ranges[:]
        assert [frame.index for frame, _ in reader.read_frames(reader.frames[n] for n in order)] == order
        assert len(fetch.ranges) == 3


def test_each_frame_is_fetched_once_however_many_chunks_are_asked_for_in_whatever_order(kit: BlobKit) -> None:
    files = [*SMALL_FILES, *(NOISE[n * 250_000 :][:250_000] for n in range(9)), NOISE[:MAXIMUM]]
    blob = kit.seal(files)
    fetch = CountingFetch(joined(blob))
    reader = BlobReader(fetch, blob.size, [kit.identity])
    del fetch.ranges[:]
    places = list(blob.places())
    random.Random(1).shuffle(places)
    known = {hash_chunk(data): data for data in files}
    assert all(known[place.hash] == data for place, data in reader.chunks(places))
    assert len(fetch.ranges) == len(reader.frames) == 3


def test_no_chunks_fetch_nothing(kit: BlobKit) -> None:
    blob = kit.seal([NOISE[:FRAME_SIZE]])
    fetch = CountingFetch(joined(blob))
    reader = BlobReader(fetch, blob.size, [kit.identity])
    del fetch.ranges[:]
    assert not list(reader.chunks([]))
    assert not list(reader.read_frames([]))
    assert not fetch.ranges


def test_memory_is_bounded_by_frames_not_by_the_blob(kit: BlobKit) -> None:
    blob = kit.seal([NOISE[n * FRAME_SIZE :][:FRAME_SIZE] for n in range(12)])
    data = memoryview(joined(blob))
    tracemalloc.start()
    try:
        reader = BlobReader(lambda start, length: bytes(data[start : start + length]), len(data), [kit.identity])
        place = list(blob.places())[6]
        reader.chunk(place)
        assert tracemalloc.get_traced_memory()[1] < 8 * FRAME_SIZE
        tracemalloc.reset_peak()
        for _ in reader.chunks(blob.places()):
            pass
        assert tracemalloc.get_traced_memory()[1] < 4 * MERGE_LIMIT < len(data) * 1.4
    finally:
        tracemalloc.stop()


def test_a_wrong_identity_opens_nothing(kit: BlobKit) -> None:
    data = joined(kit.seal([b"secret"]))
    for identities in ([], [X25519Identity.generate(os.urandom)]):
        with pytest.raises(NoIdentity):
            BlobReader(CountingFetch(data), len(data), identities)


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_what_the_store_raises_passes_through(kit: BlobKit, failing: int) -> None:
    blob = kit.seal([NOISE[: 2 * FRAME_SIZE]])
    good = CountingFetch(joined(blob))

    def fetch(start: int, length: int) -> bytes:
        if len(good.ranges) == failing:
            raise StoreUnavailable("store is away")
        return good(start, length)

    with pytest.raises(StoreUnavailable):
        BlobReader(fetch, blob.size, [kit.identity]).chunk(next(blob.places()))


@pytest.mark.parametrize("missing", [1, 16, 200])
@pytest.mark.parametrize("size", [5, FRAME_SIZE])
def test_a_store_that_answers_short_is_noticed(kit: BlobKit, size: int, missing: int) -> None:
    data = joined(kit.seal([NOISE[:size]]))
    with pytest.raises(DamageError):
        BlobReader(lambda start, length: data[start : start + length - missing], len(data), [kit.identity])


def test_a_blob_cut_or_lengthened_is_refused(kit: BlobKit) -> None:
    for contents in ([b"small"], [NOISE[:FRAME_SIZE]]):
        data = joined(kit.seal(contents))
        for cut in (1, 15, 16, 17, 100, len(data) // 2, len(data) - 200, len(data) - 1, len(data)):
            with pytest.raises(DamageError):
                kit.open(data[:-cut])
        for more in (b"\0", bytes(16), bytes(17), data):
            with pytest.raises(DamageError):
                kit.open(data + more)


def test_every_flipped_bit_of_a_small_blob_is_noticed(kit: BlobKit) -> None:
    blob = kit.seal([b"one", b"two", b"three"])
    data = joined(blob)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises((DamageError, NoIdentity)):
            kit.open(bytes(damaged))


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_damaged_byte_anywhere_never_gives_a_wrong_chunk(kit: BlobKit, where: float, flip: int) -> None:
    blob = kit.seal([NOISE[:FRAME_SIZE], *SMALL_FILES[:100]])
    data = bytearray(joined(blob))
    data[int(where * len(data))] ^= flip
    chunks_are_right_or_damage_is_found(kit, bytes(data), blob)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255), st.booleans())
def test_a_byte_changed_by_somebody_with_the_public_key_never_gives_a_wrong_chunk(
    kit: BlobKit, where: float, flip: int, near_the_end: bool
) -> None:
    blob = kit.seal([NOISE[:500], *SMALL_FILES[:100], bytes(FRAME_SIZE)])
    plain = bytearray(decrypt(joined(blob), [kit.identity]))
    plain[int(where * (40 if near_the_end else len(plain))) * (-1 if near_the_end else 1)] ^= flip
    chunks_are_right_or_damage_is_found(kit, reencrypt(kit, bytes(plain)), blob)


def chunks_are_right_or_damage_is_found(kit: BlobKit, data: bytes, blob: SealedBlob) -> None:
    try:
        for place, found in kit.open(data).chunks(blob.places()):
            assert blake3.blake3(found).digest() == place.hash and len(found) == place.size
    except (DamageError, NoIdentity):
        pass


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_refused_clear_or_encrypted(kit: BlobKit, data: bytes, encrypted: bool) -> None:
    with pytest.raises((DamageError, NoIdentity)):
        kit.open(reencrypt(kit, data) if encrypted else data)


def crafted(kit: BlobKit, body: bytes, entries: Sequence[Entry]) -> BlobReader:
    """A reader of a blob with these frames' bytes and a table that says something else of them; the sums are made right."""
    padding = sum(entry.length for entry in entries) - len(body)
    return kit.open(reencrypt(kit, body + encode_padding(max(8, padding)) + encode_seek_table(entries)))


def test_a_table_that_lies_about_its_frames_gives_damage_never_bytes(kit: BlobKit) -> None:
    first, second = (kit.compressor.compress([(hash_chunk(data), data)]) for data in (b"a" * 300, NOISE[:300]))
    body = first.data + second.data
    one, two = len(first.data), len(second.data)
    lies = {
        "right": [Entry(one, 300), Entry(two, 300), Entry(20, 0)],
        "cut elsewhere": [Entry(one + 1, 300), Entry(two - 1, 300), Entry(20, 0)],
        "two in one": [Entry(one + two, 600), Entry(20, 0)],
        "padding in a frame": [Entry(one, 300), Entry(two + 12, 300), Entry(8, 0)],
        "raw size too large": [Entry(one, 301), Entry(two, 300), Entry(20, 0)],
        "raw size too small": [Entry(one, 299), Entry(two, 300), Entry(20, 0)],
    }
    for name, entries in lies.items():
        reader = crafted(kit, body, entries)
        if name == "right":
            assert [raw for _, raw in reader.read_frames(reader.frames)] == [b"a" * 300, NOISE[:300]]
            continue
        with pytest.raises(DamageError):
            for frame in reader.frames:
                reader.read_frame(frame)


def test_a_frame_that_unfolds_beyond_the_limit_is_refused_before_it_is_fetched(kit: BlobKit) -> None:
    blob = kit.seal([bytes(MAXIMUM)])
    data = joined(blob)
    BlobReader(CountingFetch(data), len(data), [kit.identity], max_raw=MAXIMUM)
    with pytest.raises(DamageError, match="not allowed"):
        BlobReader(CountingFetch(data), len(data), [kit.identity], max_raw=MAXIMUM - 1)


def test_an_index_that_is_wrong_about_a_chunk_gets_damage(kit: BlobKit) -> None:
    blob = kit.seal([NOISE[:FRAME_SIZE], b"one", b"two"])
    reader = kit.open(joined(blob))
    place = list(blob.places())[1]
    assert reader.chunk(place) == b"one"
    for wrong in (
        {"hash": ChunkHash(bytes(32))},
        {"size": 2},
        {"size": 4},
        {"size": 0},
        {"size": -1},
        {"size": 2**62},
        {"raw_offset": place.raw_offset + 1},
        {"raw_offset": place.raw_offset - 1},
        {"raw_offset": -1},
        {"raw_offset": 2**62},
    ):
        with pytest.raises(DamageError):
            reader.chunk(dataclasses.replace(place, **wrong))
        with pytest.raises(DamageError):
            list(reader.chunks([place, dataclasses.replace(place, **wrong)]))


def test_a_chunk_never_spans_two_frames(kit: BlobKit) -> None:
    both = NOISE[: FRAME_SIZE + 3]
    blob = kit.seal([both[:FRAME_SIZE], both[FRAME_SIZE:]])
    with pytest.raises(DamageError, match="not inside one frame"):
        kit.open(joined(blob)).chunk(ChunkPlace(hash_chunk(both), 0, len(both)))


def test_a_chunk_is_not_taken_from_a_frame_that_it_is_not_in(kit: BlobKit) -> None:
    blob = kit.seal([NOISE[:FRAME_SIZE], b"one"])
    reader = kit.open(joined(blob))
    first, second = blob.places()
    for place in (first, dataclasses.replace(second, size=0), dataclasses.replace(second, size=-3)):
        with pytest.raises(DamageError, match="not inside one frame"):
            take_chunk(reader.frames[1], b"one", place)
    with pytest.raises(DamageError, match="not inside one frame"):
        take_chunk(reader.frames[1], b"one", dataclasses.replace(second, raw_offset=FRAME_SIZE - 3, size=2))
    assert take_chunk(reader.frames[1], b"one", second) == b"one"


def test_a_table_at_the_end_of_two_pieces_of_age_is_found(kit: BlobKit) -> None:
    # So that the table begins in the last piece but one: every size around 64 KiB, of a padding chosen by hand.
    frame = kit.compressor.compress([(hash_chunk(b"x"), b"x")])
    for size in range(2 * 65_536 - 3, 2 * 65_536 + seek_table_size(1) + 3):
        padding = size - seek_table_size(1) - len(frame.data)
        reader = crafted(kit, frame.data, [Entry(len(frame.data), 1), Entry(padding, 0)])
        assert reader.chunk(ChunkPlace(hash_chunk(b"x"), 0, 1)) == b"x"


def test_the_padding_of_a_large_step_is_never_fetched(kit: BlobKit) -> None:
    blob = kit.seal([NOISE[: 3 * STEP + 1000]], last=False)
    fetch = CountingFetch(joined(blob))
    reader = BlobReader(fetch, blob.size, [kit.identity])
    (place,) = blob.places()
    assert reader.chunk(place) == NOISE[: 3 * STEP + 1000]
    assert sum(length for _, length in fetch.ranges) < 3 * STEP + 3 * 65_552 + 4096


def test_a_blob_of_the_first_release_is_read_for_ever() -> None:
    identity = parse_identity((GOLDEN / "identity.txt").read_text().strip())
    golden = json.loads((GOLDEN / "blob.json").read_text())
    data = (GOLDEN / "blob").read_bytes()
    assert blake3.blake3(data).hexdigest() == golden["hash"]
    reader = BlobReader(CountingFetch(data), len(data), [identity])
    assert [[frame.raw_size, frame.length] for frame in reader.frames] == golden["frames"]
    places = [ChunkPlace(ChunkHash(bytes.fromhex(name)), offset, size) for name, offset, size in golden["chunks"]]
    contents = [data for _, data in reader.chunks(places)]
    assert contents == [b"x", b"a small file\n", b"line\n" * 1000, bytes(range(256)) * 3, bytes(1024 * 1024)]
