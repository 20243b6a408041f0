"""A source that exists only as a dictionary: drives the comparer and the recorder without a file system."""

from __future__ import annotations

import array
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vaultpy.index.db import Index
from vaultpy.index.homes import homeless, refresh_homes
from vaultpy.index.live import LiveFile, Owners
from vaultpy.index.record import FileRow, Group, NewBlob, Recorder
from vaultpy.index.reuse import Reuse, find_reuse, suspect_files
from vaultpy.index.runs import Run, begin_run
from vaultpy.index.snapshots import Counts, SnapshotRow, State, ensure_source, insert_snapshot, set_state
from vaultpy.model import BlobHash, ChunkHash, HostId, KeyId, Kind, SnapshotId, SourceId
from vaultpy.ops.making.compare import Comparer, Found, Place
from vaultpy.source.listing import join
from vaultpy.source.walk import Folder

KEY = KeyId(uuid.UUID(int=7 << 76 | 2 << 62 | 1))
HOST = HostId(uuid.UUID(int=8 << 76 | 2 << 62 | 2))

Tree = Mapping[bytes, tuple[bytes, ...]]
"""Absolute path of each regular file → its chunks' contents; folders follow from the paths."""


def hash_of(data: bytes) -> ChunkHash:
    return ChunkHash(hashlib.sha256(data).digest())


def status(kind: int, version: int, size: int = 0) -> os.stat_result:
    """A stat result that differs exactly where `version` or `size` does."""
    base = [kind | 0o644, version, 1, 1, 0, 0, size, 0, 0, 0]
    times = {"st_atime_ns": 0, "st_mtime_ns": version, "st_ctime_ns": version}
    return os.stat_result(base, times)


def folders(tree: Tree) -> Iterator[Folder]:
    """The tree as a walk gives it, a file's inode and times following from its content."""
    below: dict[bytes, set[tuple[bytes, bool]]] = {b"/": set()}
    for path in tree:
        parts = path.split(b"/")[1:]
        for depth, name in enumerate(parts):
            folder = b"/" + b"/".join(parts[:depth])
            below.setdefault(folder, set()).add((name, depth == len(parts) - 1))
    for folder in sorted(below, key=lambda path: [part for part in path.split(b"/") if part]):
        entries = []
        for name, is_file in sorted(below[folder]):
            path = folder.rstrip(b"/") + b"/" + name
            if is_file:
                chunks = tree[path]
                version = int.from_bytes(hash_of(path + b"".join(chunks))[:6], "big")
                entries.append((name, status(stat.S_IFREG, version, sum(map(len, chunks)))))
            else:
                entries.append((name, status(stat.S_IFDIR, 5)))
        yield Folder(folder, -1, status(stat.S_IFDIR, 5), entries)


@dataclass
class FakeStore:
    """Which blobs the store holds, and how many were ever made."""

    blobs: set[int] = field(default_factory=set)
    made: int = 0


