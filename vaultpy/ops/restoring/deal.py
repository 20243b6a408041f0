"""Dealing out what a restore has to write: from the index's rows to shares, and back from outcomes to files.

A file of one chunk is a writer's whole business.  One of several is begun here, under a temporary name; writers put its
chunks into it, in whatever order the blobs have them, and when all are in, it gets its metadata and its name here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vaultpy.chunker import hash_chunk
from vaultpy.errors import DamageError, TargetError
from vaultpy.index.at import FileAt, Moment, xattrs_at
from vaultpy.index.needed import (
    NeededBlob,
    chunks_of,
    drop_piece,
    file_of,
    leave_out,
    needed_blobs,
    piece_count,
    pieces_in,
)
from vaultpy.ops.restoring.share import BegunFile, OddFile, Outcome, Row, Share
from vaultpy.ops.restoring.tally import Tally
from vaultpy.source.apply import FileMetadata, OwnerPolicy
from vaultpy.source.attrs import OwnerNames, Xattr
from vaultpy.source.place import Owner, Placer
from vaultpy.source.target import TEMPORARY, Identity, TargetTree, check_name, identity, set_size
from vaultpy.store.names import blob_name

ROWS = 4096
RAW_BYTES = 32 * 1024 * 1024
"""Rows, and bytes of their chunks, in a share.  What is cut in the middle of a frame has that opened twice, so few are."""

_SIZE, _FILE, _DIRECTORY, _OWNER, _ODD, _PART = 1, 3, 4, 8, 9, 10


@dataclass(slots=True)
class _Begun:
    row: FileAt
    temporary: bytes
    made: Identity
    left: int


class Dealer:
    """Makes the shares of one restore, and takes their outcomes."""

    def __init__(
        self, moment: Moment, tally: Tally, target: TargetTree, owners: Mapping[int, Owner | None], placer: Placer
    ) -> None:
        self.linked: dict[int, Identity] = {}
        """Which files those are by now that others are to be made second names of."""
        self._moment, self._tally, self._target = moment, tally, target
        self._owners, self._placer = owners, placer
        self._begun: dict[int, _Begun] = {}

    def shares(self) -> Iterator[Share]:
        """Everything with content that is wanted, by the blobs that hold it."""
        for blob in needed_blobs(self._moment):
            for rows, more in _portions(pieces_in(self._moment, blob)):
                yield self._share(blob, rows, more)

    def take(self, outcome: Outcome) -> None:
        """Note what became of a share, and finish the files of which this was the last chunk."""
        tally = self._tally
        tally.files += outcome.files
        tally.size += outcome.bytes
        tally.missed.update(outcome.missed)
        self.linked.update(outcome.made)
        for file_id, why in outcome.failed:
            self._drop(file_id)
            tally.fail_id(file_id, why)
        for file_id in outcome.parts:
            begun = self._begun.get(file_id)
            if begun is not None:
                begun.left -= 1
                if not begun.left:
                    self._finish(self._begun.pop(file_id))

    def count(self, row: FileAt) -> int:
        """How many chunks a large file has."""
        return piece_count(self._moment, row.id)

    def adopt(self, row: FileAt, temporary: bytes, made: Identity, present: int) -> None:
        """Begin a large file with what lies under a temporary name; so many of its chunks are in it."""
        begun = self._begun[row.id] = _Begun(row, temporary, made, self.count(row) - present)
        if not begun.left:
            self._finish(self._begun.pop(row.id))

    def keep(self, row: FileAt, fd: int) -> None:
        """A large file's content is there under its own name, in this open file: it only needs its metadata."""
        leave_out(self._moment, [row.id])
        for chunk in chunks_of(self._moment, row.id):
            drop_piece(self._moment, row.id, chunk)
        self._give(row, fd)
        self._tally.files += 1
        if row.nlink > 1:
            self.linked[row.id] = identity(os.fstat(fd))

    def _give(self, row: FileAt, fd: int) -> None:
        owner = self._owners[row.owner_id]
        metadata = FileMetadata(row.mode, *(owner or (-1, -1)), row.mtime, atime=row.atime, xattrs=self._xattrs(row))
        self._tally.missed.update(self._placer.give(fd, metadata, owner))

    def _share(self, blob: NeededBlob, rows: list[Row], more: bool) -> Share:
        odd: dict[int, tuple[Any, ...]] = {}
        begun: dict[int, tuple[Any, ...]] = {}
        unusual = [row for row in rows if row[_ODD] or row[_PART] is not None]
        for row in unusual:
            if row[_PART] is None:
                odd[row[_FILE]] = tuple(self._describe(row[_FILE]))
            elif (file := self._begin(row[_FILE])) is not None:
                begun[row[_FILE]] = tuple(file)
        if unusual:
            rows = [row for row in rows if row[_PART] is None or row[_FILE] in begun]
        folders = {id: b"/".join(self._tally.directories.parts(id)) for id in {row[_DIRECTORY] for row in rows}}
        owners = {id: self._owners[id] for id in {row[_OWNER] for row in rows}}
        return Share(blob_name(blob.hash), blob.stored_size, more, rows, folders, owners, odd, begun)

    def _describe(self, file_id: int) -> OddFile:
        row = file_of(self._moment, file_id)
        return OddFile(row.size, self._xattrs(row), row.holes, row.nlink > 1, row.atime)

    def _xattrs(self, row: FileAt) -> tuple[Xattr, ...]:
        return xattrs_at(self._moment, row.id) if row.has_xattrs else ()

    def _begin(self, file_id: int) -> BegunFile | None:
        """The large file with this id, begun if it was not; None if it is lost."""
        begun = self._begun.get(file_id)
        if begun is None and file_id not in self._tally.lost:
            row = file_of(self._moment, file_id)
            try:
                begun = self._begun[file_id] = self._create(row)
            except (TargetError, DamageError) as error:
                self._tally.fail(row, error)
        return None if begun is None else BegunFile(begun.temporary, begun.made, begun.row.holes)

    def _create(self, row: FileAt) -> _Begun:
        check_name(row.name)
        fd, temporary = self._target.create_file(self._folder(row), partial_name(row))
        try:
            return _Begun(row, temporary, identity(os.fstat(fd)), self.count(row))
        finally:
            os.close(fd)

    def _finish(self, begun: _Begun) -> None:
        row = begun.row
        try:
            dir_fd = self._folder(row)
            fd = self._target.reopen_file(dir_fd, begun.temporary, begun.made)
            try:
                set_size(fd, row.size)
                self._give(row, fd)
            finally:
                os.close(fd)
            self._target.commit(dir_fd, begun.temporary, row.name)
            self._tally.files += 1
            if row.nlink > 1:
                self.linked[row.id] = begun.made
        except (TargetError, DamageError) as error:
            self._discard(begun)
            self._tally.fail(row, error)

    def _drop(self, file_id: int) -> None:
        begun = self._begun.pop(file_id, None)
        if begun is not None:
            self._discard(begun)

    def _discard(self, begun: _Begun) -> None:
        with contextlib.suppress(TargetError):
            self._target.discard(self._folder(begun.row), begun.temporary)

    def _folder(self, row: FileAt) -> int:
        return self._target.open_dir(self._tally.directories.parts(row.directory_id))


