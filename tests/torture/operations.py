"""What the campaigns interrupt: every operation that changes something, each from a state of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from points import die
from smallvault import Arm
from stage import CREATE, Stage

PAST_GRACE = 3600 + 60
"""Seconds; the grace of these vaults is an hour."""


def _first(stage: Stage) -> None:
    """The first snapshot of a new host."""
    stage.words, stage.after = CREATE, "one"


def _changed(stage: Stage) -> None:
    """A second snapshot, after changes of every kind."""
    stage.create("one")
    stage.moment, stage.words, stage.after = "two", CREATE, "two"


def _chained(stage: Stage) -> None:
    """A third, on a chain of two exports."""
    stage.create("one")
    stage.create("two")
    stage.moment, stage.words, stage.after = "three", CREATE, "three"


def _unchanged(stage: Stage) -> None:
    """`--if-changed`, and nothing has."""
    stage.create("one")
    stage.words, stage.after = (*CREATE, "--if-changed"), "one"


def _resumed(stage: Stage) -> None:
    """After a run that died when its blobs were stored."""
    stage.create("one")
    _die(stage, "db.zst.age")
    stage.words, stage.after = CREATE, "two"


def _unconfirmed(stage: Stage) -> None:
    """After a run that died between deciding the manifest and putting it."""
    stage.create("one")
    _die(stage, "manifest.json.zst.sig")
    stage.words, stage.after = CREATE, "two"


def _healed(stage: Stage) -> None:
    """After the store has lost a blob: what it held is stored anew."""
    stage.create("one")
    blobs = sorted(name for name in stage.vault.objects() if name.startswith("blobs/"))
    (stage.vault.store / blobs[0]).unlink()
    stage.damaged = [blobs[0]]
    stage.finished.clear()
    stage.moment, stage.words, stage.after = "two", CREATE, "two"


def _partial(stage: Stage) -> None:
    """A run so long that it publishes partial manifests on its way."""
    stage.create("one")
    stage.moment, stage.words, stage.after, stage.arm = "two", CREATE, "two", _impatient


def _helped(stage: Stage) -> None:
    """A run that reads in a worker process, as large ones do."""
    stage.create("one")
    stage.moment, stage.words, stage.after, stage.arm = "two", CREATE, "two", _crowded


def _written(stage: Stage) -> None:
    """A restore that writes in worker processes, as large ones do."""
    _restored(stage)
    stage.arm = _crowded


def _lost(stage: Stage) -> None:
    """The index is lost: it is rebuilt before the run."""
    stage.create("one")
    stage.create("two")
    stage.vault.index.unlink()
    stage.moment, stage.words, stage.after = "three", CREATE, "three"


def _migrated(stage: Stage) -> None:
    """The index is of an older version."""
    stage.create("one")
    stage.moment, stage.words, stage.after, stage.arm = "two", CREATE, "two", _newer(stage.vault.folder / "migrations")


def _rebuilt(stage: Stage) -> None:
    """`index rebuild` from three snapshots."""
    for moment in ("one", "two", "three"):
        stage.create(moment)
    stage.words = ("index", "rebuild")


def _purged(stage: Stage) -> None:
    """`snapshot purge` of two snapshots of three."""
    ids = [stage.create(moment) for moment in ("one", "two", "three")]
    stage.vault.age(PAST_GRACE)
    stage.words, stage.gone = ("--json", "snapshot", "purge", "--keep-last", "1", "--force"), ids[:2]


def _removed(stage: Stage) -> None:
    """`snapshot remove` of the first of two."""
    ids = [stage.create(moment) for moment in ("one", "two")]
    # Again by an id that may be gone already would be an error: a purge does the same, and may be repeated.
    stage.words = ("--json", "snapshot", "remove", str(ids[0]))
    stage.again, stage.gone = ("--json", "snapshot", "purge", "--keep-last", "1", "--force"), ids[:1]


def _recorded(stage: Stage) -> None:
    """`store prune` that records what nothing needs any more."""
    _purged(stage)
    stage.vault.must(*stage.words)
    for record in (stage.vault.store / "purges").iterdir():
        os.utime(record, (0, 0))  # long void: what the purge recorded is forgotten
    stage.finished = {id: tree for id, tree in stage.finished.items() if id not in stage.gone}
    stage.words = ("--json", "store", "prune")


def _deleted(stage: Stage) -> None:
    """`store prune` that deletes what was recorded a grace ago."""
    _purged(stage)
    stage.vault.must(*stage.words)
    stage.vault.age(PAST_GRACE)
    stage.finished = {id: tree for id, tree in stage.finished.items() if id not in stage.gone}
    stage.words, stage.may_go = ("--json", "store", "prune"), True


def _restored(stage: Stage) -> None:
    """`snapshot restore` into an empty place."""
    stage.create("one")
    stage.create("two")
    own = ("--identity", str(stage.vault.identity))
    stage.words = ("--json", "snapshot", "restore", "latest", str(stage.vault.target), *own)
    stage.restored = "two"


def _verified(stage: Stage) -> None:
    """`snapshot verify --deep`."""
    stage.create("one")
    stage.create("two")
    stage.words = ("--json", "snapshot", "verify", "--all", "--deep", "--identity", str(stage.vault.identity))


def _new_key(stage: Stage) -> None:
    """`key new`; the next snapshot is stored under it, whole."""
    stage.create("one")
    stage.words = ("key", "new", "--recipient", stage.vault.recipient)
    stage.moment, stage.again, stage.after = "two", CREATE, "two"


def _new_recipient(stage: Stage) -> None:
    """`key add-recipient`."""
    stage.create("one")
    own = ("--identity", str(stage.vault.identity))
    stage.words = ("key", "add-recipient", stage.vault.recipient, *own)
    stage.moment, stage.again, stage.after = "two", CREATE, "two"


OPERATIONS: dict[str, Callable[[Stage], None]] = {
    "first": _first,
    "changed": _changed,
    "chained": _chained,
    "if-changed": _unchanged,
    "resumed": _resumed,
    "unconfirmed": _unconfirmed,
    "healed": _healed,
    "partial": _partial,
    "create-in-processes": _helped,
    "restore-in-processes": _written,
    "lost-index": _lost,
    "migration": _migrated,
    "rebuild": _rebuilt,
    "purge": _purged,
    "remove": _removed,
    "prune-record": _recorded,
    "prune-delete": _deleted,
    "restore": _restored,
    "verify": _verified,
    "key-new": _new_key,
    "add-recipient": _new_recipient,
}
"""By name; each brings a stage, whose vault was just made, to where its command begins."""


def _die(stage: Stage, name: str) -> None:
    """Leave behind what a run leaves that dies before it puts an object whose name ends so."""
    stage.vault.put_tree("two")
    stage.moment = "two"
    ran = stage.vault.run(*CREATE, arm=_killed_before_put(name))
    assert ran.code < 0, f"{name} was not put: {ran}"


def _killed_before_put(name: str) -> Arm:
    def arm() -> None:
        from vaultpy.store.local import LocalStore

        put = LocalStore.put

        def put_or_die(store: LocalStore, named: str, body: Any) -> None:
            if named.endswith(name):
                die()
            put(store, named, body)

        LocalStore.put = put_or_die  # type: ignore[method-assign]

    return arm


def _impatient() -> None:
    """Let every moment be a quarter of the grace later than the one before."""
    from vaultpy.ops.making import create

    original = create._Attempt._keep_alive

    def keep_alive(self: Any, *arguments: Any) -> None:
        self._last_partial = 0
        original(self, *arguments)

    create._Attempt._keep_alive = keep_alive  # type: ignore[method-assign]


def _crowded() -> None:
    """Let any number of files be many, so that worker processes begin."""
    from vaultpy.ops.making import crew
    from vaultpy.ops.restoring import writers

    for module in (crew, writers):
        module.START_FILES = module.START_BYTES = -1  # type: ignore[attr-defined]


_SCRIPT = """
from alembic import op
revision = "9999"
down_revision = "{before}"
def upgrade():
    op.execute("CREATE TABLE added (x INTEGER)")
    op.execute("INSERT INTO added VALUES (1)")
    op.execute("CREATE INDEX added_x ON added (x)")
"""


def _newer(scripts: Path) -> Arm:
    """A program of a version to come, whose index has one table more."""
    from vaultpy.index import db, upgrade

    shutil.copytree(upgrade.migrations_folder(), scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_next.py").write_text(_SCRIPT.format(before=db.REVISION))

    def arm() -> None:
        db.REVISION = "9999"
        upgrade.migrations_folder = lambda: scripts

    return arm