class FakeSink:
    """Stores what changed: every `per_blob` new chunks become a durable blob."""

    def __init__(self, recorder: Recorder, owners: Owners, tree: Tree, store: FakeStore, per_blob: int) -> None:
        self._recorder, self._owners, self._tree = recorder, owners, tree
        self._store, self._per_blob = store, per_blob
        self._open: list[bytes] = []

    def put_directory(self, parent_id: int | None, name: bytes) -> int:
        return self._recorder.put_directory(parent_id, name)

    def close_file(self, row_id: int) -> None:
        self._recorder.close_file(row_id)

    def close_directory(self, row_id: int) -> None:
        self._recorder.close_directory(row_id)

    def changed(self, place: Place, old: LiveFile | None) -> None:
        self._put(place.directory_id, place.name, place.kind, place.stat, b"", old)

    def changed_files(self, folder: Folder, directory_id: int, files: Sequence[Found]) -> None:
        for name, found, old in files:
            self._put(directory_id, name, Kind.FILE, found, join(folder.path, name), old)

    def _put(
        self, directory_id: int, name: bytes, kind: Kind, found: os.stat_result, path: bytes, old: LiveFile | None
    ) -> None:
        group = Group(replaces=[old.id] if old else [])
        ids = array.array("q")
        for data in self._tree[path] if kind == Kind.FILE else ():
            (known,), (is_new,) = self._recorder.place_chunks([hash_of(data)], group)
            if is_new:
                self._open.append(data)
            ids.append(known)
            if len(self._open) >= self._per_blob:
                self.seal()
        owner_id = self._owners.id_of(found.st_uid, found.st_gid)
        times = found.st_mtime_ns, found.st_ctime_ns
        numbers = found.st_ino, found.st_dev, found.st_nlink, found.st_mode & 0o7777, owner_id
        if kind == Kind.FILE and len(ids) < 2 and b"x" not in name:
            group.plain.append((directory_id, name, found.st_size, *times, *numbers, ids[0] if ids else None))
        else:
            row = FileRow(directory_id, name, kind, found.st_size, *times, *numbers)
            group.others.append((row, ids, [(b"user.n", b"v" * 20_000)] if b"x" in name else []))
        self._recorder.put_group(group)

    def folder_done(self) -> None:
        pass

    def seal(self) -> None:
        if not self._open:
            return
        self._store.made += 1
        hash = BlobHash(hash_of(b"blob %d" % self._store.made))
        offsets, end = [], 0
        for data in self._open:
            offsets.append(end)
            end += len(data)
        blob = NewBlob(uuid.uuid4(), KEY, hash, end, end + 100, 0, 0)
        blob_id = self._recorder.put_blob(
            blob, [hash_of(data) for data in self._open], offsets, [len(data) for data in self._open]
        )
        self._store.blobs.add(blob_id)
        self._open = []


class FakeHost:
    """One host with one source, over an index."""

    def __init__(self, index: Index, name: str = "home") -> None:
        self.index, self.store, self.now = index, FakeStore(), 1_000
        self.name = name
        self.source_id, self.source = ensure_source(index, name, HOST, self.now, os.urandom)

    def run(self, tree: Tree, *, finish: bool = True, per_blob: int = 3) -> Run:
        """Walk the tree; `finish` False: die before the last blob."""
        self.now += 10
        run = begin_run(self.index, self.source_id, self.now, os.urandom)
        self.again(run, tree, finish=finish, per_blob=per_blob)
        return run

    def again(self, run: Run, tree: Tree, *, finish: bool = True, per_blob: int = 3) -> Reuse:
        reuse = find_reuse(self.index, KEY, self.store.blobs)
        owners = Owners(self.index, lambda uid, gid: (b"root", None))
        recorder = Recorder(self.index, run, reuse)
        sink = FakeSink(recorder, owners, tree, self.store, per_blob)
        comparer = Comparer(self.index, self.source_id, owners, "full", suspect_files(self.index, run, reuse.blobs))
        comparer.compare_all(folders(tree), sink)
        if finish:
            sink.seal()
            recorder.flush()
        return reuse

    def publish(self, run: Run, *, whole: bool = False) -> SnapshotRow:
        """Make the run's snapshot complete, in the index alone."""
        with self.index.transaction():
            refresh_homes(self.index, run, whole=whole)
        assert homeless(self.index, run, whole=True) == 0
        row = self.row(run)
        with self.index.transaction():
            insert_snapshot(self.index, row, self.source_id)
            set_state(self.index, row.id, State.COMPLETE)
        return row

    def row(self, run: Run) -> SnapshotRow:
        return SnapshotRow(
            SnapshotId(uuid.uuid4()), SourceId(self.source), self.name, HOST, run.seq, None, None, State.PUBLISHING,
            KEY, 0, 0, "0", (), False, Counts(0, 0, 0, 0), 0,
        )  # fmt: skip
