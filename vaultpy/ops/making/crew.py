"""Who reads what a run takes: this process while there is little, worker processes once there is much.

What Python does for each small file takes one core, so a run over many files is as fast as it has processes: this one
walks, compares and writes the index, workers open, read, hash, compress and encrypt.  Starting one costs what some thousand
files cost, on a core that is mostly idle until then: so the first starts soon, the others once there is much to read.
"""

from __future__ import annotations

import queue
import resource
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from vaultpy.age import parse_recipient
from vaultpy.blob.writer import SealedBlob
from vaultpy.errors import VaultpyError
from vaultpy.ops.making.put import POLL_SECONDS
from vaultpy.ops.making.seal import Sealer
from vaultpy.ops.making.wire import Batch, Failed, Setup, Verdict, Wire
from vaultpy.ops.processes import end_of, most_processes, release, start_process, unreachable, usable_cores
from vaultpy.source.batch import BatchReader, Group, Part

START_FILES = 500
START_BYTES = 8 * 1024 * 1024
"""Files or bytes to be read at which a worker process starts: a run that finds so many changes early has more to walk, and
the worker starts beside that."""

START_REST = 4
"""How many times that there must be for the other workers, whose start takes time from the first and from us."""

MOST_WORKERS = 4

AHEAD_FILES = 24 * 1024
AHEAD_BYTES = 32 * 1024 * 1024
"""What a worker is given at a time, so that it does not wait for the next while we write to the index: a tenth of a second
and more of its work, and little enough of our memory."""

AHEAD_FOLDERS = 1024
"""Folders that all workers together are given at a time, each an open descriptor, where that many may be open."""

_END_SECONDS = 5
_WORKER = "vaultpy.ops.making.worker"

OnPart = Callable[[Part], bytes]
"""Takes hashes, in the thread that asked for the batch; returns a flag for each: whether its chunk is to be stored."""


def count_workers(readers: int | None) -> int:
    """How many worker processes to have for so many readers; for None as many as are worth their memory on this machine
    (some 60 MB each).  One reader alone is this process."""
    wanted = most_processes(min(usable_cores(), MOST_WORKERS) if readers is None else readers)
    return wanted if wanted > 1 else 0


class Crew:
    """Reads batches.  Use as a context manager: leaving it ends the workers, finished or not."""

    def __init__(
        self,
        setup: Setup,
        workers: int,
        on_part: OnPart,
        send: Callable[[SealedBlob], None],
        *,
        random: Callable[[int], bytes],
    ) -> None:
        """`on_part` hears of every part in the thread that calls us; `send` takes the sealed blobs, in any thread."""
        self._setup, self._most, self._on_part, self._send, self._random = setup, workers, on_part, send, random
        self._stack = ExitStack()
        self._here: _Here | None = None
        self._workers: list[_Worker] = []
        self._parts: queue.SimpleQueue[tuple[_Worker, Part | None]] = queue.SimpleQueue()
        self._files = self._bytes = 0
        self._folders = _folders_ahead(workers)

    def read(self, batch: int, groups: Sequence[Group], size: int) -> None:
        """Have a batch of files, about `size` bytes, read; their folders may be closed on return.  `on_part` may be called
        for this and earlier batches."""
        self._files += sum(len(files) for _, files in groups)
        self._bytes += size
        self._start_workers(self._count_wanted())
        if not self._workers:
            self.here.read(batch, groups)
            return
        while not (idle := [worker for worker in self._workers if not worker.is_busy(self._folders)]):
            self._handle(wait=True)
        min(idle, key=lambda worker: worker.ahead).read(batch, groups, size)
        self.collect()

    def _count_wanted(self) -> int:
        """How many workers what there was to read until now is worth."""
        if self._files > START_FILES * START_REST or self._bytes > START_BYTES * START_REST:
            return self._most
        return min(self._most, 1) if self._files > START_FILES or self._bytes > START_BYTES else 0

    def _start_workers(self, wanted: int) -> None:
        if wanted and self._here is not None and not self._workers:
            self._here.finish()
            self._here = None
        while len(self._workers) < wanted:
            self._workers.append(self._stack.enter_context(_Worker(self._setup, self._parts, self._send)))

    def collect(self) -> None:
        """Hear what came meanwhile, without waiting."""
        while self._handle(wait=False):
            pass

    def finish(self) -> None:
        """Wait until everything that was given is read, sealed and sent."""
        while any(any(worker.ahead) for worker in self._workers):
            self._handle(wait=True)
        for worker in self._workers:
            worker.finish()
        if self._here is not None:
            self._here.finish()
        while not all(worker.finished for worker in self._workers):
            self._handle(wait=True)

    @property
    def here(self) -> _Here:
        """The reader in this process."""
        if self._here is None:
            sealer = Sealer(
                [parse_recipient(text) for text in self._setup.recipients],
                self._setup.settings,
                self._send,
                random=self._random,
            )
            self._stack.enter_context(sealer)
            self._here = _Here(sealer, self._on_part, birth_times=self._setup.birth_times)
        return self._here

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _handle(self, *, wait: bool) -> bool:
        """Take one message of the workers, if there is one; True if there was."""
        try:
            worker, part = self._parts.get(timeout=POLL_SECONDS) if wait else self._parts.get_nowait()
        except queue.Empty:
            for worker in self._workers:
                worker.raise_failure()
            return False
        worker.raise_failure()
        if part is not None:
            worker.settle(part, self._on_part(part))
        return True


