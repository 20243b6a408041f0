"""Large files of which a part is there already: begun by a restore that was killed, or changed since the snapshot.

Their chunks are compared by hash, and only those that differ are fetched.  What is under the file's own name is copied,
never changed: a file appears whole or not at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from vaultpy.chunker import hash_chunk
from vaultpy.errors import DamageError, TargetError, TargetFull
from vaultpy.index.at import FileAt, Moment
from vaultpy.index.needed import ChunkOf, chunks_of, drop_piece, file_of, large_files
from vaultpy.ops.restoring.deal import Dealer, partial_name
from vaultpy.ops.restoring.tally import Tally
from vaultpy.source.sparse import spread
from vaultpy.source.target import TargetTree, check_name, identity, open_existing, write_at


def adopt_parts(moment: Moment, tally: Tally, target: TargetTree, dealer: Dealer) -> None:
    """Begin large files with what is there of them.  Raises TargetFull."""
    for file_id in list(large_files(moment)):
        row = file_of(moment, file_id)
        try:
            dir_fd = target.open_dir(tally.directories.parts(row.directory_id), create=False)
            _adopt(moment, row, dir_fd, target, dealer)
        except TargetFull:
            raise
        except (TargetError, DamageError):
            continue  # who writes it will meet the same, and say so


def _adopt(moment: Moment, row: FileAt, dir_fd: int, target: TargetTree, dealer: Dealer) -> None:
    temporary = partial_name(row)
    if _go_on(moment, row, dir_fd, temporary, dealer):
        return
    found = _look(dir_fd, row.name)
    if found is None:
        return
    fd = open_existing(dir_fd, row.name, identity(found))
    try:
        same = [chunk for chunk, data in contents(moment, row, fd) if data is not None]
        if not same:
            return
        if len(same) == dealer.count(row) and found.st_size == row.size and found.st_nlink == 1:
            dealer.keep(row, fd)
            return
        new, temporary = target.create_file(dir_fd, temporary)
        try:
            copied = list(_copy(moment, row, fd, new))
            made = identity(os.fstat(new))
        finally:
            os.close(new)
    finally:
        os.close(fd)
    for chunk in copied:
        drop_piece(moment, row.id, chunk)
    dealer.adopt(row, temporary, made, len(copied))


def _go_on(moment: Moment, row: FileAt, dir_fd: int, temporary: bytes, dealer: Dealer) -> bool:
    """Take up what a killed restore left; whether there was such a thing."""
    found = _look(dir_fd, temporary)
    # Ours alone: what somebody else can write to is not to be changed under a check that has passed.
    if found is None or found.st_nlink != 1 or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        return False
    fd = open_existing(dir_fd, temporary, identity(found))
    try:
        same = [chunk for chunk, data in contents(moment, row, fd) if data is not None]
    finally:
        os.close(fd)
    for chunk in same:
        drop_piece(moment, row.id, chunk)
    dealer.adopt(row, temporary, identity(found), len(same))
    return True


def _look(dir_fd: int, name: bytes) -> os.stat_result | None:
    """What has that name, if it is a regular file."""
    check_name(name)
    try:
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _copy(moment: Moment, row: FileAt, source: int, fd: int) -> Iterator[ChunkOf]:
    """Copy the chunks that are right; what is copied is what was hashed."""
    for chunk, data in contents(moment, row, source):
        if data is not None:
            for offset, part in spread(row.holes, chunk.file_offset, data):
                write_at(fd, part, offset)
            yield chunk


def contents(moment: Moment, row: FileAt, fd: int) -> Iterator[tuple[ChunkOf, bytes | None]]:
    """The file's chunks, each with its bytes if these are in the open file where they belong."""
    for chunk in chunks_of(moment, row.id):
        data = _read(row.holes, chunk, fd)
        yield chunk, data if hash_chunk(data) == chunk.hash else None


def _read(holes: bytes | None, chunk: ChunkOf, fd: int) -> bytes:
    try:
        places = spread(holes, chunk.file_offset, bytes(chunk.size))
        return b"".join(os.pread(fd, len(part), offset) for offset, part in places)
    except OSError:
        return b""
