"""Writing what was fetched: each file whole under a temporary name, then with its metadata into its place."""

from __future__ import annotations

import os

from vaultpy.errors import DamageError, TargetError, TargetFull
from vaultpy.ops.restoring.fetch import Fetcher
from vaultpy.ops.restoring.share import BegunFile, OddFile, Outcome, Row, Share
from vaultpy.source.apply import ApplyOptions, FileMetadata
from vaultpy.source.place import PERMISSIONS, Folder, Owner, Placer
from vaultpy.source.sparse import Segment, leave_zeros, spread
from vaultpy.source.target import TargetTree, write_at

FOLDERS_KNOWN = 4096
"""Folders of which is remembered what their new files are like."""

NOBODY = 0xFFFFFFFF


class Writer:
    """Writes shares.  For one thread."""

    def __init__(self, fetcher: Fetcher, target: TargetTree, options: ApplyOptions) -> None:
        self._fetcher, self._target = fetcher, target
        self._placer = Placer(options)
        self._sparse = options.sparse
        self._folders: dict[bytes, Folder] = {}

    def write(self, share: Share) -> Outcome:
        """Fetch and write.  What cannot be had or written is told by the outcome; only a full disk (TargetFull) and a store
        that fails (StoreError) end it."""
        outcome = Outcome(0, 0, [], [], [], [])
        files = size = 0
        at: int | None = None
        dir_fd, folder = -1, Folder()
        place, easy = self._placer.place, _easy_owners(share)
        for row, data in self._fetcher.fetch(share.blob, share.blob_size, share.rows, more=share.more):
            _, length, _, file_id, directory_id, name, mode, mtime, owner_id, odd, offset = row
            try:
                if isinstance(data, DamageError):
                    raise data
                if directory_id != at:
                    at = None
                    dir_fd, folder = self._enter(share.folders[directory_id])
                    at = directory_id
                if offset is not None:
                    self._write_part(dir_fd, data, offset, BegunFile._make(share.begun[file_id]))
                    outcome.parts.append(file_id)
                else:
                    if odd or mode > PERMISSIONS or owner_id not in easy or self._sparse:
                        self._write_odd(dir_fd, row, data, share, outcome)
                    elif missed := place(dir_fd, folder, name, data, mode, mtime, easy[owner_id]):
                        outcome.missed.extend(missed)
                    files += 1
                size += length
            except (TargetError, DamageError) as error:
                if isinstance(error, TargetFull):
                    raise
                outcome.failed.append((file_id, error.message))
        return outcome._replace(files=files, bytes=size)

    def _enter(self, path: bytes) -> tuple[int, Folder]:
        dir_fd = self._target.open_dir(path.split(b"/") if path else ())
        folder = self._folders.get(path)
        if folder is None:
            if len(self._folders) >= FOLDERS_KNOWN:
                self._folders.clear()
            folder = self._folders[path] = Folder()
        return dir_fd, folder

    def _write_odd(self, dir_fd: int, row: Row, data: memoryview, share: Share, outcome: Outcome) -> None:
        _, _, _, file_id, _, name, mode, mtime, owner_id, _, _ = row
        owner = share.owners[owner_id]
        found = share.odd.get(file_id)
        odd = OddFile._make(found) if found else OddFile(len(data), (), None, False)
        metadata = FileMetadata(mode, *(owner or (-1, -1)), mtime, atime=odd.atime, xattrs=odd.xattrs)
        segments = self._segments(odd.holes, 0, data)
        missed, made = self._placer.place_odd(dir_fd, name, segments, odd.size, metadata, owner)
        outcome.missed.extend(missed)
        if odd.linked:
            outcome.made.append((file_id, made))

    def _write_part(self, dir_fd: int, data: memoryview, offset: int, begun: BegunFile) -> None:
        fd = self._target.reopen_file(dir_fd, begun.temporary, begun.made)
        try:
            for at, part in self._segments(begun.holes, offset, data):
                write_at(fd, part, at)
        finally:
            os.close(fd)

    def _segments(self, holes: bytes | None, offset: int, data: memoryview) -> list[Segment]:
        segments = spread(holes, offset, data)
        return leave_zeros(segments) if self._sparse else segments


def _easy_owners(share: Share) -> dict[int, Owner | None]:
    """Owners that need no second thought: -1 would mean "leave it" to chown."""
    return {
        id: owner
        for id, owner in share.owners.items()
        if owner is None or (-1 < owner[0] < NOBODY and -1 < owner[1] < NOBODY)
    }
