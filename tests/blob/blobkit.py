"""Blobs made of given chunks, and a store of one object that counts what is fetched from it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from vaultpy.age import X25519Identity
from vaultpy.blob.frames import Frame, FrameBuilder, FrameCompressor
from vaultpy.blob.reader import BlobReader
from vaultpy.blob.writer import BlobWriter, SealedBlob
from vaultpy.chunker import hash_chunk


class BlobKit:
    """One key pair, and short ways to write and open blobs with it."""

    def __init__(self) -> None:
        self.identity = X25519Identity.generate(os.urandom)
        self.compressor = FrameCompressor(1)

    def writer(self, **options: int) -> BlobWriter:
        return BlobWriter([self.identity.recipient()], random=os.urandom, **options)

    def frames(self, contents: Iterable[bytes]) -> list[Frame]:
        builder = FrameBuilder()
        groups = [group for data in contents for group in builder.add(hash_chunk(data), data)]
        return [self.compressor.compress(group) for group in [*groups, *builder.flush()]]

    def seal(self, contents: Iterable[bytes], *, last: bool = True) -> SealedBlob:
        writer = self.writer()
        for frame in self.frames(contents):
            writer.add(frame)
        return writer.seal(last=last)

    def open(self, data: bytes) -> BlobReader:
        return BlobReader(CountingFetch(data), len(data), [self.identity])


class CountingFetch:
    """An object in memory; `ranges` are the (start, length) that were asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, start: int, length: int) -> bytes:
        self.ranges.append((start, length))
        return self.data[start : start + length]
