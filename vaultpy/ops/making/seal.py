"""From chunks to sealed blobs, frame after frame, in the order in which they came.

A large chunk's frame is compressed in a thread of its own while the next ones are read: zstd, BLAKE3 and the cutting of
files free the GIL.  The shared frames of small chunks are not: their hundreds of hashes would hand the GIL to and fro more
often than it pays, and whoever has many small files has several processes to read them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vaultpy.age import Recipient
from vaultpy.blob.frames import Frame, FrameBuilder, FrameCompressor, FrameInput
from vaultpy.blob.spool import open_spool
from vaultpy.blob.writer import BlobWriter, SealedBlob
from vaultpy.model import ChunkHash
from vaultpy.ops.processes import usable_cores


@dataclass(frozen=True, slots=True)
class SealSettings:
    """zstd level, and stored bytes at which a blob closes."""

    level: int
    blob_size: int


LARGE_GROUP = 16
"""Chunks up to which a frame has large ones, and is worth a thread."""


class Sealer:
    """Takes chunks, sends sealed blobs.  Belongs to one thread; use as a context manager: leaving it ends its threads."""

    def __init__(
        self,
        recipients: Sequence[Recipient],
        settings: SealSettings,
        send: Callable[[SealedBlob], None],
        *,
        random: Callable[[int], bytes],
        scratch: Path | None = None,
    ) -> None:
        """`send` takes the blobs; their bytes lie in spools in the folder `scratch`, without it in memory."""
        self._recipients, self._settings, self._send = recipients, settings, send
        self._random, self._scratch = random, scratch
        self._builder, self._compressor = FrameBuilder(), FrameCompressor(settings.level)
        self._threads = usable_cores()
        self._compressing = ThreadPoolExecutor(self._threads, thread_name_prefix="compress")
        # Large frames under way, and what came after them; at most as many as there are threads, so memory is bounded.
        self._waiting: deque[Future[Frame] | Frame] = deque()
        self._writer = self._new_writer()

    def add(self, hash: ChunkHash, data: bytes) -> None:
        """Take a chunk; may wait for a thread, and for `send`."""
        for group in self._builder.add(hash, data):
            self._compress(group)

    def finish(self) -> None:
        """Seal all that is left, and send it; nothing can be added after."""
        for group in self._builder.flush():
            self._compress(group)
        while self._waiting:
            self._write_oldest()
        if not self._writer.empty:
            self._send(self._writer.seal(last=True))

    def __enter__(self) -> Sealer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._compressing.shutdown(wait=True, cancel_futures=True)

    def _compress(self, group: FrameInput) -> None:
        if len(group) <= LARGE_GROUP:
            self._waiting.append(self._compressing.submit(self._compressor.compress, group))
        else:
            self._waiting.append(self._compressor.compress(group))
        while self._waiting and (len(self._waiting) > self._threads or _is_done(self._waiting[0])):
            self._write_oldest()

    def _write_oldest(self) -> None:
        oldest = self._waiting.popleft()
        self._writer.add(oldest if isinstance(oldest, Frame) else oldest.result())
        if self._writer.full:
            self._send(self._writer.seal(last=False))
            self._writer = self._new_writer()

    def _new_writer(self) -> BlobWriter:
        pieces = None if self._scratch is None else open_spool(self._scratch)
        target = self._settings.blob_size
        return BlobWriter(self._recipients, random=self._random, target=target, pieces=pieces)


def _is_done(one: Future[Frame] | Frame) -> bool:
    return isinstance(one, Frame) or one.done()
