"""Who writes a restore: threads of this process, or processes once there is much.

What Python does for each file takes one core, so many files come back as fast as there are processes: this one reads the
index and deals out shares, each writer fetches, opens, checks and writes its own.  Starting one costs what some thousand
files cost; a restore of less never does.
"""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from vaultpy.age import Identity
from vaultpy.ops.processes import usable_cores
from vaultpy.ops.restoring.fetch import Fetcher
from vaultpy.ops.restoring.share import Outcome, Share
from vaultpy.ops.restoring.write import Writer
from vaultpy.ops.restoring.writer_process import Setup, WriterProcess
from vaultpy.source.apply import ApplyOptions
from vaultpy.source.target import TargetTree
from vaultpy.store.base import Store
from vaultpy.store.local import LocalStore, opens_anywhere

START_FILES = 4_000
START_BYTES = 256 * 1024 * 1024
"""Files or bytes to be written at which processes start."""

THREADS = 4
"""Shares under way at once where no processes write: over a network, most of the time is waiting."""


@dataclass(frozen=True, slots=True)
class Task:
    """What all writers need: whence, by whose key, whereto, and how."""

    store: Store
    identity: Identity
    target: bytes
    options: ApplyOptions


class _Writes(Protocol):
    def write(self, share: Share) -> Outcome: ...


def worth_processes(files: int, size: int) -> bool:
    """Whether that much is written sooner by several processes."""
    return files > START_FILES or size > START_BYTES


class Writers:
    """Writes shares, several at once.  Use as a context manager: leaving it ends whoever writes, finished or not."""

    def __init__(self, task: Task, processes: int) -> None:
        """`processes` 0: threads of this process write.  A store that only this process knows is never left to others, nor
        one behind a limit, which holds for all writers together."""
        self._stack = contextlib.ExitStack()
        local = isinstance(task.store, LocalStore)
        if processes and opens_anywhere(task.store):
            setup = Setup(task.store.url, task.identity.to_text(), task.target, task.options)
            found: list[_Writes] = [self._stack.enter_context(WriterProcess(setup)) for _ in range(processes)]
        else:
            found = [self._here(task) for _ in range(min(usable_cores(), THREADS) if local else THREADS)]
        self._free: queue.SimpleQueue[_Writes] = queue.SimpleQueue()
        for one in found:
            self._free.put(one)
        self._count = len(found)

    def write(self, shares: Iterable[Share]) -> Iterator[Outcome]:
        """What becomes of shares, in their order; `shares` is asked for a few more than have come back.

        Raises TargetFull, StoreError.
        """
        under_way: deque[Future[Outcome]] = deque()
        with ThreadPoolExecutor(self._count, thread_name_prefix="write") as pool:
            try:
                for share in shares:
                    under_way.append(pool.submit(self._write, share))
                    while len(under_way) > self._count or (under_way and under_way[0].done()):
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _write(self, share: Share) -> Outcome:
        writer = self._free.get()
        try:
            return writer.write(share)
        finally:
            self._free.put(writer)

    def _here(self, task: Task) -> Writer:
        tree = self._stack.enter_context(TargetTree(task.target))
        return Writer(Fetcher(task.store, [task.identity]), tree, task.options)

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
