"""Fetching chunks: no frame more often than it must be, no more of it than is wanted, and damage row by row."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from vaultpy.age import X25519Identity
from vaultpy.blob.frames import FrameBuilder, FrameCompressor
from vaultpy.blob.writer import BlobWriter
from vaultpy.chunker import hash_chunk
from vaultpy.errors import DamageError
from vaultpy.model import ChunkPlace
from vaultpy.ops.restoring.fetch import Fetcher, Row
from vaultpy.store.memory import MemoryStore
from vaultpy.store.names import blob_name

FILES = [random.Random(n).randbytes(100_000) for n in range(50)]
"""Some two and a half frames."""


class _Counting(MemoryStore):
    """Notes the bytes of each range that is fetched of its one blob."""

    def __init__(self) -> None:
        super().__init__(lambda: 0)
        self.fetched: list[int] = []

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(name, start, length)
        self.fetched.append(len(data))
        return data

    def took(self) -> int:
        took = sum(self.fetched)
        self.fetched.clear()
        return took


class _Blob:
    """A store with a blob of FILES, and rows of it."""

    def __init__(self) -> None:
        identity = X25519Identity.generate(os.urandom)
        builder, compressor = FrameBuilder(), FrameCompressor(1)
        writer = BlobWriter([identity.recipient()], random=os.urandom)
        groups = [group for data in FILES for group in builder.add(hash_chunk(data), data)]
        for group in [*groups, *builder.flush()]:
            writer.add(compressor.compress(group))
        sealed = writer.seal(last=True)
        self.name, self.size = blob_name(sealed.hash), sealed.size
        self.store = _Counting()
        self.store.put(self.name, b"".join(sealed.pieces))
        self.fetcher = Fetcher(self.store, [identity])
        list(self.fetch(0, 1))  # header and table are known from here on
        self.store.took()

    def rows(self, first: int, end: int) -> list[Row]:
        return [(n * 100_000, 100_000, hash_chunk(FILES[n]), n) for n in range(first, end)]

    def fetch(self, first: int, end: int, *, more: bool = False) -> Iterator[bytes | DamageError]:
        for row, data in self.fetcher.fetch(self.name, self.size, self.rows(first, end), more=more):
            if not isinstance(data, DamageError):
                assert data == FILES[row[3]]
            yield data if isinstance(data, DamageError) else bytes(data)


@pytest.fixture
def blob() -> _Blob:
    return _Blob()


def test_one_file_costs_what_lies_before_it_in_its_frame_and_little_more(blob: _Blob) -> None:
    for n, most in ((0, 300_000), (9, 1_200_000), (20, 2_200_000), (21, 300_000)):
        assert list(blob.fetch(n, n + 1)) == [FILES[n]]
        assert blob.store.took() < most


def test_a_frame_in_which_one_call_ended_is_not_fetched_again_by_the_next(blob: _Blob) -> None:
    assert list(blob.fetch(0, 10, more=True)) == FILES[:10]
    assert blob.store.took() > 2_000_000
    assert list(blob.fetch(10, 21, more=True)) == FILES[10:21]
    assert blob.store.took() == 0
    assert list(blob.fetch(20, 50)) == FILES[20:50]
    assert 2_900_000 < blob.store.took() < 3_200_000


def test_a_frame_that_was_damaged_is_looked_at_again(blob: _Blob) -> None:
    data, modified = blob.store.objects[blob.name]
    spoiled = bytearray(data)
    spoiled[1_000_000] ^= 1
    blob.store.objects[blob.name] = bytes(spoiled), modified
    for more in (True, False):
        assert all(isinstance(found, DamageError) for found in blob.fetch(10, 20, more=more))
        assert list(blob.fetch(25, 30, more=more)) == FILES[25:30]
    blob.store.objects[blob.name] = data, modified
    assert list(blob.fetch(10, 20, more=True)) == FILES[10:20]


def test_a_wrong_hash_is_damage_of_its_row_alone_wherever_the_frame_comes_from(blob: _Blob) -> None:
    list(blob.fetch(0, 5, more=True))
    for more in (True, False):
        rows = blob.rows(3, 6)
        rows[1] = (*rows[1][:2], bytes(32), 4)
        found = {row[3]: data for row, data in blob.fetcher.fetch(blob.name, blob.size, rows, more=more)}
        assert found[3] == FILES[3]
        assert found[5] == FILES[5]
        assert isinstance(found[4], DamageError)


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("what", ["gone", "cut", "changed"])
def test_damage_names_its_object_once(blob: _Blob, what: str, more: bool) -> None:
    data, modified = blob.store.objects[blob.name]
    spoiled = data[:1_000_000] + bytes([data[1_000_000] ^ 1]) + data[1_000_001:]
    blob.store.objects[blob.name] = (spoiled if what == "changed" else data[:1_000_000]), modified
    if what == "gone":
        del blob.store.objects[blob.name]
    whys = [data.message for data in blob.fetch(12, 20, more=more) if isinstance(data, DamageError)]
    with pytest.raises(DamageError) as caught:
        blob.fetcher.chunk(blob.name, blob.size, ChunkPlace(hash_chunk(FILES[12]), 12 * 100_000, 100_000))
    assert len(whys) == 8
    assert {text.count(blob.name) for text in [*whys, caught.value.message]} == {1}
