"""Writing restored files: each under a temporary name until it is whole, then with its metadata into its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vaultpy.errors import DamageError, SourceError, TargetError, TargetFull, VaultpyError
from vaultpy.index.at import FileAt, Moment, PieceAt, xattrs_at
from vaultpy.model import Kind
from vaultpy.ops.choose import Tree
from vaultpy.source.apply import (
    ApplyOptions,
    FileMetadata,
    NotApplied,
    apply_metadata,
    apply_metadata_at,
)
from vaultpy.source.attrs import OwnerNames
from vaultpy.source.target import TargetTree, write_at


@dataclass(slots=True)
class _Unfinished:
    """A file of several chunks, between its first and its last."""

    temporary: bytes
    left: int


class Writer:
    """Writes one restore.  What cannot be written is noted in `failed`, by path, and the rest goes on; only a full disk
    (TargetFull) ends it."""

    def __init__(self, moment: Moment, directories: Tree, target: TargetTree, options: ApplyOptions) -> None:
        self.files = 0
        self.bytes = 0
        self.failed: list[tuple[bytes, str]] = []
        self.missed: list[NotApplied] = []
        self._moment, self._directories, self._target, self._options = moment, directories, target, options
        self._names = OwnerNames()
        self._counts: Mapping[int, int] = {}
        self._unfinished: dict[int, _Unfinished] = {}
        self._lost: set[int] = set()
        # Leaders of hard-link groups: what they were when this run made them.
        self._made: dict[int, tuple[int, bytes, os.stat_result]] = {}

    def expect(self, counts: Mapping[int, int]) -> None:
        """How many pieces each file of more than one has."""
        self._counts = counts

    def make_directory(self, row: FileAt) -> None:
        """The directory, for us alone until `finish_directory`."""
        try:
            self._target.open_dir(self._parts(row))
        except (TargetError, DamageError) as error:
            self._fail(row, error)

    def finish_directory(self, row: FileAt) -> None:
        """Give a directory its metadata, when nothing will be put into it any more."""
        if row.id in self._lost:
            return
        try:
            fd = self._target.open_dir(self._parts(row), create=False)
            self.missed += apply_metadata(fd, self._metadata(row), self._options, self._names)
            self.files += 1
        except (TargetError, DamageError) as error:
            self._fail(row, error)

    def write_piece(self, piece: PieceAt, data: bytes | DamageError) -> None:
        """Write a chunk where it belongs; with the last one the file takes its place."""
        row = piece.file
        if row.id in self._lost:
            return
        try:
            if isinstance(data, DamageError):
                raise data
            count = self._counts.get(row.id, 1)
            if count == 1:
                self._write_whole(row, data)
            else:
                self._write_part(row, data, piece.file_offset, count)
        except (TargetError, DamageError) as error:
            self._drop(row)
            self._fail(row, error)

    def write_empty(self, row: FileAt) -> None:
        """A regular file without content."""
        try:
            self._write_whole(row, b"")
        except (TargetError, DamageError) as error:
            self._fail(row, error)

    def make_special(self, row: FileAt) -> None:
        """A symbolic link, FIFO or device; a device gives access to hardware, so it is made only when asked for."""
        if row.kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE) and not self._options.privileges:
            self._lost.add(row.id)
            self.missed.append(NotApplied.PRIVILEGE)
            return
        try:
            dir_fd = self._folder(row)
            if row.kind == Kind.SYMLINK:
                temporary = self._target.create_symlink(dir_fd, row.link_target or b"")
            else:
                temporary = self._target.create_node(dir_fd, Kind(row.kind), row.rdev or 0)
            self.missed += apply_metadata_at(dir_fd, temporary, self._metadata(row), self._options, self._names)
            self._commit(row, dir_fd, temporary)
        except (TargetError, DamageError, SourceError) as error:
            self._fail(row, error)

    def make_link(self, row: FileAt) -> None:
        """Another name of a file that this run has made."""
        made = self._made.get(row.leader)
        if made is None and row.kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE) and not self._options.privileges:
            return  # its leader was not asked for
        if made is None:
            self.failed.append((self._path(row), "the file that it is another name of did not come back"))
            return
        directory_id, name, status = made
        try:
            source_fd = os.dup(self._target.open_dir(self._directories.parts(directory_id)))
            try:
                dir_fd = self._folder(row)
                self._target.link(dir_fd, row.name, source_fd, name, status)
            finally:
                os.close(source_fd)
            self.files += 1
        except (TargetError, DamageError) as error:
            self._fail(row, error)

    def _write_whole(self, row: FileAt, data: bytes) -> None:
        dir_fd = self._folder(row)
        fd, temporary = self._target.create_file(dir_fd)
        try:
            write_at(fd, data, 0)
            self.missed += apply_metadata(fd, self._metadata(row), self._options, self._names)
        except BaseException:
            self._target.discard(dir_fd, temporary)
            raise
        finally:
            os.close(fd)
        self._commit(row, dir_fd, temporary)
        self.bytes += len(data)

    def _write_part(self, row: FileAt, data: bytes, offset: int, count: int) -> None:
        dir_fd = self._folder(row)
        unfinished = self._unfinished.get(row.id)
        if unfinished is None:
            fd, temporary = self._target.create_file(dir_fd)
            unfinished = self._unfinished[row.id] = _Unfinished(temporary, count)
        else:
            fd = self._target.reopen_file(dir_fd, unfinished.temporary)
        try:
            write_at(fd, data, offset)
            self.bytes += len(data)
            unfinished.left -= 1
            if unfinished.left:
                return
            self.missed += apply_metadata(fd, self._metadata(row), self._options, self._names)
        finally:
            os.close(fd)
        del self._unfinished[row.id]
        self._commit(row, dir_fd, unfinished.temporary)

    def _commit(self, row: FileAt, dir_fd: int, temporary: bytes) -> None:
        if row.nlink > 1:
            self._made[row.id] = (row.directory_id, row.name, os.stat(temporary, dir_fd=dir_fd, follow_symlinks=False))
        try:
            self._target.commit(dir_fd, temporary, row.name)
        except BaseException:
            self._made.pop(row.id, None)
            self._target.discard(dir_fd, temporary)
            raise
        self.files += 1

    def _drop(self, row: FileAt) -> None:
        unfinished = self._unfinished.pop(row.id, None)
        if unfinished is not None:
            self._target.discard(self._folder(row), unfinished.temporary)

    def _fail(self, row: FileAt, error: VaultpyError) -> None:
        if isinstance(error, TargetFull):
            raise error
        self._lost.add(row.id)
        self.failed.append((self._path(row), error.message))

    def _folder(self, row: FileAt) -> int:
        return self._target.open_dir(self._directories.parts(row.directory_id))

    def _parts(self, row: FileAt) -> tuple[bytes, ...]:
        parts = self._directories.parts(row.directory_id)
        return (*parts, row.name) if row.name else parts

    def _path(self, row: FileAt) -> bytes:
        return self._directories.path(row.directory_id, row.name)

    def _metadata(self, row: FileAt) -> FileMetadata:
        return FileMetadata(
            mode=row.mode,
            uid=row.uid,
            gid=row.gid,
            mtime=row.mtime,
            user=row.user,
            group=row.group,
            xattrs=xattrs_at(self._moment, row.id) if row.has_xattrs else (),
        )
