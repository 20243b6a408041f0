"""Opening, creating and upgrading the index; transactions.

SQLAlchemy Core owns the schema; it is imported only where tables are made, because that takes longer than listing a
thousand snapshots.  Statements run as SQL through the driver, in bulk with plain tuples, because a million rows pass here.
One connection writes, in transactions begun IMMEDIATE, so that a second writer waits (busy timeout) instead of failing in
the middle.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from vaultpy.durable import sync_folder
from vaultpy.errors import IndexBusy, IndexChanged, IndexDamaged, IndexDatabaseError, OtherVersion

REVISION = "0003"
"""The newest migration: what `create_index` makes and what every other database is brought to."""

BUSY_MS = 30_000
CACHE_KIB = 12 * 1024
# Before this version a WAL database with several connections can be corrupted by a checkpoint race.
WAL_SINCE = (3, 51, 3)

HELD_QUERIES = 64
"""Queries for which a lock is held at a time."""

PAGE = 1000
"""Rows that are taken at once of what was put aside."""

Params = Sequence[Any] | Mapping[str, Any]


class Index:
    """An open index.  Not for several threads: its one connection belongs to the thread that opened it."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, *, read_only: bool = False, scratch: bool = False
    ) -> None:
        self.path = path
        self._raw = connection
        self._scratch = scratch
        self._read_only = read_only
        self._asides = 0
        self._held: sqlite3.Cursor | None = None
        self._held_for = 0

    def rows(self, sql: str, params: Params = ()) -> list[Any]:
        """All rows of a query, as tuples."""
        try:  # not by _translated: this is asked once a folder
            return self._raw.execute(sql, params).fetchall()
        except sqlite3.Error as error:
            raise _failure(self.path, error, self._scratch) from error

    def each(self, sql: str, params: Params = ()) -> Iterator[Any]:
        """The rows of a query one by one, for results that may not fit in memory; on a cursor of its own."""
        with _translated(self.path, self._scratch):
            # Not from the cursor itself: a generator left in the middle would close it, after its connection perhaps.
            yield from chain(self._raw.execute(sql, params))

    def each_in_peace(self, sql: str, params: Params = ()) -> Iterator[Any]:
        """As `each`, for whoever may take long over them, and must not keep a run of this host from writing meanwhile.

        A query holds its lock until its last row is taken, so the rows of an index that others write to are put aside
        first, in a temporary table.  That is read by pages: as long as any query of a connection is under way, also the locks
        of those stay that came to their end.
        """
        if not self._read_only:
            return self.each(sql, params)
        self._asides += 1
        table = f"temp.aside{self._asides}"
        self.run(f"CREATE TABLE {table} AS {sql}", params)
        return self._each_aside(table)

    def _each_aside(self, table: str) -> Iterator[Any]:
        begin, page = 1, f"SELECT * FROM {table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
        while rows := self.rows(page, (begin, begin + PAGE - 1)):
            yield from rows
            begin += PAGE
        # Not dropped: that fails while another query is under way.
        self.run(f"DELETE FROM {table}")

    def row(self, sql: str, params: Params = ()) -> Any:
        """The first row as a tuple, or None."""
        try:  # not by _translated: this is asked once a chunk
            return self._raw.execute(sql, params).fetchone()
        except sqlite3.Error as error:
            raise _failure(self.path, error, self._scratch) from error

    def value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.row(sql, params)
        return None if row is None else row[0]

    def hold(self) -> None:
        """Keep the lock that a query takes for those after it: to take it costs more than a query for a folder's rows.

        It is let go when anything is written (who asks for more while he has it would not wait for another who does), by
        `let_go`, and now and then, so that another process comes to write.
        """
        if self._held is None or self._held_for >= HELD_QUERIES:
            self.let_go()
            if not self._raw.in_transaction:
                with _translated(self.path, self._scratch):
                    self._held = self._raw.execute("SELECT 1 FROM sqlite_master")
        self._held_for += 1

    def let_go(self) -> None:
        """The end of `hold`."""
        self._held_for = 0
        if self._held is not None:
            self._held.close()
            self._held = None

    def run(self, sql: str, params: Params = ()) -> int:
        """Execute a statement; returns the number of rows it touched."""
        self.let_go()
        with _translated(self.path, self._scratch):
            return self._raw.execute(sql, params).rowcount

    def run_many(self, sql: str, params: Iterable[Params]) -> int:
        """Execute a statement once per tuple; returns the number of rows that were touched in all."""
        self.let_go()
        with _translated(self.path, self._scratch):
            return self._raw.executemany(sql, params).rowcount

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing, durable on return (synchronous EXTRA)."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            # A failed COMMIT or a full disk may have rolled back by itself already.
            if self._raw.in_transaction:
                self.run("ROLLBACK")
            raise
        try:
            self.run("COMMIT")
        except IndexDatabaseError:
            if self._raw.in_transaction:
                self.run("ROLLBACK")
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """One moment's view for several queries."""
        self.run("BEGIN")
        try:
            yield
        finally:
            if self._raw.in_transaction:
                self.run("ROLLBACK")

    @property
    def in_transaction(self) -> bool:
        return self._raw.in_transaction

    @property
    def version(self) -> int:
        """Another number as soon as another process has written; which one means nothing."""
        return int(self.value("PRAGMA data_version"))

    def close(self) -> None:
        self.let_go()
        with _translated(self.path, self._scratch):
            self._raw.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def create_index(path: Path, meta: Mapping[str, bytes] | None = None) -> Index:
    """Make a new index at `path`, which must not exist; durable (its folder is synced too)."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _refused(path, "created", error) from error
    index = Index(path, _connect(path, "rwc"))
    with index.transaction():
        _create_tables(index)
        index.run_many("INSERT INTO meta VALUES (?, ?)", (meta or {}).items())
        index.run("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        index.run("INSERT INTO alembic_version VALUES (?)", (REVISION,))
    sync_folder(path.parent)
    return index


def create_scratch(path: Path) -> Index:
    """Make an index at `path` for what is lost with the process anyway: nothing of it is ever synced."""
    index = Index(path, _connect(path, "rwc", scratch=True), scratch=True)
    index.run("PRAGMA synchronous = OFF")
    with index.transaction():
        _create_tables(index)
    return index


def open_index(path: Path, *, read_only: bool = False) -> Index:
    """Open the index at `path`; one of an older version is upgraded first (a copy of it is kept).

    Read-only use can fill temporary tables and nothing else; it refuses an older version.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IndexDatabaseError(
            f"index {path} does not exist", hint="bring it back with: vaultpy index rebuild"
        ) from error
    except OSError as error:
        raise _refused(path, "opened", error) from error
    if read_only:
        return _open_read_only(path)
    index = Index(path, _connect(path, "rw"))
    try:
        revision = _revision(index)
        if revision == REVISION:
            return index
    except BaseException:
        index.close()
        raise
    index.close()
    from vaultpy.index.upgrade import upgrade  # alembic costs 260 ms

    upgrade(path, revision)
    return Index(path, _connect(path, "rw"))


