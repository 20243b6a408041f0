"""Taking what changed: read → chunk → hash → known? → pack, and the row that waits until its chunks are durable."""

from __future__ import annotations

import array
import os
from collections.abc import Callable
from dataclasses import dataclass

from vaultpy.chunker import hash_chunk
from vaultpy.errors import ReplacedError, SourceError, VanishedError
from vaultpy.events import OnEvent, ProblemMet, StepAdvanced
from vaultpy.index.live import LiveFile, Owners, chunks_of, find_moved
from vaultpy.index.record import FileRow, NewBlob, Recorder, storable_number, storable_time
from vaultpy.model import KeyId, Kind, Problem, ProblemKind, uuid7
from vaultpy.ops.compare import Place, Tally
from vaultpy.ops.pack import Packer, StoredBlob
from vaultpy.source.attrs import Xattr, read_xattrs, read_xattrs_at
from vaultpy.source.failures import to_problem
from vaultpy.source.read import open_regular, read_file, read_link, same

TRIES = 3
"""How often a file is read that changes meanwhile; then the last reading is kept and marked."""

RACY_NS = 2_000_000_000
"""A file read this soon after its ctime may change again within the same tick of the file system's clock."""

REPORT_NS = 250_000_000

HARVEST_MASK = 255
"""Every so many paths the durable blobs are recorded."""


@dataclass(slots=True)
class Taken:
    """What a run stored so far: chunks' raw bytes that were not known, and the bytes of the objects put."""

    new_bytes: int = 0
    stored_bytes: int = 0
    blobs: int = 0


