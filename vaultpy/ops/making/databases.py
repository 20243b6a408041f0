"""Databases in use, in a run: found beside the walk, compared with their journals, stored as the state of one moment."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vaultpy.errors import ReplacedError, SourceError, VanishedError
from vaultpy.index.live import LiveFile, LiveRow
from vaultpy.index.record import storable_time
from vaultpy.model import Kind, Problem, ProblemKind
from vaultpy.ops.making.compare import IsUnchanged, Place
from vaultpy.ops.making.stream import Stamp, Streams
from vaultpy.source import sqlite
from vaultpy.source.attrs import read_xattrs
from vaultpy.source.failures import to_problem
from vaultpy.source.filters import Filter, compile_filter
from vaultpy.source.flags import FlagReader
from vaultpy.source.listing import Entry, join
from vaultpy.source.read import open_regular, read_chunks
from vaultpy.source.roots import PlaceOf, itself
from vaultpy.source.sqlite import NotCaptured, Waits
from vaultpy.source.statx import Statx
from vaultpy.source.walk import NO_FD, Folder

PATIENCE = Waits()

RECENT_NS = 60_000_000_000
"""A file written this lately may be a database whose journal comes and goes with each transaction, so it is looked into."""

SMALLEST_PAGE = 512
"""A database's size is a number of pages, and their size a multiple of this: nearly all other files are told apart."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which files are databases in use though nothing beside them says so: filters by the path that each is for."""

    filters: tuple[tuple[bytes, Filter], ...]
    place_of: PlaceOf = itself
    """Where the paths are read."""

    def names(self, folder: Folder) -> set[bytes]:
        """The chosen ones among a folder's entries."""
        found: set[bytes] = set()
        for root, chosen in self.filters:
            if folder.path == root or folder.path.startswith(root.rstrip(b"/") + b"/"):
                verdict = chosen.within(folder.path[len(root.rstrip(b"/")) + 1 :])
                for name, _ in folder.entries:
                    decision = verdict(os.fsdecode(name), False)
                    if decision is not None and decision.out:
                        found.add(name)
        return found


def choose_databases(patterns: Sequence[str], roots: Sequence[bytes], place_of: PlaceOf) -> Chosen:
    """Raises UsageError for a pattern that does not parse."""
    filters = ((root, compile_filter(patterns, root)) for root in roots)
    return Chosen(tuple((root, one) for root, one in filters if one is not None), place_of)


