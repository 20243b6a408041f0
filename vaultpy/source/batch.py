"""Reading many files at a time: what runs once per file of a first snapshot, here or in a worker process.

A batch goes in, parts come out: the hashes of the chunks that were read, in order, and what differs from the listing.
The chunks themselves are held until it is said which of them are to be stored.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import NamedTuple

from vaultpy import chunker
from vaultpy.chunker import hash_chunk
from vaultpy.errors import ReplacedError, SourceError
from vaultpy.model import ChunkHash, Hole, Problem
from vaultpy.source.attrs import Xattr, read_xattrs
from vaultpy.source.failures import to_problem, translate
from vaultpy.source.flags import FlagReader
from vaultpy.source.holes import data_between, end_of, find_holes, holes_before, may_have_holes
from vaultpy.source.read import OPEN, open_regular, read_file, same
from vaultpy.source.statx import Statx

TRIES = 3
"""How often a file is read that changes meanwhile; then the last reading is kept and marked."""

YOUNG_SECONDS = 0.05
YOUNG_NS = int(YOUNG_SECONDS * 1_000_000_000)
"""How long after a change a file is not read: longer than a kernel's tick, and than a program on a busy machine waits for
its turn in the middle of writing."""

PART_BYTES = 4 * 1024 * 1024
"""Bytes of chunks at which a part is given out."""

HELD_BYTES = 8 * 1024 * 1024
"""Bytes of chunks that are held, waiting to hear which are new, at which a reader is full."""

Listed = tuple[bytes, int, int, int, int, int, int]
"""A file as it was listed: the fields of `Expected`, as a tuple, which is what goes to another process fastest."""

Group = tuple[int, Sequence[Listed]]
"""An open folder's descriptor, and files in it."""


class Expected(NamedTuple):
    """A file as it was listed; times in nanoseconds."""

    name: bytes
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_ino: int
    st_dev: int
    st_uid: int


class Odd(NamedTuple):
    """A file that is not simply as listed, with one chunk (none, if it is empty) and nothing beside it.

    Of the hashes that were given out for it, the first `dropped` are of readings that failed or did not hold still, and
    the `chunks` after them are its; with its `holes` they make `size` bytes.  `found`: what it was after it was read.
    With a `problem`, whose path is the bare name, it has nothing.
    """

    dropped: int
    chunks: int
    size: int = 0
    found: os.stat_result | None = None
    xattrs: tuple[Xattr, ...] = ()
    held_still: bool = True
    holes: tuple[Hole, ...] = ()
    flags: int = 0
    birth: int | None = None
    problem: Problem | None = None


class Part(NamedTuple):
    """Hashes of a batch in the order of its files; with the last part, what is odd, by the file's place in the batch."""

    batch: int
    hashes: list[ChunkHash]
    odd: dict[int, Odd]
    last: bool


@dataclass(slots=True)
class _Reading:
    """What of a batch was read and not given out yet."""

    batch: int
    hashes: list[ChunkHash] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    odd: dict[int, Odd] = field(default_factory=dict)
    size: int = 0
    given_out: int = 0

    @property
    def total(self) -> int:
        """Hashes of the batch so far."""
        return self.given_out + len(self.hashes)


def _open_as_it_is(dir_fd: int, expected: Expected) -> int:
    """The regular file that has the name now: programs save by renaming a new file over the old one.

    Raises ReplacedError where it is something else by now, or changes faster than we look; or another SourceError.
    """
    for _ in range(TRIES - 1):
        try:
            return open_regular(dir_fd, expected.name, expected)
        except ReplacedError:
            try:
                found = os.stat(expected.name, dir_fd=dir_fd, follow_symlinks=False)
            except OSError as error:
                raise translate(error) from error
            if not stat.S_ISREG(found.st_mode):
                raise
            expected = expected._replace(st_ino=found.st_ino, st_dev=found.st_dev, st_uid=found.st_uid)
    return open_regular(dir_fd, expected.name, expected)


def _look(fd: int) -> os.stat_result:
    """What an open file is now.  Raises VanishedError where its server forgot it (ESTALE), or another SourceError."""
    try:
        return os.fstat(fd)
    except OSError as error:
        raise translate(error) from error


def _has_name(dir_fd: int, name: bytes, found: os.stat_result) -> bool:
    """Whether a file still has the name under which it was opened."""
    try:
        now = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return (now.st_ino, now.st_dev) == (found.st_ino, found.st_dev)


