"""Blobs as they are written: sizes that say little, names that are hashes, limits, what other programs make of it."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import blake3
import pytest
from blobkit import BlobKit
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.age import decrypt, encrypted_size, plaintext_size
from vaultpy.age.errors import PayloadError
from vaultpy.age.format import Stanza
from vaultpy.blob import writer as writer_module
from vaultpy.blob.frames import FRAME_SIZE, Frame
from vaultpy.blob.seektable import MAX_FRAMES, MAX_SEEK_TABLE, Entry, encode_seek_table
from vaultpy.blob.writer import SMALL, STEP, BlobWriter, SealedBlob
from vaultpy.chunker import MAXIMUM, hash_chunk
from vaultpy.errors import DamageError, UsageError
from vaultpy.model import ChunkHash, ChunkPlace
from vaultpy.padding import padme

NOISE = random.Random(7).randbytes(MAXIMUM)
TEXT = b"".join(b"%d: another line of a file\n" % n for n in range(150_000))[:MAXIMUM]


def opaque(length: int, chunks: int = 1) -> Frame:
    """A frame as the writer sees it, of exactly that many bytes; no reader would open it."""
    size = max(length, 1000)
    return Frame(NOISE[:length], size * chunks, (ChunkHash(bytes(32)),) * chunks, (size,) * chunks)


class Filler:
    """A recipient for nobody, whose stanza makes the header longer by any number of bytes from 6 on."""

    def __init__(self, length: int) -> None:
        self._argument = "x" * (length - 5)

    def wrap(self, file_key: bytes, random: object) -> Stanza:
        return Stanza((self._argument,), b"")

    def to_text(self) -> str:
        return "filler"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5 * STEP) | st.integers(0, 30).map(lambda n: STEP - 500 + n) | st.just(MAXIMUM))
def test_the_stored_size_is_a_multiple_of_256_kib(kit: BlobKit, length: int) -> None:
    writer = kit.writer()
    writer.add(opaque(length))
    blob = writer.seal(last=False)
    assert blob.size == sum(map(len, blob.pieces))
    assert blob.size % STEP == 0
    assert blob.size < length + STEP + 1000


@pytest.mark.parametrize("last", [False, True])
def test_sizes_near_a_step_and_near_a_piece_of_age_are_exact(kit: BlobKit, last: bool) -> None:
    for length in [*range(STEP - 400, STEP - 200), *range(65_536 - 260, 65_536 - 20, 3)]:
        writer = kit.writer()
        writer.add(opaque(length))
        blob = writer.seal(last=last)
        assert blob.size == (padme(blob.size) if last else -(-blob.size // STEP) * STEP)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2 * STEP))
def test_a_runs_last_small_blob_has_a_padme_size(kit: BlobKit, length: int) -> None:
    writer = kit.writer()
    writer.add(opaque(length))
    blob = writer.seal(last=True)
    assert blob.size == padme(blob.size)
    assert blob.size < 1.12 * (length + 320 + 16 * (length // 65_536))


def test_a_runs_last_blob_that_is_not_small_is_a_multiple_of_256_kib(kit: BlobKit) -> None:
    writer = kit.writer()
    for _ in range(SMALL // MAXIMUM):
        writer.add(opaque(MAXIMUM))
    assert writer.seal(last=True).size == SMALL + STEP != padme(SMALL + STEP)


@pytest.mark.parametrize("into_piece", range(-1, 19))
def test_a_size_that_no_plaintext_has_is_passed_over(kit: BlobKit, into_piece: int) -> None:
    # A header so long that the first step would end that many bytes into a piece of age's, of which 1 to 16 cannot be.
    plain = len(BlobWriter([kit.identity.recipient()], random=os.urandom)._encryptor.header)
    header = STEP - 16 - 3 * 65_552 - into_piece
    writer = BlobWriter([kit.identity.recipient(), Filler(header - plain)], random=os.urandom)
    assert len(writer._encryptor.header) == header
    writer.add(opaque(1000))
    blob = writer.seal(last=False)
    if 1 <= into_piece <= 16:
        with pytest.raises(PayloadError):
            plaintext_size(header, STEP)
    assert blob.size == (2 * STEP if 1 <= into_piece <= 16 else STEP)
    assert sum(map(len, blob.pieces)) == blob.size
    assert len(decrypt(b"".join(blob.pieces), [kit.identity])) == plaintext_size(header, blob.size)


@settings(max_examples=40, deadline=None)
@given(st.integers(6, 40_000), st.integers(1, 140_000), st.booleans())
def test_any_header_and_content_make_a_size_that_may_be_seen(kit: BlobKit, filler: int, size: int, last: bool) -> None:
    writer = BlobWriter([kit.identity.recipient(), Filler(filler)], random=os.urandom)
    writer.add(opaque(size))
    blob = writer.seal(last=last)
    assert blob.size == sum(map(len, blob.pieces))
    assert blob.size in (padme(blob.size), -(-blob.size // STEP) * STEP)
    assert encrypted_size(len(writer._encryptor.header), writer._length) == blob.size


def test_a_blob_is_full_at_its_target_and_exceeds_it_by_a_frame_and_padding_at_most(kit: BlobKit) -> None:
    target = 2 * 1024 * 1024
    for length in (3000, FRAME_SIZE - 300, FRAME_SIZE, MAXIMUM):
        writer = kit.writer(target=target)
        while not writer.full:
            before = sum(map(len, writer._pieces))
            assert before < target
            writer.add(opaque(length))
        assert target <= writer.seal(last=False).size <= target + length + STEP


def test_a_blob_is_full_at_1024_frames(kit: BlobKit) -> None:
    writer = kit.writer()
    for _ in range(MAX_FRAMES):
        assert not writer.full
        writer.add(opaque(30))
    assert writer.full
    with pytest.raises(ValueError, match="full blob"):
        writer.add(opaque(30))
    assert writer.seal(last=True).size < MAX_FRAMES * 30 + MAX_SEEK_TABLE + 5000


def test_a_blob_is_full_before_the_rows_that_wait_for_it_outgrow_memory(kit: BlobKit) -> None:
    writer = kit.writer(max_chunks=100)
    writer.add(opaque(30, chunks=99))
    assert not writer.full
    writer.add(opaque(30, chunks=1))
    assert writer.full


def test_an_empty_blob_is_not_sealed(kit: BlobKit) -> None:
    writer = kit.writer()
    assert writer.empty
    with pytest.raises(ValueError, match="empty"):
        writer.seal(last=True)


def test_a_sealed_blob_takes_nothing_more(kit: BlobKit) -> None:
    writer = kit.writer()
    writer.add(opaque(30))
    writer.seal(last=True)
    with pytest.raises(RuntimeError):
        writer.add(opaque(30))
    with pytest.raises(RuntimeError):
        writer.seal(last=True)


def test_a_blob_for_nobody_is_refused() -> None:
    with pytest.raises(UsageError):
        BlobWriter([], random=os.urandom)


def test_the_columns_say_where_each_chunk_begins(kit: BlobKit) -> None:
    contents = [b"one", NOISE[:70_000], NOISE[:MAXIMUM], TEXT[:5]]
    blob = kit.seal(contents)
    stored = [contents[2], contents[0], contents[1], contents[3]]
    offset = 0
    for place, data in zip(blob.places(), stored, strict=True):
        assert place == ChunkPlace(hash_chunk(data), offset, len(data))
        offset += len(data)
    assert blob.raw_size == offset


def test_the_same_chunks_never_make_the_same_object_twice(kit: BlobKit) -> None:
    assert kit.seal([b"same"]).hash != kit.seal([b"same"]).hash


def test_a_seek_table_that_does_not_read_back_is_not_sealed(kit: BlobKit, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(entries: Sequence[Entry]) -> bytes:
        return encode_seek_table([entries[1], entries[0], *entries[2:]])

    monkeypatch.setattr(writer_module, "encode_seek_table", swapped)
    with pytest.raises(DamageError):
        kit.seal([b"one"])
    with pytest.raises(DamageError, match="does not read back"):
        kit.seal([NOISE[:MAXIMUM], b"one"])


CONTENTS = {
    "one byte": [b"x"],
    "small files": [TEXT[n * 997 : n * 997 + n] for n in range(1, 3000)],
    "a frame's size and its neighbours": [NOISE[: FRAME_SIZE + n] for n in (-1, 0, 1)],
    "the largest chunk": [NOISE],
    "zeros": [bytes(MAXIMUM), b"\0"],
    "mixed": [b"a", TEXT, b"b", NOISE[:1_500_000], NOISE[:300_000], b"c"],
}


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("last", [False, True])
def test_age_zstd_and_b3sum_accept_every_blob(kit: BlobKit, tmp_path: Path, name: str, last: bool) -> None:
    blob = kit.seal(CONTENTS[name], last=last)
    path, plain = tmp_path / "blob", tmp_path / "blob.zst"
    path.write_bytes(b"".join(blob.pieces))
    (tmp_path / "identity").write_text(kit.identity.to_text() + "\n")
    run("age", "-d", "-i", str(tmp_path / "identity"), "-o", str(plain), str(path))
    run("zstd", "-q", "-t", str(plain))
    chunks = run("zstd", "-q", "-d", "-c", str(plain))
    assert [chunks[place.raw_offset :][: place.size] for place in blob.places()] == in_stored_order(blob, name)
    assert len(chunks) == blob.raw_size
    assert run("b3sum", "--no-names", str(path)).decode().strip() == blob.hash.hex()
    assert path.stat().st_size == blob.size


def in_stored_order(blob: SealedBlob, name: str) -> list[bytes]:
    known = {hash_chunk(data): data for data in CONTENTS[name]}
    assert len(blob.hashes) == len(CONTENTS[name])
    return [known[name] for name in blob.hashes]


def run(*command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True).stdout


def test_the_name_is_the_hash_of_the_pieces(kit: BlobKit) -> None:
    blob = kit.seal([NOISE])
    assert blake3.blake3(b"".join(blob.pieces)).digest() == blob.hash
