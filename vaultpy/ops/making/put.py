"""From sealed blobs to durable ones: `uploads` threads put them while the walk goes on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from vaultpy.blob.writer import SealedBlob
from vaultpy.store.base import Store
from vaultpy.store.names import blob_name

POLL_SECONDS = 0.5
"""How often whoever waits looks whether another thread has failed."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that is durable in the store; when its put began and how long it took, in nanoseconds."""

    sealed: SealedBlob
    uploaded_at: int
    upload_time: int


class Putter:
    """Puts blobs.  Use as a context manager: leaving it ends the threads, finished or not."""

    def __init__(self, store: Store, uploads: int, *, clock: Callable[[], int]) -> None:
        self._store, self._clock = store, clock
        self._finished: queue.SimpleQueue[StoredBlob] = queue.SimpleQueue()
        self._slots = threading.Semaphore(uploads)
        self._failure: BaseException | None = None
        self._putting = ThreadPoolExecutor(uploads, thread_name_prefix="put")

    def send(self, blob: SealedBlob) -> None:
        """Put a blob, in any thread; waits while `uploads` others are under way."""
        while not self._slots.acquire(timeout=POLL_SECONDS):
            self._raise_failure()
        self._putting.submit(self._put, blob)

    def finished(self) -> Iterator[StoredBlob]:
        """The blobs that became durable since this was last asked, without waiting."""
        self._raise_failure()
        # Asked once a folder, so by no exception; nobody else takes anything out.
        while not self._finished.empty():
            yield self._finished.get_nowait()

    def finish(self) -> Iterator[StoredBlob]:
        """Wait for all that was sent; nothing can be sent after."""
        self._putting.shutdown(wait=True)
        yield from self.finished()

    def __enter__(self) -> Putter:
        return self

    def __exit__(self, *exc: object) -> None:
        self._failure = self._failure or _Stopped()
        self._putting.shutdown(wait=True, cancel_futures=True)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

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
            self._slots.release()


class _Stopped(Exception):
    """Ends the threads of a putter that was left before it finished."""
