"""Taking what changed: read → chunk → hash → known? → pack, and the rows that wait until their chunks are durable.

Regular files go in batches to whoever reads them (`crew`); what comes back are hashes, each of which gets its verdict from
the index here.  Everything else is taken on the spot.
"""

from __future__ import annotations

import array
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vaultpy.errors import ReplacedError, SourceError, VanishedError
from vaultpy.events import OnEvent, ProblemMet, StepAdvanced
from vaultpy.index.live import LiveFile, Owners, chunks_of, find_moved, marks_of
from vaultpy.index.record import FileRow, Group, NewBlob, Recorder, storable_number, storable_time
from vaultpy.model import KeyId, Kind, Problem, ProblemKind, encode_holes, uuid7
from vaultpy.ops.making.compare import Found, Place, Stats, Tally
from vaultpy.ops.making.crew import Crew
from vaultpy.ops.making.put import Putter, StoredBlob
from vaultpy.ops.making.wire import FOLDERS
from vaultpy.source.attrs import Xattr, read_xattrs_at
from vaultpy.source.batch import TRIES, Listed, Odd, Part
from vaultpy.source.failures import to_problem, translate
from vaultpy.source.flags import FlagReader
from vaultpy.source.listing import join
from vaultpy.source.read import read_link
from vaultpy.source.statx import Statx
from vaultpy.source.walk import Folder

BATCH_FILES = 512
BATCH_BYTES = 4 * 1024 * 1024
"""Files, and bytes of them as listed, at which a batch is full."""

RACY_NS = 2_000_000_000
"""A file read this soon after its ctime may change again within the same tick of the file system's clock."""

REPORT_NS = 250_000_000

_SIGN = 1 << 63

PlainStart = tuple[Any, ...]
"""A PlainFile without its chunk."""

_INODE, _ATIME = 5, 10
"""Where a PlainStart has its inode, and its atime, if it has one."""


@dataclass(slots=True)
class Taken:
    """What a run stored so far: chunks' raw bytes that were not known, and the bytes of the objects put."""

    new_bytes: int = 0
    stored_bytes: int = 0
    blobs: int = 0


@dataclass(slots=True)
class _Batch:
    """Files that are read together: as they were listed, the rows they will be, and the rows that those replace."""

    number: int
    now: int
    folders: list[tuple[int, bytes, list[Listed]]] = field(default_factory=list)
    rows: list[PlainStart] = field(default_factory=list)
    olds: list[int | None] = field(default_factory=list)
    chunk_ids: list[int] = field(default_factory=list)
    group: Group = field(default_factory=Group)
    size: int = 0

    def close(self) -> None:
        for fd, _, _ in self.folders:
            os.close(fd)
        self.folders = [(-1, path, files) for _, path, files in self.folders]

    def path(self, position: int) -> bytes:
        for _, folder, files in self.folders:
            if position < len(files):
                return join(folder, files[position][0])
            position -= len(files)
        raise IndexError(position)


def file_row(where: tuple[int, bytes], kind: Kind, found: Stats, size: int, owner_id: int, now: int) -> FileRow:
    """The row of what was found at a place (its directory's id, and its name) at a time: without a ctime where that is too
    young to be trusted."""
    return FileRow(
        *where,
        kind,
        size,
        storable_time(found.st_mtime_ns),
        None if now - found.st_ctime_ns < RACY_NS else storable_time(found.st_ctime_ns),
        storable_number(found.st_ino),
        storable_number(found.st_dev),
        found.st_nlink,
        found.st_mode & 0o7777,
        owner_id,
    )


def _keep_open(folder: Folder) -> int:
    try:
        return os.dup(folder.fd)
    except OSError as error:
        raise translate(error) from error


