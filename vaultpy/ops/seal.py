"""From chunks to sealed blobs: frames are compressed on every core, and sealed in the order in which they came.

    add → [queue of frames] → compress (a thread per core) → seal (one thread) → `send`

Every queue is bounded, so memory is: the thread that adds waits when the others are behind.  A failure in any thread is
raised where the next chunk is added, or at the end.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from vaultpy.age import Recipient
from vaultpy.blob.frames import Frame, FrameBuilder, FrameCompressor, FrameInput
from vaultpy.blob.writer import BlobWriter, SealedBlob
from vaultpy.model import ChunkHash

POLL_SECONDS = 0.5
"""How often whoever waits for a queue looks whether another thread has failed."""


@dataclass(frozen=True, slots=True)
class SealSettings:
    """zstd level, and stored bytes at which a blob closes."""

    level: int
    blob_size: int


class Sealer:
    """Takes chunks, sends sealed blobs.  Use as a context manager: leaving it ends the threads, finished or not."""

    def __init__(
        self,
        recipients: Sequence[Recipient],
        settings: SealSettings,
        send: Callable[[SealedBlob], None],
        *,
        random: Callable[[int], bytes],
    ) -> None:
        """`send` is called in the sealing thread, which waits for it; what it raises ends the sealer."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._recipients, self._settings, self._send, self._random = recipients, settings, send, random
        self._builder, self._compressor = FrameBuilder(), FrameCompressor(settings.level)
        self._frames: queue.Queue[Future[Frame] | None] = queue.Queue(maxsize=2 * cores + 2)
        self._failure: BaseException | None = None
        self._compressing = ThreadPoolExecutor(cores, thread_name_prefix="compress")
        self._sealing = threading.Thread(target=self._seal_frames, name="seal", daemon=True)
        self._sealing.start()

    def add(self, hash: ChunkHash, data: bytes) -> None:
        """Take a chunk on its way; waits while too much is under way already."""
        for group in self._builder.add(hash, data):
            self._submit(group)

    def finish(self) -> None:
        """Seal all that is left, and wait until it is sent; nothing can be added after."""
        for group in self._builder.flush():
            self._submit(group)
        self._enqueue(None)
        while self._sealing.is_alive():
            self._sealing.join(POLL_SECONDS)
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise what a thread met, if one did."""
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Sealer:
        return self

    def __exit__(self, *exc: object) -> None:
        # A finished sealer has nothing left to stop; an unfinished one must not send what nobody will record.
        self._failure = self._failure or Stopped()
        self._compressing.shutdown(wait=True, cancel_futures=True)
        self._sealing.join()

    def _submit(self, group: FrameInput) -> None:
        self._enqueue(self._compressing.submit(self._compressor.compress, group))

    def _enqueue(self, frame: Future[Frame] | None) -> None:
        while True:
            self.raise_failure()
            try:
                self._frames.put(frame, timeout=POLL_SECONDS)
                return
            except queue.Full:
                continue

    def _seal_frames(self) -> None:
        """The sealing thread: frames in the order of the walk into blobs, one after the other."""
        writer = self._new_writer()
        try:
            while (waiting := self._next_frame()) is not None:
                writer.add(waiting.result())
                if writer.full:
                    self._send(writer.seal(last=False))
                    writer = self._new_writer()
            if not writer.empty and self._failure is None:
                self._send(writer.seal(last=True))
        except BaseException as error:  # noqa: BLE001  handed to the thread that adds
            self._failure = self._failure or error

    def _next_frame(self) -> Future[Frame] | None:
        while self._failure is None:
            try:
                return self._frames.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
        return None

    def _new_writer(self) -> BlobWriter:
        return BlobWriter(self._recipients, random=self._random, target=self._settings.blob_size)


class Stopped(Exception):
    """Ends the threads of what was left before it finished."""
