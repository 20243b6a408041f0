"""A snapshot as a stream: all of it, or a part, as a tar archive, or one file's bytes.

The archive is POSIX.1-2001's (pax): times to the nanosecond, names and values of any bytes, extended attributes as
`SCHILY.xattr.*`, which GNU tar and bsdtar read.  A stream has the order of names, not of blobs; neighbours mostly share a
frame, and the last few are remembered.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import BinaryIO

from vaultpy.errors import DamageError, UsageError
from vaultpy.events import OnEvent, StepAdvanced, StepBegan
from vaultpy.index.at import FileAt, Moment, chosen_by_directory, xattrs_at
from vaultpy.index.needed import content_of, leader_of, settle, totals, want_chosen
from vaultpy.model import Kind, decode_holes
from vaultpy.ops.reading.catalog import Entry
from vaultpy.ops.reading.choose import Tree, choose, choose_below, read_tree
from vaultpy.ops.reading.moment import open_moment
from vaultpy.ops.reading.reader import Reader, open_key, read_manifest
from vaultpy.ops.restoring.fetch import Fetcher
from vaultpy.source.target import check_name
from vaultpy.store.names import blob_name

REPORT_BYTES = 16 * 1024 * 1024
_ZEROS = bytes(64 * 1024)
_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
    Kind.CHARACTER_DEVICE: tarfile.CHRTYPE,
    Kind.BLOCK_DEVICE: tarfile.BLKTYPE,
}


@dataclass(slots=True)
class Archived:
    """What went into an archive; `failed` names each path that did not, or not as it was, and why."""

    files: int = 0
    size: int = 0
    failed: list[tuple[bytes, str]] = field(default_factory=list)


def write_tar(reader: Reader, entry: Entry, paths: tuple[bytes, ...], out: BinaryIO, on_event: OnEvent) -> Archived:
    """Write a snapshot, or what `paths` name of it, as a tar archive whose names are the absolute paths without the `/`.

    Raises as `restore` does, IndexChanged where the index did meanwhile, and OSError where `out` takes no more.
    """
    opened, manifest = open_key(reader, read_manifest(reader, entry.id, None))
    with (
        # Outermost: what turns out to lack something in the end gets no end.
        tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as archive,
        open_moment(reader, manifest, [opened.identity]) as moment,
    ):
        tree = read_tree(moment)
        if not choose(moment, tree, paths):
            raise UsageError(f"snapshot {entry.id}: nothing to write")
        want_chosen(moment)
        settle(moment)
        on_event(StepBegan(f"archive of {entry.id}", *totals(moment)))
        archiver = _Archiver(moment, tree, Fetcher(reader.at.store, [opened.identity]), Archived())
        reported = 0
        for row in _folder_by_folder(moment, tree):
            archiver.add(archive, row)
            if archiver.done.size - reported >= REPORT_BYTES:
                reported = archiver.done.size
                on_event(StepAdvanced(archiver.done.files, reported))
    return archiver.done


def write_file(reader: Reader, entry: Entry, path: bytes, out: BinaryIO) -> int:
    """Write the bytes of one regular file of a snapshot; returns how many.

    Nothing is written of a chunk that is not what it should be: raises DamageError there.  Raises UsageError for what is no
    file, and as `restore` does.
    """
    opened, manifest = open_key(reader, read_manifest(reader, entry.id, None))
    with open_moment(reader, manifest, [opened.identity]) as moment:
        tree = read_tree(moment)
        choose_below(moment, tree, [path])
        found = list(chosen_by_directory(moment, tree.in_order()))
        if len(found) != 1 or found[0].kind != Kind.FILE:
            raise UsageError(
                f"path '{os.fsdecode(path)}': not one regular file", hint="`snapshot ls` shows what there is"
            )
        fetcher = Fetcher(reader.at.store, [opened.identity])
        return sum(out.write(data) for data in _content(moment, fetcher, found[0]))


def _folder_by_folder(moment: Moment, tree: Tree) -> Iterator[FileAt]:
    """What was chosen, each folder followed by all that is in it: tar gives a folder its time when it leaves it."""
    ids = {where: id for id, where in tree.parents.items()}
    groups = groupby(chosen_by_directory(moment, tree.in_order()), lambda row: row.directory_id)
    at, rows = next(groups, (None, iter(())))
    waiting: dict[int, FileAt] = {}
    for directory_id in tree.in_order():
        if directory_id in waiting:
            yield waiting.pop(directory_id)
        if directory_id == at:
            for row in rows:
                child = ids.get((directory_id, row.name)) if row.kind == Kind.DIRECTORY else None
                if child is None:
                    yield row
                else:
                    waiting[child] = row
            at, rows = next(groups, (None, iter(())))


@dataclass(slots=True)
class _Archiver:
    moment: Moment
    tree: Tree
    fetcher: Fetcher
    done: Archived
    named: dict[int, str] = field(default_factory=dict)
    """The first names of hard-link groups, by their leaders."""

    def add(self, archive: tarfile.TarFile, row: FileAt) -> None:
        path = self.tree.path(row.directory_id, row.name)
        try:
            info = self._describe(row, path)
        except DamageError as error:
            self.done.failed.append((path, error.message))
            return
        stream = None
        if info.isreg():
            stream = _Stream(_content(self.moment, self.fetcher, row), row.size)
        archive.addfile(info, stream)
        self.done.files += 1
        if stream is not None:
            self.done.size += row.size
            if stream.damage is not None:
                why = f"from byte {stream.good} on it is zeros in the archive: {stream.damage.message}"
                self.done.failed.append((path, why))

    def _describe(self, row: FileAt, path: bytes) -> tarfile.TarInfo:
        for name in (*self.tree.parts(row.directory_id), *([row.name] if row.name else [])):
            check_name(name)
        info = tarfile.TarInfo(os.fsdecode(path[1:]) or ".")
        info.type, info.size = _TYPES[Kind(row.kind)], row.size if row.kind == Kind.FILE else 0
        info.mode, info.uid, info.gid, info.mtime = row.mode, row.uid, row.gid, row.mtime // 10**9
        info.uname, info.gname = os.fsdecode(row.user or b""), os.fsdecode(row.group or b"")
        info.linkname = os.fsdecode(row.link_target or b"")
        if row.rdev is not None:
            info.devmajor, info.devminor = os.major(row.rdev), os.minor(row.rdev)
        info.pax_headers = {"mtime": _seconds(row.mtime)}
        if row.atime is not None:
            info.pax_headers["atime"] = _seconds(row.atime)
        for key, value in xattrs_at(self.moment, row.id) if row.has_xattrs else ():
            info.pax_headers["SCHILY.xattr." + os.fsdecode(key)] = os.fsdecode(value)
        if row.nlink > 1 and row.kind != Kind.DIRECTORY:
            self._link(info, leader_of(self.moment, row.id))
        return info

    def _link(self, info: tarfile.TarInfo, leader: int) -> None:
        first = self.named.setdefault(leader, info.name)
        if first != info.name:
            info.type, info.linkname, info.size = tarfile.LNKTYPE, first, 0


def _seconds(nanoseconds: int) -> str:
    """A pax time, exact; before 1970, too."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    return f"{sign}{rest // 10**9}.{rest % 10**9:09}"


def _content(moment: Moment, fetcher: Fetcher, row: FileAt) -> Iterator[bytes]:
    """The bytes of a regular file, holes as zeros."""
    holes = iter(decode_holes(row.holes, row.size) if row.holes else ())
    hole = next(holes, None)
    at = 0
    for chunk in content_of(moment, row.id):
        data = memoryview(fetcher.chunk(blob_name(chunk.blob), chunk.stored_size, chunk.place))
        while hole is not None and hole[0] <= at + len(data):
            yield bytes(data[: hole[0] - at])
            yield from _zeros(hole[1])
            data, at = data[hole[0] - at :], hole[0] + hole[1]
            hole = next(holes, None)
        yield bytes(data)
        at += len(data)
    while hole is not None:
        yield from _zeros(hole[1])
        hole = next(holes, None)


def _zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        yield _ZEROS[:size]
        size -= len(_ZEROS)


class _Stream(io.RawIOBase):
    """A file's bytes as tarfile reads them: exactly `size`, zeros from where they cannot be had."""

    def __init__(self, pieces: Iterator[bytes], size: int) -> None:
        self.damage: DamageError | None = None
        self.good = 0
        self._pieces, self._left, self._buffer = pieces, size, b""

    def read(self, size: int = -1) -> bytes:
        while len(self._buffer) < size and self.damage is None:
            try:
                piece = next(self._pieces, None)
            except DamageError as error:
                self.damage = error
                break
            if piece is None:
                break
            self._buffer += piece
            self.good += len(piece)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        data = data.ljust(min(size, self._left), b"\0")
        self._left -= len(data)
        return data