class DatabaseTaker:
    """Takes the databases of folder after folder; what remains of a folder is for everybody else."""

    def __init__(
        self,
        chosen: Chosen,
        scratch: Path,
        streams: Streams,
        *,
        by_ctime: bool = True,
        birth_times: bool = False,
        access_times: bool = False,
        waits: Waits = PATIENCE,
    ) -> None:
        """`by_ctime`: times of changes tell; without them no database that has journals is ever unchanged."""
        self._chosen, self._scratch, self._streams = chosen, scratch, streams
        self._by_ctime, self._waits, self._access_times = by_ctime, waits, access_times
        self._flags = FlagReader()
        self._statx = Statx() if birth_times else None

    def take(
        self, folder: Folder, directory_id: int, live: dict[bytes, LiveRow], is_unchanged: IsUnchanged
    ) -> list[Entry]:
        """Take a folder's databases, and their rows out of `live`; returns the other entries.

        What belongs to a database that was captured is not among them, so that its rows (of a run that stored the files
        as they were) end.
        """
        if folder.fd == NO_FD:
            return folder.entries
        names = sqlite.base_names(name for name, _ in folder.entries) | sqlite.base_names(folder.journals)
        recently = self._streams.now() - RECENT_NS
        names |= {
            name
            for name, found in folder.entries
            if found.st_mtime_ns > recently and found.st_size and not found.st_size % SMALLEST_PAGE
        }
        if self._chosen.filters:
            names |= self._chosen.names(folder)
        if not names:
            return folder.entries
        done: set[bytes] = set()
        for name, found in folder.entries:
            if name in names and stat.S_ISREG(found.st_mode):
                done.update(self._take(Place(folder, directory_id, name, found, Kind.FILE), live, is_unchanged))
        return [entry for entry in folder.entries if entry[0] not in done]

    def _take(self, place: Place, live: dict[bytes, LiveRow], is_unchanged: IsUnchanged) -> tuple[bytes, ...]:
        """The names that are dealt with: none where it is no database after all."""
        row = live.get(place.name)
        old = None if row is None else LiveFile._make(row)
        journals = sqlite.stat_journals(place.folder.fd, place.name)
        stamp = _stamp(place.stat, journals.values())
        # Rows of its own journals say that it was stored as it lay there.
        was_captured = not any(place.name + suffix in live for suffix in sqlite.SUFFIXES)
        if (
            old is not None
            and was_captured
            and (self._by_ctime or not journals)
            # A captured copy has the size that it has, whatever is in the journals.
            and is_unchanged(old, Kind.FILE, stamp._replace(st_size=old.size))
        ):
            self._streams.leave(old)
            del live[place.name]
            return (place.name, *sqlite.companions_of(place.name))
        try:
            fd = open_regular(place.folder.fd, place.name, place.stat)
        except SourceError:
            return ()  # whoever reads it as a file meets the same, and says so
        try:
            if not sqlite.is_database(fd):
                return ()
            live.pop(place.name, None)
            return self._capture(place, old, stamp, fd)
        except SourceError as error:
            live.pop(place.name, None)
            self._streams.fail(to_problem(place.path, error), old)
            return (place.name,)
        finally:
            os.close(fd)

    def _capture(self, place: Place, old: LiveFile | None, stamp: Stamp, fd: int) -> tuple[bytes, ...]:
        path = join(self._chosen.place_of(place.folder.path), place.name)
        where = sqlite.Place(place.folder.fd, place.name, path, place.stat)
        try:
            copy = sqlite.capture(where, self._scratch, self._waits)
        except (VanishedError, ReplacedError):
            raise
        except NotCaptured as failure:
            detail = f"database in use, stored as it lies there: {failure.message}"
            self._streams.note(Problem(place.path, ProblemKind.INCONSISTENT, detail))
            self._store(place, old, stamp, fd, fd, changed=1)
            return (place.name,)
        try:
            self._store(place, old, stamp, fd, copy, changed=None)
        finally:
            os.close(copy)
        return (place.name, *sqlite.companions_of(place.name))

    def _store(
        self, place: Place, old: LiveFile | None, stamp: Stamp, fd: int, content: int, *, changed: int | None
    ) -> None:
        """Store `content` as what `fd` is: the same file, or a copy of it."""
        xattrs = read_xattrs(fd)
        stored = self._streams.store(read_chunks(content))
        row = self._streams.row_of(place.directory_id, place.name, stamp, stored.size)
        row = row._replace(
            changed=changed,
            flags=self._flags.read(fd, place.stat.st_dev) or None,
            btime=None if self._statx is None else self._statx.birth_at(place.folder.fd, place.name),
            atime=storable_time(place.stat.st_atime_ns) if self._access_times else None,
        )
        self._streams.put(row, stored, xattrs, old)


def _stamp(found: os.stat_result, journals: Iterable[os.stat_result]) -> Stamp:
    """What is there, with the time of the last change of all that holds a part of it.

    In WAL mode a commit touches neither the size nor the times of the file itself.  A -wal or -journal that is removed
    leaves an older time behind, which is another one, too.  Of these it is the mtime that tells: root's SQLite gives a
    -wal to its owner whenever it opens one, ours too, and that is another ctime.
    """
    return Stamp(
        found.st_mode,
        found.st_size,
        found.st_mtime_ns,
        max((found.st_ctime_ns, *(one.st_mtime_ns for one in journals))),
        found.st_uid,
        found.st_gid,
        found.st_ino,
        found.st_dev,
        found.st_nlink,
    )
