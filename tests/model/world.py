"""What the machine compares vaultpy with: a host, trees that change, and what every snapshot must give back."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from uuid import UUID

from vaultpy.age import X25519Identity, parse_identity
from vaultpy.config import Config, SourceConfig
from vaultpy.index.db import create_index, open_index
from vaultpy.keys import load_identities
from vaultpy.model import SnapshotId
from vaultpy.ops.init import add_store_key, join_or_make
from vaultpy.ops.reading.reader import Reader
from vaultpy.signature import Trust
from vaultpy.state import make_host, save_host, state_paths
from vaultpy.store.base import Body
from vaultpy.store.memory import MemoryStore
from vaultpy.vault import OpenStore, Vault

HOUR = 3600 * 1_000_000_000
GRACE = 24 * 3600
SOURCES = ("a", "b")
ANCHOR = b"always here"
"""A file that no rule deletes: a root that becomes empty is an unmounted disk, which has tests of its own."""

Look = tuple[dict[bytes, tuple[object, ...]], frozenset[frozenset[bytes]]]
"""A tree: what is at each path, and which paths are one file."""


class Died(BaseException):
    """Stands for kill -9: nothing in vaultpy may catch it and go on."""


class MortalStore(MemoryStore):
    """Counts the puts; before one of them something may happen, such as the end of the process."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__(clock)
        self.puts = 0
        self.before_put: Callable[[int, str], None] = lambda number, name: None

    def put(self, name: str, body: Body) -> None:
        self.puts += 1
        self.before_put(self.puts, name)
        super().put(name, body)


@dataclass
class Known:
    """A snapshot that the store has to give back."""

    source: str
    seq: int
    look: Look


@dataclass
class World:
    """One host with two sources over a store in memory, in a time that moves when it is told to."""

    folder: Path
    identity: str
    ahead: int = 0
    snapshots: dict[SnapshotId, Known] = field(default_factory=dict)
    decided: dict[SnapshotId, Known] = field(default_factory=dict)
    told: set[SnapshotId] = field(default_factory=set)
    spoiled: set[SnapshotId] = field(default_factory=set)
    copies: list[Path] = field(default_factory=list)
    store: MortalStore = field(init=False)
    vault: Vault = field(init=False)

    def __post_init__(self) -> None:
        self.store = MortalStore(self.clock)
        at, _ = join_or_make(self.store, GRACE, self.clock, os.urandom)
        paths = state_paths(self.folder / "state", self.folder / "config.toml")
        host = make_host(os.urandom)
        save_host(paths, at.settings.id, host)
        recipient = parse_identity(self.identity).recipient().to_text()
        key = add_store_key(
            self.store, paths.folder, [recipient], host.signing_key.public_text(), self.clock, os.urandom
        )
        create_index(paths.index, {"store": at.settings.id.bytes, "host": host.id.bytes}).close()
        sources = {name: SourceConfig(name, (os.fsencode(self.folder / name),)) for name in SOURCES}
        config = Config(self.folder / "config.toml", "memory:", at.settings.id, paths.folder, key, (), sources)
        config = replace(config, blob_size=1 << 18)
        self.vault = Vault(config, paths, OpenStore(self.store, at.settings, at.settings_hash), host, self.clock)
        for name in SOURCES:
            (self.folder / name).mkdir()
            (self.folder / name / os.fsdecode(ANCHOR)).write_bytes(b"anchor")

    def clock(self) -> int:
        return time.time_ns() + self.ahead

    def new_key(self) -> None:
        recipient = parse_identity(self.identity).recipient().to_text()
        signer = self.vault.host.signing_key.public_text()
        key = add_store_key(self.store, self.vault.paths.folder, [recipient], signer, self.clock, os.urandom)
        self.vault = replace(self.vault, config=replace(self.vault.config, key=key))

    @contextmanager
    def reader(self, *, here: bool = False) -> Iterator[Reader]:
        """What another machine has, which is the store and the identity; `here`: with the host's own index, too."""
        identities = load_identities(self.identity.encode(), None)
        trust = Trust(frozenset([self.vault.host.signing_key.public_text()]), False)
        elsewhere = Reader(self.vault.at, None, None, None, identities, trust)
        if here and self.vault.paths.index.exists():
            with open_index(self.vault.paths.index, read_only=True) as index:
                yield replace(elsewhere, config=self.vault.config, host=self.vault.host, index=index)
        else:
            yield elsewhere

    def looks(self) -> dict[str, Look]:
        return {name: look(self.folder / name) for name in SOURCES}

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """A query on the index, by SQLite alone."""
        connection = sqlite3.connect(self.vault.paths.index)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def note_decided(self, looks: dict[str, Look]) -> None:
        """Of a run that died: the snapshots whose bytes are decided, so that they are there or may appear by any later run."""
        for id, name, seq in self.rows(
            "SELECT s.id, o.name, s.seq FROM snapshots s JOIN sources o ON o.id = s.source_id WHERE s.state <> 3"
        ):
            snapshot = SnapshotId(UUID(bytes=id))  # type: ignore[arg-type]
            if snapshot not in self.told and snapshot not in self.decided:
                self.decided[snapshot] = Known(str(name), int(seq), looks[str(name)])  # type: ignore[call-overload]

    def unclean(self) -> set[SnapshotId]:
        """What the host published and then found wanting, now or ever: its next run over the same source mends it."""
        if self.vault.paths.index.exists():
            rows = self.rows("SELECT id FROM snapshots WHERE state = 4")
            self.spoiled |= {SnapshotId(UUID(bytes=id)) for (id,) in rows}  # type: ignore[arg-type]
        return self.spoiled

    def keep_index(self) -> None:
        copy = self.folder / f"index-{len(self.copies)}"
        shutil.copy(self.vault.paths.index, copy)
        self.copies.append(copy)

    def newest(self, source: str) -> Known | None:
        found = [(known.seq, id) for id, known in self.snapshots.items() if known.source == source]
        return self.snapshots[max(found)[1]] if found else None

    def close(self) -> None:
        shutil.rmtree(self.folder)


def make_world(ahead: int) -> World:
    shared = Path("/dev/shm")
    place = shared if os.access(shared, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="vaultpy-model-", dir=place))
    return World(folder, X25519Identity.generate(os.urandom).to_text(), ahead)


def look(top: Path) -> Look:
    """Everything at and below a folder: kind, mode, owner, time, content; and which paths are hard links of each other."""
    found: dict[bytes, tuple[object, ...]] = {}
    groups: dict[tuple[int, int], set[bytes]] = {}
    root = os.fsencode(top)
    for path in [root, *paths_below(root)]:
        status = os.lstat(path)
        name = os.path.relpath(path, root)
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = Path(os.fsdecode(path)).read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            groups.setdefault((status.st_dev, status.st_ino), set()).add(name)
        found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content)
    return found, frozenset(frozenset(names) for names in groups.values() if len(names) > 1)


def paths_below(root: bytes) -> list[bytes]:
    """All paths below a folder, in an order that does not depend on the file system."""
    found = []
    for folder, folders, files in os.walk(root):
        found += [os.path.join(folder, name) for name in [*folders, *files]]
    return sorted(found)


@cache
def content(seed: int, size: int) -> bytes:
    """Always the same bytes, that do not compress."""
    return random.Random(seed).randbytes(size)
