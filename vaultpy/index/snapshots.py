"""Sources and snapshots: what is published, what is about to be, and the chain of exports each stands on."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from vaultpy.index.db import Index
from vaultpy.model import ExportId, ExportRef, HostId, KeyId, Problem, ProblemKind, SnapshotId, SourceId, uuid7


class State(enum.IntEnum):
    """Where a snapshot stands.

    PUBLISHING: its manifest's bytes are decided and may or may not be in the store; only these bytes may be put.
    COMPLETE: the manifest is in the store and the second look was clean.  PARTIAL: it keeps a long run's blobs alive.
    UNCLEAN: published, but the second look found something missing; another manifest repairs it.
    """

    PUBLISHING = 1
    COMPLETE = 2
    PARTIAL = 3
    UNCLEAN = 4


@dataclass(frozen=True, slots=True)
class Counts:
    """What a snapshot holds: number of paths, bytes of regular files; raw bytes that were new; bytes put for it."""

    files: int
    bytes: int
    new_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """A snapshot as the index knows it; times in nanoseconds since 1970."""

    id: SnapshotId
    source: SourceId
    source_name: str
    host: HostId
    seq: int
    parent: SnapshotId | None
    repairs: SnapshotId | None
    state: State
    key_id: KeyId
    started_at: int
    completed_at: int | None
    version: str
    tags: tuple[str, ...]
    pinned: bool
    counts: Counts | None
    problems: int


_COLUMNS = (
    "s.id, o.uuid, o.name, o.host, s.seq, s.parent_id, s.repairs, s.state, s.key_id, s.started_at, s.completed_at,"
    " s.version, s.tags, s.pinned, s.files, s.bytes, s.new_bytes, s.stored_bytes, s.problems"
)
_FROM = "FROM snapshots s JOIN sources o ON o.id = s.source_id"


def ensure_source(
    index: Index, name: str, host: HostId, now_ms: int, random: Callable[[int], bytes]
) -> tuple[int, SourceId]:
    """The source of that name, made if this host never had one."""
    row = index.row("SELECT id, uuid FROM sources WHERE host = ? AND name = ?", (host.bytes, name))
    if row is None:
        made = uuid7(now_ms, random(10))
        with index.transaction():
            row = index.row(
                "INSERT INTO sources (uuid, name, host) VALUES (?, ?, ?) RETURNING id, uuid",
                (made.bytes, name, host.bytes),
            )
    return row[0], SourceId(UUID(bytes=row[1]))


def last_complete_seq(index: Index, source_id: int, before: int | None = None) -> int | None:
    """The newest complete sequence of a source, or None; `before` looks only at earlier ones."""
    limit = (1 << 63) - 1 if before is None else before
    seq = index.value(
        "SELECT max(seq) FROM snapshots WHERE source_id = ? AND state = ? AND seq < ?",
        (source_id, State.COMPLETE, limit),
    )
    return None if seq is None else int(seq)


def complete_snapshot_at(index: Index, source_id: int, seq: int) -> SnapshotRow:
    """The complete snapshot of that sequence (the repairing one, where one was repaired)."""
    row = index.row(
        f"SELECT {_COLUMNS} {_FROM} WHERE s.source_id = ? AND s.seq = ? AND s.state = ? ORDER BY s.id DESC",
        (source_id, seq, State.COMPLETE),
    )
    return _snapshot(row)


def find_snapshot(index: Index, snapshot: SnapshotId) -> SnapshotRow | None:
    row = index.row(f"SELECT {_COLUMNS} {_FROM} WHERE s.id = ?", (snapshot.bytes,))
    return None if row is None else _snapshot(row)


def all_snapshots(index: Index) -> list[SnapshotRow]:
    """Every snapshot that the index knows, oldest first."""
    return [_snapshot(row) for row in index.rows(f"SELECT {_COLUMNS} {_FROM} ORDER BY s.seq, s.id")]


def source_id_of(index: Index, source: SourceId) -> int:
    return int(index.value("SELECT id FROM sources WHERE uuid = ?", (source.bytes,)))


def insert_snapshot(index: Index, row: SnapshotRow, source_id: int) -> None:
    """Add a snapshot; within the caller's transaction."""
    counts = row.counts
    values = (
        row.id.bytes,
        source_id,
        row.seq,
        row.parent.bytes if row.parent else None,
        row.repairs.bytes if row.repairs else None,
        row.state,
        row.key_id.bytes,
        row.started_at,
        row.completed_at,
        row.version,
        json.dumps(row.tags),
        row.pinned,
    )
    numbers = (counts.files, counts.bytes, counts.new_bytes, counts.stored_bytes) if counts else (None,) * 4
    index.run(
        "INSERT INTO snapshots (id, source_id, seq, parent_id, repairs, state, key_id, started_at, completed_at, version,"
        " tags, pinned, files, bytes, new_bytes, stored_bytes, problems)"
        f" VALUES ({', '.join('?' * 17)})",
        (*values, *numbers, row.problems),
    )
    index.run("UPDATE sources SET key_id = ? WHERE id = ?", (row.key_id.bytes, source_id))


def keep_manifest(index: Index, snapshot: SnapshotId, manifest: bytes, signature: bytes) -> None:
    """Decide what will be put: from here on these bytes and no others bear the snapshot's name."""
    index.run("UPDATE snapshots SET manifest = ?, signature = ? WHERE id = ?", (manifest, signature, snapshot.bytes))


