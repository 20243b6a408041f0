"""Bringing an index of an earlier version up to date, in place, after a copy of it was kept.

The only importer of alembic.  Its scripts lie in `migrations/` beside the package in a checkout, and inside it in a wheel.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import alembic.command
import sqlalchemy
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import event

from vaultpy.errors import IndexDatabaseError


def migrations_folder() -> Path:
    """Where the scripts are: an editable install has them beside the package, a wheel inside."""
    package = Path(__file__).resolve().parent.parent
    inside, beside = package / "migrations", package.parent / "migrations"
    return inside if inside.is_dir() else beside


def upgrade(path: Path, revision: str, scripts: Path | None = None, target: str = "head") -> None:
    """Upgrade the index at `path`, which nobody has open; a copy stays as `<path>.<revision>`.

    A script that fails leaves the index as it was: each runs in one transaction, which takes the two listeners below,
    because the driver would otherwise commit before every CREATE.  Raises IndexDatabaseError.
    """
    copy = path.with_name(f"{path.name}.{revision}")
    try:
        shutil.copy2(path, copy)
    except OSError as error:
        raise IndexDatabaseError(
            f"index {path} could not be copied before its upgrade: {(error.strerror or str(error)).lower()}",
            hint="it was left as it was; make room beside it, and look at its disk",
        ) from error
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _leave_transactions_to_us)
    event.listen(engine, "begin", _begin_immediate)
    config = Config()
    config.set_main_option("script_location", str(scripts or migrations_folder()).replace("%", "%%"))
    config.attributes["engine"] = engine
    try:
        alembic.command.upgrade(config, target)
    except (CommandError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise IndexDatabaseError(
            f"index {path} could not be upgraded from version {revision}: {str(error).splitlines()[0]}",
            hint=f"it was left as it was, and {copy} is a copy; if vaultpy is older than the index, use the newer one",
        ) from error
    finally:
        engine.dispose()


def _leave_transactions_to_us(raw: object, _record: object) -> None:
    raw.isolation_level = None  # type: ignore[attr-defined]


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
