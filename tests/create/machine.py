"""A backed-up machine in a test: a store that can be watched and broken, a clock that can be set, and the operations."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from vaultpy.age import X25519Identity, parse_identity
from vaultpy.config import Config, SourceConfig
from vaultpy.events import Event
from vaultpy.index.db import Index, create_index, open_index
from vaultpy.index.snapshots import SnapshotRow
from vaultpy.keys import load_identities
from vaultpy.model import BlobHash, ExportId, SnapshotId
from vaultpy.ops.init import add_store_key, join_or_make
from vaultpy.ops.making.create import Created, CreateOptions, create_snapshots
from vaultpy.ops.reading.catalog import Catalog, Entry, read_catalog
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.restoring.restore import Restored, RestoreOptions, restore
from vaultpy.purges import PurgeRecord, encode_record
from vaultpy.signature import Trust
from vaultpy.source import batch
from vaultpy.source.apply import ApplyOptions
from vaultpy.source.read import Listed
from vaultpy.state import make_host, save_host, state_paths
from vaultpy.store import names
from vaultpy.store.base import Body, ObjectInfo, Store
from vaultpy.store.bodies import body_pieces
from vaultpy.store.memory import MemoryStore
from vaultpy.vault import OpenStore, Vault

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

Hook = Callable[[str, str], None]
"""Called with a verb and the name (or prefix) that it is about."""


class Died(BaseException):
    """Stands for the end of the process: nothing in vaultpy may catch it and go on."""


class Clock:
    """Time that moves when it is told to; it begins an hour ahead, so that no file of a test is too young to trust."""

    def __init__(self) -> None:
        self.now = time.time_ns() + HOUR

    def __call__(self) -> int:
        return self.now

    def advance(self, nanoseconds: int) -> None:
        self.now += nanoseconds


class WatchedStore:
    """A store that counts what is asked of it and calls `before` and `after` around it, where they may raise."""

    def __init__(self, inner: Store) -> None:
        self.inner, self.url = inner, inner.url
        self.calls: list[tuple[str, str]] = []
        self.uploaded = 0
        self.before: Hook = _nothing
        self.after: Hook = _nothing
        self.changed_on_get: Callable[[str, int, bytes], bytes] = lambda name, start, data: data

    def put(self, name: str, body: Body) -> None:
        self._call("put", name)
        self.uploaded += sum(len(piece) for piece in body_pieces(body))
        self.inner.put(name, body)
        self.after("put", name)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        self._call("get", name)
        return self.changed_on_get(name, start, self.inner.get(name, start, length))

    def stat(self, name: str) -> ObjectInfo | None:
        self._call("stat", name)
        return self.inner.stat(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._call("list", prefix)
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        self._call("delete", name)
        self.inner.delete(name)

    def clock(self) -> int:
        return self.inner.clock()

    def forget_calls(self) -> None:
        self.calls, self.uploaded = [], 0

    def names_of(self, verb: str, prefix: str = "") -> list[str]:
        return [name for called, name in self.calls if called == verb and name.startswith(prefix)]

    def _call(self, verb: str, name: str) -> None:
        self.before(verb, name)
        self.calls.append((verb, name))


def _nothing(verb: str, name: str) -> None:
    return


@dataclass
class Machine:
    """One host with one source, `tree`, over a store in memory."""

    folder: Path
    clock: Clock
    memory: MemoryStore
    store: WatchedStore
    vault: Vault
    identity: str
    tree: Path
    events: list[Event] = field(default_factory=list)

    @property
    def source(self) -> SourceConfig:
        return SourceConfig("home", (os.fsencode(self.tree),))

    def configure(self, **settings: Any) -> None:
        self.vault = replace(self.vault, config=replace(self.vault.config, **settings))

    def create(self, *sources: SourceConfig, **options: Any) -> Created:
        """One run, a minute after the last; of several sources the last one's result."""
        self.clock.advance(60 * SECOND)
        return create_snapshots(self.vault, sources or [self.source], CreateOptions(**options), self.events.append)[-1]

    def snapshot(self, *sources: SourceConfig, **options: Any) -> SnapshotRow:
        """A run that has to make a snapshot without any problem."""
        made = self.create(*sources, **options)
        assert made.exit_code == 0, made
        assert made.snapshot is not None
        return made.snapshot

    def index(self) -> Index:
        return open_index(self.vault.paths.index)

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """A query on the index, by SQLite alone."""
        with sqlite3.connect(f"file:{self.vault.paths.index}?mode=ro", uri=True) as connection:
            found = connection.execute(sql, params).fetchall()
        connection.close()
        return found

    def value(self, sql: str, *params: object) -> Any:
        return self.rows(sql, *params)[0][0]

    def files_below(self) -> int:
        """Rows of the source's own tree, closed ones too: what lies above it belongs to the whole machine."""
        depth = len(self.tree.parts) - 1
        return int(
            self.value(
                "WITH RECURSIVE below(id, depth) AS (SELECT id, 0 FROM directories WHERE parent_id IS NULL UNION ALL"
                " SELECT d.id, depth + 1 FROM directories d JOIN below b ON d.parent_id = b.id)"
                " SELECT count(*) FROM files f JOIN below b ON b.id = f.directory_id WHERE b.depth >= ?",
                depth,
            )
        )

    def reader(self, identity: bool = True) -> Reader:
        """What another machine has: the store and the identity."""
        identities = load_identities(self.identity.encode(), None) if identity else None
        trust = Trust(frozenset([self.vault.host.signing_key.public_text()]), False)
        return Reader(self.vault.at, None, None, None, identities, trust)

    def catalog(self) -> Catalog:
        return read_catalog(self.reader())

    def newest(self) -> Entry:
        return max(self.catalog().entries, key=lambda entry: (entry.seq, entry.id))

    def restore(self, entry: Entry | None = None) -> Path:
        """The tree as it comes back on another machine."""
        target = self.folder / f"restored-{uuid4()}"
        back = self.restore_to(target, entry)
        assert back.failed == ()
        return target / self.tree.relative_to("/")

    def restore_to(self, target: Path, entry: Entry | None = None) -> Restored:
        options = RestoreOptions(apply=ApplyOptions(privileges=True))
        return restore(self.reader(), entry or self.newest(), os.fsencode(target), options, self.events.append)

    def comes_back(self, entry: Entry | None = None) -> bool:
        back = self.restore(entry)
        same = look(back) == look(self.tree)
        shutil.rmtree(back)
        return same

    def objects(self, prefix: str = "") -> set[str]:
        return {name for name in self.memory.objects if name.startswith(prefix)}

    def blobs_of(self, snapshot: SnapshotId) -> list[str]:
        """The names of the blobs that a snapshot needs, by the index."""
        rows = self.rows(
            "SELECT b.hash FROM snapshots s JOIN snapshot_blobs t ON t.source_id = s.source_id AND t.first_seq <= s.seq"
            " AND (t.last_seq IS NULL OR t.last_seq >= s.seq) JOIN blobs b ON b.id = t.blob_id WHERE s.id = ?",
            snapshot.bytes,
        )
        return sorted(names.blob_name(row[0]) for row in rows)

    def mark(
        self,
        *,
        blobs: tuple[BlobHash, ...] = (),
        exports: tuple[ExportId, ...] = (),
        snapshots: tuple[SnapshotId, ...] = (),
    ) -> None:
        """Somebody's purge record appears in the store."""
        self.memory.put(names.purge_name(uuid4()), encode_record(PurgeRecord(snapshots, blobs, exports)))

    def keep(self) -> Callable[[], None]:
        """What the machine and the store are now; the function that is returned brings it back."""
        kept = self.folder / f"kept-{uuid4()}"
        shutil.copytree(self.vault.paths.folder, kept)
        objects, now = dict(self.memory.objects), self.clock.now

        def back() -> None:
            shutil.rmtree(self.vault.paths.folder)
            shutil.copytree(kept, self.vault.paths.folder)
            self.memory.objects = dict(objects)
            self.clock.now = now
            self.store.before = self.store.after = _nothing
            self.store.forget_calls()

        return back


