"""Who looks, at objects and at the texts of exports: threads of this process, or, once there is much, a process a core, because
what Python does for each small chunk and for each line takes one core."""

from __future__ import annotations

import contextlib
import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vaultpy.index.examine import Examined, Rules
from vaultpy.ops.checking.check_process import CheckProcess, Place
from vaultpy.ops.checking.inspect import Job, Seen
from vaultpy.ops.processes import most_processes, usable_cores

PROCESSES = 4
"""Processes at most: so many fit into the memory that may be used."""

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Crew:
    """Processes that look, once they are started.  Use as a context manager: leaving it ends them."""

    def __init__(self, *, at_once: bool = False, random: Callable[[int], bytes] = os.urandom) -> None:
        """`at_once`: start on entering."""
        self._stack = contextlib.ExitStack()
        self._processes: list[CheckProcess] = []
        self._at_once, self._random = at_once, random

    def start(self) -> bool:
        """Have processes, unless there is but one core, or none can be started; whether there are any."""
        cores = most_processes(min(usable_cores(), PROCESSES))
        if not self._processes and cores > 1:
            seed = int.from_bytes(self._random(4), "big")
            self._processes = [self._stack.enter_context(CheckProcess(seed)) for _ in range(cores)]
        return bool(self._processes)

    def examine_all(self, rules: Rules, texts: Iterable[bytes]) -> Iterator[Examined]:
        """As `examine` does each, in their order; there must be processes."""
        return self._ask(rules, texts)  # type: ignore[return-value]

    def inspect_all(self, place: Place, jobs: Iterable[Job]) -> Iterator[Seen]:
        """As `inspect` does each, in their order; there must be processes."""
        return self._ask(place, jobs)  # type: ignore[return-value]

    def _ask(self, about: Place | Rules, tasks: Iterable[Job | bytes]) -> Iterator[Seen | Examined]:
        for one in self._processes:
            one.tell(about)
        return in_order([one.ask for one in self._processes], tasks)

    def __enter__(self) -> Crew:
        if self._at_once:
            self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def in_order(lookers: Sequence[Callable[[_Task], _Result]], tasks: Iterable[_Task]) -> Iterator[_Result]:
    """What lookers make of tasks, each at one at a time, in the tasks' order.  As many more are asked for
    as they are at, so that none waits while the caller is busy with a result.

    The first error that one raises ends it.
    """
    free: queue.SimpleQueue[Callable[[_Task], _Result]] = queue.SimpleQueue()
    for one in lookers:
        free.put(one)

    def look(task: _Task) -> _Result:
        looker = free.get()
        try:
            return looker(task)
        finally:
            free.put(looker)

    under_way: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(len(lookers), thread_name_prefix="verify") as pool:
        try:
            for task in tasks:
                under_way.append(pool.submit(look, task))
                if len(under_way) > 2 * len(lookers):
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
