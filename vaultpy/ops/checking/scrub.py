"""Fetching objects whole and looking at every byte, several at once: in threads of this process, or, where there is much to
open and the store lies on this machine, in a process a core, because what Python does for each small chunk takes one core.

An object is fetched in ranges, so that memory is bounded whatever its size.
"""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from vaultpy.age import Identity
from vaultpy.ops.checking.inspect import Job, Seen, inspect
from vaultpy.ops.checking.scrub_process import ScrubProcess, Setup
from vaultpy.ops.processes import most_processes, usable_cores
from vaultpy.store.base import Store
from vaultpy.store.local import opens_anywhere

THREADS = 4
"""Objects under way at once where threads look: some 20 MiB each."""

PROCESSES = 4
"""Processes at most: so many fit into the memory that may be used."""

START_CHUNKS = 4_000
START_BYTES = 256 * 1024 * 1024
"""Chunks, or bytes of objects, to be opened at which processes start."""

_Inspect = Callable[[Job], Seen]


def processes_for(store: Store, chunks: int, size: int) -> int:
    """How many processes are worth starting for so many chunks, in objects of so many bytes; 0: threads will do."""
    cores = most_processes(min(usable_cores(), PROCESSES))
    if cores < 2 or not opens_anywhere(store):  # over a network, most of the time is waiting
        return 0
    return cores if chunks > START_CHUNKS or (chunks and size > START_BYTES) else 0


def scrub(store: Store, identities: Sequence[Identity], jobs: Iterable[Job], *, processes: int = 0) -> Iterator[Seen]:
    """Look at objects, in the order of the jobs.  Raises StoreError where the store fails; damage comes out."""
    with contextlib.ExitStack() as stack:
        if processes:
            setup = Setup(store.url, tuple(one.to_text() for one in identities))
            started = [stack.enter_context(ScrubProcess(setup)) for _ in range(processes)]
            yield from _scrub([one.inspect for one in started], jobs)
        else:
            yield from _scrub([lambda job: inspect(store, identities, job)] * THREADS, jobs)


def _scrub(inspectors: Sequence[_Inspect], jobs: Iterable[Job]) -> Iterator[Seen]:
    free: queue.SimpleQueue[_Inspect] = queue.SimpleQueue()
    for one in inspectors:
        free.put(one)

    def look(job: Job) -> Seen:
        inspector = free.get()
        try:
            return inspector(job)
        finally:
            free.put(inspector)

    under_way: deque[Future[Seen]] = deque()
    with ThreadPoolExecutor(len(inspectors), thread_name_prefix="scrub") as pool:
        try:
            for job in jobs:
                under_way.append(pool.submit(look, job))
                if len(under_way) > len(inspectors):
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