def _refused(path: Path, what: str, error: OSError) -> IndexDatabaseError:
    said = (error.strerror or str(error)).lower()
    return IndexDatabaseError(f"index {path} cannot be {what}: {said}", hint=_OWNER_OR_DISK)


def _open_read_only(path: Path) -> Index:
    if os.path.exists(f"{path}-journal") and os.access(path, os.W_OK):
        # What a crash left half done can only be rolled back by a writer; nothing else happens here.
        Index(path, _connect(path, "rw")).close()
    index = Index(path, _connect(path, "ro"), read_only=True)
    try:
        revision = _revision(index)
        if revision != REVISION:
            raise OtherVersion(
                f"index {path} is of another version ({revision})", hint="the next snapshot create upgrades it"
            )
    except BaseException:
        index.close()
        raise
    return index


def _revision(index: Index) -> str:
    known = index.value("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'")
    revision = index.value("SELECT version_num FROM alembic_version") if known else None
    if revision is None:
        raise IndexDamaged(f"index {index.path} is not an index of vaultpy", hint="make it anew: vaultpy index rebuild")
    return str(revision)


def _create_tables(index: Index) -> None:
    for statement in _table_statements():
        index.run(statement)


@cache
def _table_statements() -> tuple[str, ...]:
    """What `tables.sql` says, statement by statement: in one script SQLite would end the transaction that we are in."""
    text = Path(__file__).with_name("tables.sql").read_text("ascii")
    return tuple(filter(None, text.split(";\n")))


