"""Indexes of earlier versions are upgraded in place, and one whose upgrade fails is left as it was."""

from __future__ import annotations

import errno
import re
import shutil
import sqlite3
from pathlib import Path
from typing import NoReturn

import pytest

from vaultpy.errors import IndexDatabaseError
from vaultpy.index import schema
from vaultpy.index.db import REVISION, create_index, open_index
from vaultpy.index.upgrade import migrations_folder, upgrade

NEXT = """
from alembic import op
revision = "9999"
down_revision = "{before}"
def upgrade():
    op.execute("CREATE TABLE added (x INTEGER)")
    op.execute("INSERT INTO added VALUES (1)")
    {crash}
"""


def schema_of(path: Path) -> dict[str, str]:
    with sqlite3.connect(path) as raw:
        rows = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    raw.close()
    return {name: re.sub(r"\s+", " ", sql).strip() for name, sql in rows}


def test_a_new_index_is_what_the_schema_says() -> None:
    written = (Path(schema.__file__).with_name("tables.sql")).read_text("ascii")
    assert re.sub(r"\s+", " ", written) == re.sub(r"\s+", " ", schema.tables_sql())


def empty_database(path: Path) -> None:
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 0")
    raw.close()


def with_one_more(tmp_path: Path, crash: str) -> Path:
    scripts = tmp_path / "migrations"
    shutil.copytree(migrations_folder(), scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_next.py").write_text(NEXT.format(before=REVISION, crash=crash))
    return scripts


def test_all_migrations_make_what_a_new_index_is(tmp_path: Path) -> None:
    """From an empty database up, every table, index and view comes out as create_index makes it."""
    empty_database(tmp_path / "old.sqlite")
    upgrade(tmp_path / "old.sqlite", "none")
    create_index(tmp_path / "new.sqlite").close()
    old, new = schema_of(tmp_path / "old.sqlite"), schema_of(tmp_path / "new.sqlite")
    assert set(old) == set(new)
    assert {name: sql for name, sql in old.items() if name != "alembic_version"} == {
        name: sql for name, sql in new.items() if name != "alembic_version"
    }
    with open_index(tmp_path / "old.sqlite") as index:
        assert index.rows("SELECT * FROM files") == []


def test_files_of_an_index_before_access_times_have_none(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    empty_database(path)
    upgrade(path, "none", target="0002")
    with sqlite3.connect(path) as raw:
        raw.execute("INSERT INTO files VALUES (7, 1, X'61', 1, 0, 5, 5, 9, 9, 1, 420, 1" + ", NULL" * 8 + ")")
    raw.close()
    with open_index(path) as index:
        assert index.rows("SELECT id, name, mtime, last_seq, atime FROM files") == [(7, b"a", 5, None, None)]


def test_an_upgrade_keeps_a_copy_and_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    create_index(path, {"store": b"abc"}).close()
    upgrade(path, REVISION, with_one_more(tmp_path, "pass"))
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT x FROM added").fetchall() == [(1,)]
    assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    assert raw.execute("SELECT value FROM meta").fetchall() == [(b"abc",)]
    raw.close()
    with open_index(tmp_path / f"index.sqlite.{REVISION}") as copy:
        assert copy.rows("SELECT value FROM meta") == [(b"abc",)]


def test_an_index_that_cannot_be_copied_is_not_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    create_index(tmp_path / "index.sqlite").close()
    before = (tmp_path / "index.sqlite").read_bytes()
    scripts = with_one_more(tmp_path, "")
    monkeypatch.setattr(shutil, "copy2", fail)
    with pytest.raises(IndexDatabaseError, match="no space left"):
        upgrade(tmp_path / "index.sqlite", REVISION, scripts)
    assert (tmp_path / "index.sqlite").read_bytes() == before


def test_an_upgrade_that_crashes_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    """Half of its tables must not stay behind at the old version: then no later try could succeed."""
    path = tmp_path / "index.sqlite"
    create_index(path).close()
    before = schema_of(path)
    scripts = with_one_more(tmp_path, 'op.execute("INSERT INTO no_such_table VALUES (1)")')
    with pytest.raises(IndexDatabaseError, match="could not be upgraded"):
        upgrade(path, REVISION, scripts)
    assert schema_of(path) == before
    upgrade(path, REVISION, with_one_more(tmp_path / "again", "pass"))


def test_an_index_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    create_index(path).close()
    raw = sqlite3.connect(path)
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    raw.close()
    with pytest.raises(IndexDatabaseError, match="could not be upgraded from version 9999"):
        open_index(path)


def test_a_file_that_is_no_index_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a database" * 100)
    with pytest.raises(IndexDatabaseError, match=r"index .*/x failed"):
        open_index(tmp_path / "x")
    sqlite3.connect(tmp_path / "y").close()
    empty_database(tmp_path / "y")
    with pytest.raises(IndexDatabaseError, match="is not an index of vaultpy"):
        open_index(tmp_path / "y")


def test_reading_does_not_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    create_index(path).close()
    raw = sqlite3.connect(path)
    raw.execute("UPDATE alembic_version SET version_num = '0000'")
    raw.commit()
    raw.close()
    before = path.read_bytes()
    with pytest.raises(IndexDatabaseError, match="another version"):
        open_index(path, read_only=True)
    assert path.read_bytes() == before
