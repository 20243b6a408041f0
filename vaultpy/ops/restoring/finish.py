"""The end of a restore: what has no content, then second names (only of what this run made), then folders' metadata."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from vaultpy.errors import DamageError, SourceError, TargetError
from vaultpy.index.at import FileAt, Moment, xattrs_at
from vaultpy.index.needed import file_of, flagged, folders_deepest_first, nodes, second_names
from vaultpy.model import Kind
from vaultpy.ops.restoring.tally import Tally
from vaultpy.source.apply import (
    ApplyOptions,
    FileMetadata,
    NotApplied,
    OwnerPolicy,
    apply_flags,
    apply_metadata,
    apply_metadata_at,
)
from vaultpy.source.attrs import OwnerNames
from vaultpy.source.place import Owner, Placer
from vaultpy.source.target import Identity, TargetTree, check_name, identity, translate

DEVICES = (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)


class Finisher:
    """Makes what is left when all content is written."""

    def __init__(
        self,
        moment: Moment,
        tally: Tally,
        target: TargetTree,
        owners: Mapping[int, Owner | None],
        options: ApplyOptions,
    ) -> None:
        self._moment, self._tally, self._target = moment, tally, target
        self._owners, self._options = owners, options
        self._names = OwnerNames()
        self._placer = Placer(options)
        self._as_ours = replace(options, owner=OwnerPolicy.NONE)
        self._as_numbers = replace(options, owner=OwnerPolicy.NUMBER)

    def finish(self, linked: dict[int, Identity], tidy: Callable[[FileAt], None] | None = None) -> None:
        """Make it; `linked` are the leaders of hard-link groups by their ids, as this run made them; `tidy` is called with
        each folder before it gets its metadata."""
        for row in nodes(self._moment):
            self._make_node(row, linked)
        for row in second_names(self._moment):
            self._make_link(row, linked)
        for row in folders_deepest_first(self._moment, self._tally.directories.depth):
            if tidy is not None:
                tidy(row)
            self._finish_folder(row)
        for row in flagged(self._moment):
            self._give_flags(row)

    def _make_node(self, row: FileAt, linked: dict[int, Identity]) -> None:
        """An empty file, symbolic link, FIFO or device; a device gives access to hardware, so it is made only when asked
        for."""
        if row.kind in DEVICES and not self._options.privileges:
            self._tally.lost.add(row.id)
            self._tally.missed[NotApplied.PRIVILEGE] += 1
            return
        try:
            dir_fd = self._folder(row)
            if row.kind == Kind.FILE:
                missed, made = self._placer.place_odd(
                    dir_fd, row.name, [], row.size, self._metadata(row), self._owners[row.owner_id]
                )
                self._tally.missed.update(missed)
            else:
                made = self._place_node(dir_fd, row)
            self._tally.files += 1
            if row.nlink > 1:
                linked[row.id] = made
        except (TargetError, DamageError, SourceError) as error:
            self._tally.fail(row, error)
        except OSError as error:
            self._tally.fail(row, translate(error))

    def _place_node(self, dir_fd: int, row: FileAt) -> Identity:
        if row.kind == Kind.SYMLINK:
            temporary = self._target.create_symlink(dir_fd, row.link_target or b"")
        else:
            temporary = self._target.create_node(dir_fd, Kind(row.kind), row.rdev or 0)
        try:
            options = self._options_for(row)
            missed = apply_metadata_at(dir_fd, temporary, self._metadata(row), options, self._names)
            made = identity(os.stat(temporary, dir_fd=dir_fd, follow_symlinks=False))
            self._target.commit(dir_fd, temporary, row.name)
        except BaseException:
            self._target.discard(dir_fd, temporary)
            raise
        self._tally.missed.update(missed)
        return made

    def _make_link(self, row: FileAt, linked: Mapping[int, Identity]) -> None:
        """Another name of a file that this run has made."""
        made = linked.get(row.leader)
        if made is None and row.kind in DEVICES and not self._options.privileges:
            return  # its leader was not asked for
        if made is None:
            self._tally.fail(row, "the file that it is another name of did not come back")
            return
        leader = file_of(self._moment, row.leader)
        try:
            source_fd = os.dup(self._folder(leader))
            try:
                self._target.link(self._folder(row), row.name, source_fd, leader.name, made)
            finally:
                os.close(source_fd)
            self._tally.files += 1
        except (TargetError, DamageError) as error:
            self._tally.fail(row, error)

    def _finish_folder(self, row: FileAt) -> None:
        """Make a folder, if nothing was put into it, and give it its metadata: nothing will be any more."""
        try:
            parts = self._tally.directories.parts(row.directory_id)
            fd = self._target.open_dir((*parts, row.name) if row.name else parts)
            self._tally.missed.update(apply_metadata(fd, self._metadata(row), self._options_for(row), self._names))
            self._tally.files += 1
        except (TargetError, DamageError) as error:
            self._tally.fail(row, error)
        except OSError as error:
            self._tally.fail(row, translate(error))

    def _give_flags(self, row: FileAt) -> None:
        """Last of all: what is immutable takes no time, name or second name any more."""
        if row.id in self._tally.lost or row.kind not in (Kind.FILE, Kind.DIRECTORY) or not row.flags:
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            if row.name:
                check_name(row.name)
            fd = os.open(row.name or b".", flags, dir_fd=self._folder(row))
        except (OSError, TargetError, DamageError):
            self._tally.missed[NotApplied.FLAGS] += 1
            return
        try:
            # Nobody's file but the one that was restored: by its time, and by having no names that it should not have.
            found = os.fstat(fd)
            ours = found.st_mtime_ns == row.mtime and (row.nlink > 1 or found.st_nlink == 1)
            self._tally.missed.update(apply_flags(fd, row.flags) if ours else [NotApplied.FLAGS])
        finally:
            os.close(fd)

    def _folder(self, row: FileAt) -> int:
        return self._target.open_dir(self._tally.directories.parts(row.directory_id))

    def _metadata(self, row: FileAt) -> FileMetadata:
        xattrs = xattrs_at(self._moment, row.id) if row.has_xattrs else ()
        owner = self._owners[row.owner_id] or (-1, -1)
        return FileMetadata(row.mode, *owner, row.mtime, atime=row.atime, xattrs=xattrs)

    def _options_for(self, row: FileAt) -> ApplyOptions:
        # Names were looked up once for all: what is given here are numbers.
        return self._as_ours if self._owners[row.owner_id] is None else self._as_numbers