class BatchReader:
    """Reads batch after batch; belongs to one thread."""

    def __init__(
        self, give: Callable[[Part], None], *, birth_times: bool = False, clock: Callable[[], int] = time.time_ns
    ) -> None:
        """`give` is called with each part; it calls `settle`, for this part or older ones, until we are not full."""
        self._give = give
        self._clock = clock
        self._flags = FlagReader()
        self._statx = Statx() if birth_times else None
        self._held: deque[tuple[int, list[ChunkHash], list[bytes]]] = deque()
        self._held_bytes = 0
        self._window: memoryview | None = None
        self._user = os.geteuid()

    def read(self, batch: int, groups: Sequence[Group]) -> None:
        """Read the files of a batch.  A file that cannot be read is odd; raises VaultpyError for what is our own lack."""
        reading = _Reading(batch)
        position = 0
        for dir_fd, files in groups:
            for listed in files:
                if listed[1] > chunker.MINIMUM or not self._read_plain(dir_fd, listed, reading, position):
                    self._read_with_care(dir_fd, listed, reading, position)
                position += 1
                if reading.size >= PART_BYTES:
                    self._give_out(reading, last=False)
        self._give_out(reading, last=True)

    @property
    def holds(self) -> bool:
        """Whether a part is not settled yet."""
        return bool(self._held)

    @property
    def is_full(self) -> bool:
        """Whether so much is held that some of it must be settled first."""
        return self._held_bytes >= HELD_BYTES

    def settle(self, new: Sequence[int]) -> Iterator[tuple[ChunkHash, bytes]]:
        """For the oldest part that is not settled: one flag per hash comes in, the chunks that are to be stored come out."""
        size, hashes, chunks = self._held.popleft()
        self._held_bytes -= size
        return compress(zip(hashes, chunks, strict=True), new)

    def _is_young(self, ctime: int) -> bool:
        """Whether a change may be under way that shows already, or another come that does not show.

        A file's times are set as a write begins, and move by ticks: within one, times that stay say nothing.
        """
        return 0 <= self._clock() - ctime < YOUNG_NS

    def _look_when_still(self, fd: int) -> os.stat_result:
        """What an open file is, a while later if it just changed."""
        found = _look(fd)
        if self._is_young(found.st_ctime_ns):
            time.sleep(YOUNG_SECONDS)
            found = _look(fd)
        return found

    def _read_plain(self, dir_fd: int, listed: Listed, reading: _Reading, position: int) -> bool:
        """Read a small file by as few calls as can be; False (and nothing done) where anything is not as listed."""
        name, size, mtime, ctime, inode, device, uid = listed
        if self._is_young(ctime):
            return False
        try:
            fd = os.open(name, OPEN | os.O_NOATIME if self._user in (0, uid) else OPEN, dir_fd=dir_fd)
        except OSError:
            return False
        try:
            data = os.pread(fd, size + 1, 0)
            # One look, after reading: equal to the listing means that nothing changed between the two.
            found = os.fstat(fd)
            if (
                len(data) != size
                or found.st_size != size
                or found.st_ctime_ns != ctime
                or found.st_mtime_ns != mtime
                or found.st_ino != inode
                or found.st_dev != device
                or not stat.S_ISREG(found.st_mode)
            ):
                return False
            if may_have_holes(found) and find_holes(fd, size):
                return False
            xattrs, flags, birth = read_xattrs(fd), self._flags.read(fd, device), self._birth(fd)
        except (OSError, SourceError):
            return False
        finally:
            os.close(fd)
        if size:
            reading.hashes.append(hash_chunk(data))
            reading.chunks.append(data)
            reading.size += size
        if xattrs or flags or birth is not None:
            reading.odd[position] = Odd(0, 1 if size else 0, size, found, xattrs, flags=flags, birth=birth)
        return True

    def _read_with_care(self, dir_fd: int, listed: Listed, reading: _Reading, position: int) -> None:
        """Read a file of any size, again if it changes or moves meanwhile, and say what happened."""
        expected, first = Expected._make(listed), reading.total
        try:
            for _ in range(TRIES):
                odd = self._read_open(dir_fd, expected, reading, first)
                assert odd.found is not None
                if odd.found.st_ctime_ns == expected.st_ctime_ns or _has_name(dir_fd, expected.name, odd.found):
                    break
                # What was read may be what the file became under another name.
                odd = odd._replace(held_still=False)
        except SourceError as error:
            odd = Odd(reading.total - first, 0, problem=to_problem(expected.name, error))
        reading.odd[position] = odd

    def _read_open(self, dir_fd: int, expected: Expected, reading: _Reading, first: int) -> Odd:
        """Open what has the name now, and read it until it holds still.  Raises SourceError."""
        fd = _open_as_it_is(dir_fd, expected)
        try:
            for _ in range(TRIES):
                before, start = self._look_when_still(fd), reading.total
                # Young again: it changed while we waited, and may have changed unseen while it is read.
                is_quiet = not self._is_young(before.st_ctime_ns)
                size, holes = self._read_chunks(fd, before, reading)
                after = _look(fd)
                held_still = is_quiet and same(before, after) and size == after.st_size
                if held_still:
                    break
            xattrs, flags, birth = read_xattrs(fd), self._flags.read(fd, after.st_dev), self._birth(fd)
        finally:
            os.close(fd)
        dropped, chunks = start - first, reading.total - start
        return Odd(dropped, chunks, size, after, xattrs, held_still, tuple(holes), flags, birth)

    def _birth(self, fd: int) -> int | None:
        return None if self._statx is None else self._statx.birth(fd)

    def _read_chunks(self, fd: int, found: os.stat_result, reading: _Reading) -> tuple[int, list[Hole]]:
        """One reading, from the file's beginning; returns how long the file was, and its holes, which are not read."""
        holes = find_holes(fd, found.st_size) if may_have_holes(found) else []
        extents = data_between(holes, found.st_size) if holes else None
        size = 0
        if self._window is None and found.st_size > chunker.MINIMUM:
            self._window = chunker.new_window()
        for data in read_file(fd, found.st_size, extents, self._window):
            reading.hashes.append(hash_chunk(data))
            reading.chunks.append(data)
            reading.size += len(data)
            size += len(data)
            if reading.size >= PART_BYTES:
                self._give_out(reading, last=False)
        if extents is None:
            return size, []
        end = end_of(extents, size, found.st_size)
        return end, holes_before(holes, end)

    def _give_out(self, reading: _Reading, *, last: bool) -> None:
        size, hashes, chunks = reading.size, reading.hashes, reading.chunks
        reading.hashes, reading.chunks, reading.size = [], [], 0
        reading.given_out += len(hashes)
        self._held_bytes += size
        self._held.append((size, hashes, chunks))
        self._give(Part(reading.batch, hashes, reading.odd if last else {}, last))
