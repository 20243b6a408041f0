"""Storing what comes as a stream and not as a file of the walk: copies of databases, what commands write.

It is chunked, hashed and sealed in this process, one stream at a time, beside the workers that read files.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from vaultpy.chunker import hash_chunk
from vaultpy.events import OnEvent, ProblemMet
from vaultpy.index.live import LiveFile, Owners
from vaultpy.index.record import FileRow, Group, Recorder
from vaultpy.model import ChunkHash, Kind, Problem
from vaultpy.ops.making.compare import Tally
from vaultpy.ops.making.take import file_row
from vaultpy.source.attrs import Xattr

_HARVEST_MASK = 15
"""Every so many chunks it is looked what else happened."""


class Stamp(NamedTuple):
    """What os.stat says, of something that has no inode, or another history than its inode: times in nanoseconds."""

    st_mode: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_uid: int
    st_gid: int
    st_ino: int = 0
    st_dev: int = 0
    st_nlink: int = 1


@dataclass(frozen=True, slots=True)
class Stored:
    """A stream that was taken: its bytes, its chunks, and the group that waits until they are durable."""

    size: int
    chunk_ids: array.array[int]
    group: Group


class Streams:
    """Stores streams, and makes files of them."""

    def __init__(
        self,
        recorder: Recorder,
        owners: Owners,
        tally: Tally,
        add: Callable[[ChunkHash, bytes], None],
        meanwhile: Callable[[], None],
        *,
        clock: Callable[[], int],
        on_event: OnEvent,
    ) -> None:
        """`add` takes a chunk that is to be stored; `meanwhile` is called now and then, as a stream may take hours."""
        self.recorder, self.tally = recorder, tally
        self._owners, self._add, self._meanwhile = owners, add, meanwhile
        self._clock, self._on_event = clock, on_event

    def store(self, chunks: Iterable[bytes]) -> Stored:
        """Take all chunks; `put` makes a file of them.  What iterating them raises leaves nothing that anybody sees: a
        group that is not given writes no row."""
        group, size, ids = Group(), 0, array.array("q")
        for data in chunks:
            hash = hash_chunk(data)
            [chunk_id], new = self.recorder.place_chunks((hash,), group)
            if new[0]:
                self._add(hash, data)
            ids.append(chunk_id)
            size += len(data)
            if not len(ids) & _HARVEST_MASK:
                self._meanwhile()
        return Stored(size, ids, group)

    def put(self, row: FileRow, stored: Stored, xattrs: tuple[Xattr, ...], replaces: LiveFile | None) -> None:
        """Make what was stored a new version of a path, once its chunks are durable."""
        stored.group.others.append((row, stored.chunk_ids, xattrs))
        if replaces is not None:
            stored.group.replaces.append(replaces.id)
        self.recorder.put_group(stored.group)
        self.tally.files += 1
        self.tally.bytes += stored.size

    def leave(self, old: LiveFile) -> None:
        """A path is as it was."""
        self.tally.files += 1
        self.tally.unchanged += 1
        self.tally.bytes += old.size

    def fail(self, problem: Problem, old: LiveFile | None) -> None:
        """A path could not be taken: it is told, and its row until now ends."""
        self.note(problem)
        if old is not None:
            self.recorder.close_file(old.id)

    def note(self, problem: Problem) -> None:
        """Tell a problem, and keep it for the snapshot."""
        self.tally.problems.append(problem)
        self._on_event(ProblemMet(problem))

    def now(self) -> int:
        """Nanoseconds since 1970."""
        return self._clock()

    def row_of(self, directory_id: int, name: bytes, found: Stamp, size: int) -> FileRow:
        """The row of a regular file; without a ctime where that is too young to be trusted."""
        owner_id = self._owners.id_of(found.st_uid, found.st_gid)
        return file_row((directory_id, name), Kind.FILE, found, size, owner_id, self._clock())