def _connect(path: Path, mode: str, *, scratch: bool = False) -> sqlite3.Connection:
    uri = f"file:{_uri_quote(str(path.absolute()))}?mode={mode}"
    with _translated(path, scratch):
        raw = sqlite3.connect(uri, uri=True, isolation_level=None, cached_statements=256)
        try:
            _configure(raw)
        except BaseException:
            raw.close()
            raise
    return raw


def _uri_quote(text: str) -> str:
    return text.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _configure(raw: sqlite3.Connection) -> None:
    for pragma in (
        f"busy_timeout = {BUSY_MS}",
        f"journal_mode = {'WAL' if sqlite3.sqlite_version_info >= WAL_SINCE else 'DELETE'}",
        # Not FULL: a commit ends by removing the journal, and a power cut that brings it back undoes what was committed,
        # though its manifest may be in the store by then.
        "synchronous = EXTRA",
        "foreign_keys = ON",
        f"cache_size = -{CACHE_KIB}",
        "trusted_schema = OFF",
    ):
        raw.execute(f"PRAGMA {pragma}").close()


@contextlib.contextmanager
def _translated(path: Path, scratch: bool) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _failure(path, error, scratch) from error


def _failure(path: Path, error: sqlite3.Error, scratch: bool) -> IndexDatabaseError:
    if scratch:  # of no kind: nobody is to make the host's own index anew because of it
        return IndexDatabaseError(f"scratch index {path} failed: {error}", hint=_SCRATCH_HINT)
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_READONLY_ROLLBACK:  # only who opens it to write takes back what the dead one began
        return IndexChanged(f"index {path} was left in the middle of a change by a run that died", hint=_AGAIN)
    code &= 0xFF
    kind = _KINDS.get(code, IndexDatabaseError)
    return kind(f"index {path} failed: {error}", hint=_HINTS.get(code))


_KINDS = {
    sqlite3.SQLITE_CORRUPT: IndexDamaged,
    sqlite3.SQLITE_NOTADB: IndexDamaged,
    sqlite3.SQLITE_BUSY: IndexBusy,
}

_OWNER_OR_DISK = "run as the user that the state folder belongs to, and look at its disk"

_AGAIN = "run it again, as the user that the state folder belongs to"

_SCRATCH_HINT = "make room on that disk, or look at it; TMPDIR may name a folder on another"

_HINTS = {
    sqlite3.SQLITE_FULL: "make room on that disk; nothing finished is lost, the next run goes on",
    sqlite3.SQLITE_CORRUPT: "make it anew from the store: vaultpy index rebuild",
    sqlite3.SQLITE_NOTADB: "make it anew from the store: vaultpy index rebuild",
    sqlite3.SQLITE_BUSY: "another process holds it; try again when that has ended",
    sqlite3.SQLITE_IOERR: "look at its disk; if that is well again and the index is not: vaultpy index rebuild",
    sqlite3.SQLITE_CANTOPEN: _OWNER_OR_DISK,
    sqlite3.SQLITE_READONLY: _OWNER_OR_DISK,
    sqlite3.SQLITE_PERM: _OWNER_OR_DISK,
}
