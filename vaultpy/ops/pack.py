"""From chunks to durable blobs: frames are compressed on every core, sealed in order, and put while the walk goes on.

    add → [queue of frames] → compress (a thread per core) → seal (one thread) → put (`uploads` threads) → finished

Every queue is bounded, so memory is: the thread that reads waits when the others are behind.  A failure in any thread is
raised where the next chunk is added or the next blob is asked for.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from vaultpy.age import Recipient
from vaultpy.blob.frames import Frame, FrameBuilder, FrameCompressor, FrameInput
from vaultpy.blob.writer import BlobWriter, SealedBlob
from vaultpy.model import ChunkHash
from vaultpy.store.base import Store
from vaultpy.store.names import blob_name

_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class PackSettings:
    """zstd level, stored bytes at which a blob closes, and how many blobs are put at once."""

    level: int
    blob_size: int
    uploads: int


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that is durable in the store; when its put began and how long it took, in nanoseconds."""

    sealed: SealedBlob
    uploaded_at: int
    upload_time: int


class Packer:
    """Takes chunks, gives durable blobs.  Use as a context manager: leaving it ends the threads, finished or not."""

    def __init__(
        self,
        store: Store,
        recipients: Sequence[Recipient],
        settings: PackSettings,
        *,
        random: Callable[[int], bytes],
        clock: Callable[[], int],
    ) -> None:
        cores = os.cpu_count() or 1
        self._store, self._recipients, self._settings = store, recipients, settings
        self._random, self._clock = random, clock
        self._builder, self._compressor = FrameBuilder(), FrameCompressor(settings.level)
        self._frames: queue.Queue[Future[Frame] | None] = queue.Queue(maxsize=2 * cores + 2)
        self._finished: queue.SimpleQueue[StoredBlob] = queue.SimpleQueue()
        self._put_slots = threading.Semaphore(settings.uploads)
        self._failure: BaseException | None = None
        self._compressing = ThreadPoolExecutor(cores, thread_name_prefix="compress")
        self._putting = ThreadPoolExecutor(settings.uploads, thread_name_prefix="put")
        self._sealing = threading.Thread(target=self._seal_frames, name="seal", daemon=True)
        self._sealing.start()

    def add(self, hash: ChunkHash, data: bytes) -> None:
        """Take a chunk on its way; waits while too much is under way already."""
        for group in self._builder.add(hash, data):
            self._submit(group)

    def finished(self) -> Iterator[StoredBlob]:
        """The blobs that became durable since this was last asked, without waiting."""
        self._raise_failure()
        while True:
            try:
                yield self._finished.get_nowait()
            except queue.Empty:
                return

    def finish(self) -> Iterator[StoredBlob]:
        """Send off all that is left and wait until it is durable; nothing can be added after."""
        for group in self._builder.flush():
            self._submit(group)
        self._enqueue(None)
        while self._sealing.is_alive():
            self._sealing.join(_POLL_SECONDS)
        self._putting.shutdown(wait=True)
        yield from self.finished()

    def __enter__(self) -> Packer:
        return self

    def __exit__(self, *exc: object) -> None:
        # A finished packer has nothing left to stop; an unfinished one must not put what nobody will record.
        self._failure = self._failure or _Stopped()
        self._compressing.shutdown(wait=True, cancel_futures=True)
        self._sealing.join()
        self._putting.shutdown(wait=True, cancel_futures=True)

    def _submit(self, group: FrameInput) -> None:
        self._enqueue(self._compressing.submit(self._compressor.compress, group))

    def _enqueue(self, frame: Future[Frame] | None) -> None:
        while True:
            self._raise_failure()
            try:
                self._frames.put(frame, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

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
        except BaseException as error:  # noqa: BLE001  handed to the thread that waits for the blobs
            self._failure = self._failure or error

    def _next_frame(self) -> Future[Frame] | None:
        while self._failure is None:
            try:
                return self._frames.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
        return None

    def _new_writer(self) -> BlobWriter:
        return BlobWriter(self._recipients, random=self._random, target=self._settings.blob_size)

    def _send(self, blob: SealedBlob) -> None:
        while not self._put_slots.acquire(timeout=_POLL_SECONDS):
            self._raise_failure()
        self._putting.submit(self._put, blob)

    def _put(self, blob: SealedBlob) -> None:
        try:
            self._raise_failure()
            began, started = self._clock(), time.perf_counter_ns()
            self._store.put(blob_name(blob.hash), blob.pieces)
            taken = time.perf_counter_ns() - started
            # Without its pieces: it may lie in the queue for a while, and 32 MiB each is what the memory bound is made of.
            self._finished.put(StoredBlob(replace(blob, pieces=()), began, taken))
        except BaseException as error:  # noqa: BLE001  handed to the thread that waits for the blobs
            self._failure = self._failure or error
        finally:
            self._put_slots.release()


class _Stopped(Exception):
    """Ends the threads of a packer that was left before it finished."""