def set_state(index: Index, snapshot: SnapshotId, state: State) -> None:
    """The second look has spoken: the bytes to put are not needed any more."""
    index.run("UPDATE snapshots SET state = ?, manifest = NULL, signature = NULL WHERE id = ?", (state, snapshot.bytes))


def unconfirmed(index: Index) -> list[tuple[SnapshotId, bytes, bytes]]:
    """Snapshots whose manifest was decided but whose publishing was not seen to end: id, manifest, signature."""
    rows = index.rows(
        "SELECT id, manifest, signature FROM snapshots WHERE state = ? AND manifest IS NOT NULL ORDER BY seq",
        (State.PUBLISHING,),
    )
    return [(SnapshotId(UUID(bytes=row[0])), row[1], row[2]) for row in rows]


def forget_snapshots(index: Index, gone: Iterable[SnapshotId]) -> None:
    """Drop snapshots whose manifests are not in the store any more; their rows go with `intervals.drop_unheld`.

    What was stored for a published snapshot does not count as an unpublished run's when that is gone: it frees nothing
    for reuse (rule 3).
    """
    published: dict[int, int] = {}
    for one in gone:
        row = index.row("SELECT source_id, seq, state FROM snapshots WHERE id = ?", (one.bytes,))
        if row is not None and row[2] != State.PARTIAL:
            published[row[0]] = max(row[1], published.get(row[0], row[1]))
        index.run("DELETE FROM snapshots WHERE id = ?", (one.bytes,))
    for source_id, seq in published.items():
        newest = last_complete_seq(index, source_id)
        if newest is None or newest < seq:
            index.run(_FORGET_RUNS, (source_id, -1 if newest is None else newest, seq))
    index.run("DELETE FROM exports WHERE id NOT IN (SELECT export_id FROM snapshot_exports)")


def put_chain(index: Index, snapshot: SnapshotId, chain: Sequence[tuple[ExportRef, int]]) -> None:
    """Note the exports that a snapshot stands on, base first, each with the size of its SQL in bytes."""
    index.run_many(
        "INSERT OR IGNORE INTO exports VALUES (?, ?, ?, ?, ?)",
        [(ref.id.bytes, ref.size, raw_size, ref.blake3, ref.sha256) for ref, raw_size in chain],
    )
    index.run_many(
        "INSERT INTO snapshot_exports VALUES (?, ?, ?)",
        [(snapshot.bytes, position, ref.id.bytes) for position, (ref, _) in enumerate(chain)],
    )


def get_chain(index: Index, snapshot: SnapshotId) -> list[tuple[ExportRef, int]]:
    """The exports that a snapshot stands on, base first, each with the size of its SQL in bytes."""
    rows = index.rows(
        "SELECT e.id, e.size, e.blake3, e.sha256, e.raw_size FROM snapshot_exports t JOIN exports e ON e.id = t.export_id"
        " WHERE t.snapshot_id = ? ORDER BY t.position",
        (snapshot.bytes,),
    )
    return [(ExportRef(ExportId(UUID(bytes=row[0])), row[1], row[2], row[3]), row[4]) for row in rows]


def all_exports(index: Index) -> list[ExportRef]:
    """Every export that some known snapshot stands on."""
    rows = index.rows("SELECT id, size, blake3, sha256 FROM exports")
    return [ExportRef(ExportId(UUID(bytes=row[0])), row[1], row[2], row[3]) for row in rows]


def put_problems(index: Index, snapshot: SnapshotId, problems: Iterable[Problem]) -> None:
    index.run_many(
        "INSERT INTO problems VALUES (?, ?, ?, ?)",
        [(snapshot.bytes, one.path, one.kind, one.detail) for one in problems],
    )


def get_problems(index: Index, snapshot: SnapshotId) -> list[Problem]:
    rows = index.rows("SELECT path, kind, detail FROM problems WHERE snapshot_id = ? ORDER BY path", (snapshot.bytes,))
    return [Problem(row[0], ProblemKind(row[1]), row[2]) for row in rows]


_FORGET_RUNS = """
    UPDATE blobs SET run_no = NULL
    WHERE run_no IN (SELECT no FROM runs WHERE source_id = ? AND seq > ? AND seq <= ?)"""


def _snapshot(row: tuple[object, ...]) -> SnapshotRow:
    (id, source, name, host, seq, parent, repairs, state, key_id, started, completed, version, tags, pinned) = row[:14]
    files, size, new, stored, problems = row[14:]
    return SnapshotRow(
        SnapshotId(_uuid(id)),
        SourceId(_uuid(source)),
        str(name),
        HostId(_uuid(host)),
        _int(seq),
        SnapshotId(_uuid(parent)) if parent is not None else None,
        SnapshotId(_uuid(repairs)) if repairs is not None else None,
        State(_int(state)),
        KeyId(_uuid(key_id)),
        _int(started),
        _int(completed) if completed is not None else None,
        str(version),
        tuple(json.loads(str(tags))),
        bool(pinned),
        Counts(_int(files), _int(size), _int(new), _int(stored)) if files is not None else None,
        _int(problems),
    )


def _uuid(value: object) -> UUID:
    assert isinstance(value, bytes)
    return UUID(bytes=value)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