def _portions(rows: Iterator[Row]) -> Iterator[tuple[list[Row], bool]]:
    """The rows in lists of at most ROWS, and of few more than RAW_BYTES, each with whether more follow."""
    portion: list[Row] = []
    size = 0
    for row in rows:
        if size >= RAW_BYTES or len(portion) >= ROWS:
            yield portion, True
            portion, size = [], 0
        portion.append(row)
        size += row[_SIZE]
    if portion:
        yield portion, False


def partial_name(row: FileAt) -> bytes:
    """The temporary name of a large file: the same in the next restore of the same file, which then goes on with it."""
    what = b"%b\0%d %d" % (row.name, row.size, row.mtime)
    return TEMPORARY + hash_chunk(what)[:8].hex().encode() + b".part"


def resolve_owners(
    known: Mapping[int, tuple[int, int, bytes | None, bytes | None]], policy: OwnerPolicy, names: OwnerNames
) -> dict[int, Owner | None]:
    """Whose files shall be that belonged to these owners; None: ours."""
    if policy is OwnerPolicy.NONE:
        return dict.fromkeys(known)
    if policy is OwnerPolicy.NUMBER:
        return {id: (uid, gid) for id, (uid, gid, _, _) in known.items()}
    return {
        id: (_named(user, names.user_id, uid), _named(group, names.group_id, gid))
        for id, (uid, gid, user, group) in known.items()
    }


def _named(name: bytes | None, find: Callable[[bytes], int | None], number: int) -> int:
    found = find(name) if name else None
    return number if found is None else found