class Taker:
    """The sink of a real run: everything that changed is read, packed and recorded."""

    def __init__(
        self,
        recorder: Recorder,
        putter: Putter,
        owners: Owners,
        tally: Tally,
        *,
        key_id: KeyId,
        has_history: bool,
        random: Callable[[int], bytes],
        clock: Callable[[], int],
        on_event: OnEvent,
        keep_alive: Callable[[], None],
        birth_times: bool = False,
        access_times: bool = False,
    ) -> None:
        self.taken = Taken()
        self._recorder, self._putter, self._owners, self._tally = recorder, putter, owners, tally
        self._key_id, self._has_history = key_id, has_history
        self._random, self._clock, self._on_event, self._keep_alive = random, clock, on_event, keep_alive
        self._flags = FlagReader()
        self._statx = Statx() if birth_times else None
        self._access_times = access_times
        self._crew: Crew
        self._last_report = 0
        self._open: _Batch | None = None
        self._read: dict[int, _Batch] = {}
        self._batches = 0

    def read_with(self, crew: Crew) -> None:
        """Who reads the files; it tells `take_part` what it read."""
        self._crew = crew

    def put_directory(self, parent_id: int | None, name: bytes) -> int:
        return self._recorder.put_directory(parent_id, name)

    def close_file(self, row_id: int) -> None:
        self._recorder.close_file(row_id)

    def close_directory(self, row_id: int) -> None:
        self._recorder.close_directory(row_id)

    def changed(self, place: Place, old: LiveFile | None) -> None:
        """Record what is no regular file; one that cannot be read leaves a problem, and its old row ends."""
        try:
            self._take_other(place, old)
        except SourceError as error:
            self._note(to_problem(place.path, error))
            if old is not None:
                self._recorder.close_file(old.id)

    def changed_files(self, folder: Folder, directory_id: int, files: Sequence[Found]) -> None:
        """Store regular files as they are now; one that cannot be read leaves a problem, and its old row ends."""
        if self._has_history:
            files = [one for one in files if not self._take_moved(folder, directory_id, one)]
        for start in range(0, len(files), BATCH_FILES):
            self._add(folder, directory_id, files[start : start + BATCH_FILES])

    def folder_done(self) -> None:
        self.harvest()
        if self.taken.blobs:
            self._keep_alive()
        now = self._clock()
        if now - self._last_report >= REPORT_NS:
            self._last_report = now
            self._on_event(StepAdvanced(self._tally.files, self._tally.bytes))

    def harvest(self) -> None:
        """Record the blobs that became durable meanwhile."""
        for stored in self._putter.finished():
            self._record(stored)

    def finish(self) -> None:
        """Wait until everything taken is durable, and record it."""
        self._send_batch()
        self._crew.finish()
        for stored in self._putter.finish():
            self._record(stored)
        self._recorder.flush()

    def take_part(self, part: Part) -> bytes:
        """Hashes that were read come in; which of them are to be stored goes out."""
        batch = self._read[part.batch]
        ids, new = self._recorder.place_chunks(part.hashes, batch.group)
        batch.chunk_ids += ids
        if part.last:
            del self._read[part.batch]
            self._complete(batch, part.odd)
        self.harvest()
        return new

    def close(self) -> None:
        """Let go of what a run that failed left open."""
        if self._open is not None:
            self._open.close()

    def _add(self, folder: Folder, directory_id: int, files: Sequence[Found]) -> None:
        """Put files of one folder into the open batch; send it off when it is full."""
        batch = self._open
        if batch is None:
            self._batches += 1
            # The clock is read before the files are: a file that is racy by it is so by any later look.
            batch = self._open = _Batch(self._batches, self._clock())
        listed: list[Listed] = []
        batch.folders.append((_keep_open(folder), folder.path, listed))
        owner_of, rows, racy_since = self._owners.id_of, batch.rows, batch.now - RACY_NS
        for name, found, old in files:
            size, mtime, ctime = found.st_size, found.st_mtime_ns, found.st_ctime_ns
            inode, device, uid = found.st_ino, found.st_dev, found.st_uid
            listed.append((name, size, mtime, ctime, inode, device, uid))
            rows.append(
                (
                    directory_id,
                    name,
                    size,
                    mtime if -_SIGN <= mtime < _SIGN else storable_time(mtime),
                    None if ctime > racy_since else storable_time(ctime),
                    inode if inode < _SIGN else storable_number(inode),
                    device if device < _SIGN else storable_number(device),
                    found.st_nlink,
                    found.st_mode & 0o7777,
                    owner_of(uid, found.st_gid),
                )
            )
            batch.olds.append(None if old is None else old.id)
            batch.size += size
        if self._access_times:  # after the loop: who does not ask for it is not to pay for it
            rows[-len(files) :] = [
                (*row, storable_time(found.st_atime_ns))
                for row, (_, found, _) in zip(rows[-len(files) :], files, strict=True)
            ]
        if len(rows) >= BATCH_FILES or batch.size >= BATCH_BYTES or len(batch.folders) >= FOLDERS:
            self._send_batch()

    def _send_batch(self) -> None:
        batch, self._open = self._open, None
        if batch is None:
            return
        self._read[batch.number] = batch
        try:
            self._crew.read(batch.number, [(fd, files) for fd, _, files in batch.folders], batch.size)
        finally:
            batch.close()

    def _complete(self, batch: _Batch, odd: dict[int, Odd]) -> None:
        """All files of a batch were read: they become rows as soon as their chunks are durable."""
        group, ids, at = batch.group, batch.chunk_ids, 0
        self._tally.files += len(batch.rows)
        if not odd and len(ids) == len(batch.rows):
            group.plain = [(*row, chunk_id) for row, chunk_id in zip(batch.rows, ids, strict=True)]
            self._tally.bytes += batch.size
        else:
            for position, row in enumerate(batch.rows):
                one = odd.get(position)
                if one is not None:
                    at += one.dropped
                    self._complete_odd(batch, position, one, ids[at : at + one.chunks])
                    at += one.chunks
                    continue
                group.plain.append((*row, ids[at] if row[2] else None))
                self._tally.bytes += row[2]
                at += 1 if row[2] else 0
        group.replaces = [old for old in batch.olds if old is not None]
        self._recorder.put_group(group)

    def _complete_odd(self, batch: _Batch, position: int, odd: Odd, chunk_ids: list[int]) -> None:
        listed = batch.rows[position]
        directory_id, name = listed[:2]
        if odd.problem is not None:
            self._tally.files -= 1
            self._note(Problem(batch.path(position), odd.problem.kind, odd.problem.detail))
            return
        assert odd.found is not None
        if not odd.held_still:
            detail = f"changed while it was read, {TRIES} times"
            self._note(Problem(batch.path(position), ProblemKind.CHANGED, detail))
        row = self._row((directory_id, name), Kind.FILE, odd.found, odd.size, batch.now)
        if self._access_times and row.inode == listed[_INODE]:
            row = row._replace(atime=listed[_ATIME])  # it was looked at before it was read
        row = row._replace(
            changed=None if odd.held_still else 1,
            flags=odd.flags or None,
            btime=odd.birth,
            holes=encode_holes(odd.holes) if odd.holes else None,
        )
        batch.group.others.append((row, array.array("q", chunk_ids), odd.xattrs))
        self._tally.bytes += odd.size

    def _take_moved(self, folder: Folder, directory_id: int, file: Found) -> bool:
        """Record a file that is another name of a known one, or was moved, without reading it; False where it is not."""
        name, found, old = file
        if old is not None or not found.st_size:
            return False
        row_id = self._moved_from(found)
        if row_id is None:
            return False
        index = self._recorder.index
        place = Place(folder, directory_id, name, found, Kind.FILE)
        flags, birth, holes = marks_of(index, row_id)  # a change of them would be another ctime
        row = self._row_of(place, found.st_size)._replace(flags=flags, btime=birth, holes=holes)
        try:
            self._put(row, None, chunks_of(index, row_id), self._xattrs_at(place))
        except SourceError as error:
            self._note(to_problem(place.path, error))
        return True

    def _moved_from(self, found: os.stat_result) -> int | None:
        """The row of the path that this one was before it was moved (or is another link to)."""
        recorder = self._recorder
        row_id = find_moved(
            recorder.index,
            recorder.run.source_id,
            storable_number(found.st_ino),
            storable_number(found.st_dev),
            found.st_size,
            storable_time(found.st_mtime_ns),
            storable_time(found.st_ctime_ns),
        )
        return row_id if row_id is not None and recorder.is_reusable(row_id) else None

    def _take_other(self, place: Place, old: LiveFile | None) -> None:
        found, target = place.stat, None
        if place.kind == Kind.SYMLINK:
            target = read_link(place.folder.fd, place.name)
        is_device = place.kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)
        row = self._row_of(place, 0)._replace(
            link_target=target,
            rdev=found.st_rdev if is_device else None,
            flags=self._flags_at(place) or None,
            btime=None if self._statx is None else self._statx.birth_at(place.folder.fd, place.name or b"."),
        )
        self._put(row, old, array.array("q"), self._xattrs_at(place))

    def _flags_at(self, place: Place) -> int:
        """The flags of a directory: what is neither that nor a regular file has none."""
        if place.kind != Kind.DIRECTORY or place.folder.fd < 0:
            return 0
        return self._flags.read_at(place.folder.fd, place.name or b".", place.stat.st_dev)

    def _xattrs_at(self, place: Place) -> tuple[Xattr, ...]:
        if place.folder.fd < 0:
            return ()
        try:
            return read_xattrs_at(place.folder.fd, place.name or b".")
        except (VanishedError, ReplacedError):
            if place.kind == Kind.DIRECTORY:
                return ()  # it has a row of `directories` already, and needs one of `files`; the walk tells that it is gone
            raise
        except SourceError as error:
            self._note(Problem(place.path, ProblemKind.UNREADABLE, f"extended attributes: {error.message}"))
            return ()

    def _put(self, row: FileRow, old: LiveFile | None, chunk_ids: array.array[int], xattrs: Iterable[Xattr]) -> None:
        self._tally.files += 1
        self._tally.bytes += row.size
        self._recorder.put_file(row, chunk_ids, tuple(xattrs), old.id if old is not None else None)

    def _row_of(self, place: Place, size: int) -> FileRow:
        return self._row((place.directory_id, place.name), place.kind, place.stat, size, self._clock())

    def _row(self, where: tuple[int, bytes], kind: Kind, found: os.stat_result, size: int, now: int) -> FileRow:
        row = file_row(where, kind, found, size, self._owners.id_of(found.st_uid, found.st_gid), now)
        return row._replace(atime=storable_time(found.st_atime_ns)) if self._access_times else row

    def _record(self, stored: StoredBlob) -> None:
        sealed = stored.sealed
        now_ms = stored.uploaded_at // 1_000_000
        blob = NewBlob(
            uuid7(now_ms, self._random(10)),
            self._key_id,
            sealed.hash,
            sealed.raw_size,
            sealed.size,
            stored.uploaded_at,
            stored.upload_time,
        )
        self._recorder.put_blob(blob, sealed.hashes, sealed.offsets, sealed.sizes)
        self.taken.new_bytes += sealed.raw_size
        self.taken.stored_bytes += sealed.size
        self.taken.blobs += 1
        self._keep_alive()

    def _note(self, problem: Problem) -> None:
        self._tally.problems.append(problem)
        self._on_event(ProblemMet(problem))