class _Here:
    """Reads in this process, part by part."""

    def __init__(self, sealer: Sealer, on_part: OnPart, *, birth_times: bool) -> None:
        self.sealer, self._on_part = sealer, on_part
        self._reader = BatchReader(self._take, birth_times=birth_times)

    def read(self, batch: int, groups: Sequence[Group]) -> None:
        self._reader.read(batch, groups)

    def finish(self) -> None:
        self.sealer.finish()

    def _take(self, part: Part) -> None:
        for hash, data in self._reader.settle(self._on_part(part)):
            self.sealer.add(hash, data)


class _Worker:
    """A worker process, and the thread that hears it."""

    def __init__(
        self,
        setup: Setup,
        parts: queue.SimpleQueue[tuple[_Worker, Part | None]],
        send: Callable[[SealedBlob], None],
    ) -> None:
        self.finished = False
        self._batches: dict[int, tuple[int, int, int]] = {}
        self._parts, self._send = parts, send
        self._failure: BaseException | None = None
        self._process, self._wire = _start()
        self._hearing = threading.Thread(target=self._hear, name="worker", daemon=True)
        self._hearing.start()
        try:
            self._tell(setup)
        except BaseException:
            self.__exit__()
            raise

    @property
    def ahead(self) -> tuple[int, int, int]:
        """Bytes, as listed, files and folders that it was given and has not finished reading."""
        size = files = folders = 0
        for one in self._batches.values():
            size, files, folders = size + one[0], files + one[1], folders + one[2]
        return size, files, folders

    def is_busy(self, most_folders: int) -> bool:
        """Whether it has enough for now."""
        size, files, folders = self.ahead
        return size >= AHEAD_BYTES or files >= AHEAD_FILES or folders >= most_folders

    def read(self, batch: int, groups: Sequence[Group], size: int) -> None:
        self._batches[batch] = size, sum(len(files) for _, files in groups), len(groups)
        self._tell(Batch(batch, [files for _, files in groups]), [fd for fd, _ in groups])

    def settle(self, part: Part, new: bytes) -> None:
        if part.last:
            del self._batches[part.batch]
        self._tell(Verdict(new))

    def finish(self) -> None:
        self._tell(None)

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self.finished:
            self._process.kill()  # it holds nothing that outlives it
        release(self._process)
        self._hearing.join(_END_SECONDS)
        self._wire.close()

    def _tell(self, message: object, fds: Sequence[int] = ()) -> None:
        try:
            self._wire.send(message, fds)
        except (BrokenPipeError, ConnectionResetError):
            # It ended; the thread that hears it knows why, or will in a moment.
            self._hearing.join(_END_SECONDS)
            self.raise_failure()
            raise VaultpyError(self._ended()) from None
        except OSError as error:
            raise unreachable("worker", error) from error

    def _hear(self) -> None:
        try:
            while (message := self._wire.receive()) is not None:
                if isinstance(message, Part):
                    self._parts.put((self, message))
                elif isinstance(message, SealedBlob):
                    self._send(self._wire.take_blob(message))
                else:
                    assert isinstance(message, Failed)
                    self._failure = message.kind(message.message, hint=message.hint)
                    break
            else:
                self.finished = True
        except EOFError:
            self._failure = VaultpyError(self._ended(), hint="nothing finished is lost, the next run goes on")
        except BaseException as error:  # noqa: BLE001  handed to the thread that reads
            self._failure = error
        if self._failure is not None:
            self._process.kill()  # nobody hears it any more: who waits until it takes something would wait for ever
        self._parts.put((self, None))

    def _ended(self) -> str:
        return end_of("worker", self._process)


def _folders_ahead(workers: int) -> int:
    # A worker keeps what it was given open; and of ours, so many at most may be on their way (unix(7), ETOOMANYREFS).
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = AHEAD_FOLDERS if limit == resource.RLIM_INFINITY else min(AHEAD_FOLDERS, limit // 2)
    return max(1, most // max(1, workers))


def _start() -> tuple[subprocess.Popen[bytes], Wire]:
    process, fd = start_process("worker", _WORKER, otherwise=", or do without: readers = 1")
    return process, Wire(fd)