def make_machine(folder: Path) -> Machine:
    clock = Clock()
    memory = MemoryStore(clock)
    identity = X25519Identity.generate(os.urandom).to_text()
    return join_machine(folder, clock, memory, identity)


def join_machine(folder: Path, clock: Clock, memory: MemoryStore, identity: str) -> Machine:
    """Another host over the same store, with a store key of its own for the same identity."""
    store = WatchedStore(memory)
    at, _ = join_or_make(store, 24 * 3600, clock, os.urandom)
    paths = state_paths(folder / "state", folder / "config.toml")
    host = make_host(os.urandom)
    save_host(paths, at.settings.id, host)
    key = add_store_key(
        store, paths.folder, [recipient_of(identity)], host.signing_key.public_text(), clock, os.urandom
    )
    create_index(paths.index, {"store": at.settings.id.bytes, "host": host.id.bytes}).close()
    config = Config(folder / "config.toml", "memory:", at.settings.id, paths.folder, key, (), {}, blob_size=1 << 20)
    vault = Vault(config, paths, OpenStore(store, at.settings, at.settings_hash), host, clock)
    tree = folder / "tree"
    tree.mkdir()
    store.forget_calls()
    return Machine(folder, clock, memory, store, vault, identity, tree)


def recipient_of(identity: str) -> str:
    return parse_identity(identity).recipient().to_text()


def fill(tree: Path, files: int = 6, size: int = 20_000) -> None:
    """Files with content of their own, in two folders, and something of each other common kind."""
    for number in range(files):
        path = tree / f"folder{number % 2}" / f"file{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(size))
    (tree / "empty").write_bytes(b"")
    (tree / "nothing in it").mkdir()
    (tree / "link").symlink_to("folder0/file0")


def look(top: Path) -> dict[str, tuple[object, ...]]:
    """What is at and below a path: kind, mode, owner, time, and content or target."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        found[str(path.relative_to(top))] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            content,
        )
    return found


def open_with(patch: pytest.MonkeyPatch, open_regular: Callable[[int, bytes, Listed], int]) -> None:
    """Have every file that is read opened by this function, one at a time."""
    patch.setattr(batch.BatchReader, "_read_plain", lambda *_: False)
    patch.setattr(batch, "open_regular", open_regular)
