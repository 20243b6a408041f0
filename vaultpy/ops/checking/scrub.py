"""Fetching objects whole and looking at every byte, several at once: each in ranges, so that memory is bounded whatever its
size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vaultpy.age import Identity
from vaultpy.ops.checking.check_process import Place
from vaultpy.ops.checking.crew import Crew, in_order
from vaultpy.ops.checking.inspect import Job, Seen, inspect
from vaultpy.store.base import Store
from vaultpy.store.local import opens_anywhere

THREADS = 4
"""Objects under way at once where threads look: some 20 MiB each."""

START_CHUNKS = 4_000
START_BYTES = 256 * 1024 * 1024
"""Chunks, or bytes of objects, to be opened at which processes start."""


def worth_processes(chunks: int, size: int) -> bool:
    """Whether so many chunks, in objects of so many bytes, are looked at sooner by several processes."""
    return chunks > START_CHUNKS or (chunks > 0 and size > START_BYTES)


def scrub(
    store: Store, identities: Sequence[Identity], jobs: Iterable[Job], crew: Crew | None = None
) -> Iterator[Seen]:
    """Look at objects, in the order of the jobs, by processes of the crew, if one is given, where they can.

    Raises StoreError where the store fails; damage comes out.
    """
    # Over a network, most of the time is waiting.
    if crew is not None and opens_anywhere(store) and crew.start():
        return crew.inspect_all(Place(store.url, tuple(one.to_text() for one in identities)), jobs)
    return in_order([lambda job: inspect(store, identities, job)] * THREADS, jobs)