class Taker:
    """The sink of a real run: everything that changed is read, packed and recorded."""

    def __init__(
        self,
        recorder: Recorder,
        packer: Packer,
        owners: Owners,
        tally: Tally,
        *,
        key_id: KeyId,
        has_history: bool,
        random: Callable[[int], bytes],
        clock: Callable[[], int],
        on_event: OnEvent,
        keep_alive: Callable[[], None],
    ) -> None:
        self.taken = Taken()
        self._recorder, self._packer, self._owners, self._tally = recorder, packer, owners, tally
        self._key_id, self._has_history = key_id, has_history
        self._random, self._clock, self._on_event, self._keep_alive = random, clock, on_event, keep_alive
        self._last_report = 0
        self._count = 0

    def put_directory(self, parent_id: int | None, name: bytes) -> int:
        return self._recorder.put_directory(parent_id, name)

    def close_file(self, row_id: int) -> None:
        self._recorder.close_file(row_id)

    def close_directory(self, row_id: int) -> None:
        self._recorder.close_directory(row_id)

    def changed(self, place: Place, old: LiveFile | None) -> None:
        """Store the path as it is now; one that cannot be read leaves a problem, and its old row ends."""
        self._count += 1
        if not self._count & HARVEST_MASK:
            self.folder_done()  # a folder can hold a million files
        try:
            if place.kind == Kind.FILE:
                self._take_file(place, old)
            else:
                self._take_other(place, old)
        except SourceError as error:
            self._note(to_problem(place.path, error))
            if old is not None:
                self._recorder.close_file(old.id)

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
        for stored in self._packer.finished():
            self._record(stored)

    def finish(self) -> None:
        """Wait until everything taken is durable, and record it."""
        for stored in self._packer.finish():
            self._record(stored)
        self._recorder.flush()

    def _take_file(self, place: Place, old: LiveFile | None) -> None:
        found = place.stat
        moved = self._moved_from(place) if old is None and self._has_history and found.st_size else None
        if moved is not None:
            chunk_ids, xattrs = moved, self._xattrs_at(place)
            self._put(place, old, found, found.st_size, chunk_ids, xattrs=xattrs)
            return
        fd = open_regular(place.folder.fd, place.name, found)
        try:
            size, chunk_ids, found, held_still = self._read(fd, found)
            xattrs = read_xattrs(fd)
        finally:
            os.close(fd)
        if not held_still:
            self._note(Problem(place.path, ProblemKind.CHANGED, f"changed while it was read, {TRIES} times"))
        self._put(place, old, found, size, chunk_ids, xattrs=xattrs, changed=None if held_still else 1)

    def _read(self, fd: int, listed: os.stat_result) -> tuple[int, array.array[int], os.stat_result, bool]:
        """Read a file until it holds still: bytes read, its chunks, what it was then, and whether it did hold still."""
        after = listed
        for _ in range(TRIES):
            before = after
            size, chunk_ids = self._store_chunks(fd, before.st_size)
            after = os.fstat(fd)
            if same(before, after) and size == after.st_size:
                return size, chunk_ids, after, True
        return size, chunk_ids, after, False

    def _store_chunks(self, fd: int, expected_size: int) -> tuple[int, array.array[int]]:
        recorder, packer, taken = self._recorder, self._packer, self.taken
        size, chunk_ids = 0, array.array("q")
        for data in read_file(fd, expected_size):
            hash = hash_chunk(data)
            chunk_id, is_new = recorder.place_chunk(hash)
            if is_new:
                packer.add(hash, data)
                taken.new_bytes += len(data)
            chunk_ids.append(chunk_id)
            size += len(data)
            if len(chunk_ids) & 15 == 15:
                self.harvest()
        return size, chunk_ids

    def _moved_from(self, place: Place) -> array.array[int] | None:
        """The content of the path that this one was before it was moved (or is another link to)."""
        found, recorder = place.stat, self._recorder
        row_id = find_moved(
            recorder.index,
            recorder.run.source_id,
            storable_number(found.st_ino),
            storable_number(found.st_dev),
            found.st_size,
            storable_time(found.st_mtime_ns),
            storable_time(found.st_ctime_ns),
        )
        if row_id is None or not recorder.is_reusable(row_id):
            return None
        return chunks_of(recorder.index, row_id)

    def _take_other(self, place: Place, old: LiveFile | None) -> None:
        found, target = place.stat, None
        if place.kind == Kind.SYMLINK:
            target = read_link(place.folder.fd, place.name)
        is_device = place.kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)
        rdev = found.st_rdev if is_device else None
        self._put(place, old, found, 0, array.array("q"), xattrs=self._xattrs_at(place), link_target=target, rdev=rdev)

    def _xattrs_at(self, place: Place) -> tuple[Xattr, ...]:
        if place.folder.fd < 0:
            return ()
        try:
            return read_xattrs_at(place.folder.fd, place.name or b".")
        except (VanishedError, ReplacedError):
            raise
        except SourceError as error:
            self._note(Problem(place.path, ProblemKind.UNREADABLE, f"extended attributes: {error.message}"))
            return ()

    def _put(
        self,
        place: Place,
        old: LiveFile | None,
        found: os.stat_result,
        size: int,
        chunk_ids: array.array[int],
        *,
        xattrs: tuple[Xattr, ...],
        link_target: bytes | None = None,
        rdev: int | None = None,
        changed: int | None = None,
    ) -> None:
        racy = self._clock() - found.st_ctime_ns < RACY_NS
        row = FileRow(
            place.directory_id,
            place.name,
            place.kind,
            size,
            storable_time(found.st_mtime_ns),
            None if racy else storable_time(found.st_ctime_ns),
            storable_number(found.st_ino),
            storable_number(found.st_dev),
            found.st_nlink,
            found.st_mode & 0o7777,
            self._owners.id_of(found.st_uid, found.st_gid),
            None,
            link_target,
            rdev,
            None,
            None,
            None,
            changed,
        )
        self._tally.files += 1
        self._tally.bytes += size
        self._recorder.put_file(row, chunk_ids, xattrs, old.id if old is not None else None)

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
        self.taken.stored_bytes += sealed.size
        self.taken.blobs += 1
        self._keep_alive()

    def _note(self, problem: Problem) -> None:
        self._tally.problems.append(problem)
        self._on_event(ProblemMet(problem))
