"""What the campaigns interrupt: every operation that changes something, each from a state of its own.

A state is made once and frozen; a case thaws it, runs the command with something in its way, and then asks the invariants.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from campaigns import Case, Room
from invariants import Scene, appearance, sizes
from points import die
from recoverer import Recoverer, Tree
from smallvault import SOURCE, Arm, Frozen, OnFork, Ran, SmallVault, adopt_orphans, change, fill, warm_up

GRACE = "1h"
PAST_GRACE = 3600 + 60

Words = tuple[str, ...]


@dataclass
class Stage:
    """A vault in the state that an operation begins from, and what is known about it."""

    vault: SmallVault
    moment: str = "one"
    finished: dict[UUID, Tree] = field(default_factory=dict)
    words: Words = ()
    after: str | None = None
    gone: Collection[UUID] = ()
    damaged: Collection[str] = ()
    may_go: bool = False
    collects: bool = False
    restored: str | None = None
    again: Words | None = None
    arm: Arm | None = None
    frozen: Frozen | None = None
    before: dict[str, int] = field(default_factory=dict)
    canary: object = None

    def create(self, moment: str) -> UUID:
        """A finished snapshot of a moment's tree."""
        self.vault.put_tree(moment)
        [made] = self.vault.must("--json", "snapshot", "create").json
        id = UUID(made["snapshot"])
        self.finished[id] = self.vault.trees[moment]
        self.moment = moment
        return id

    def start(self) -> Stage:
        """Bring the state back."""
        assert self.frozen is not None
        self.vault.thaw(self.frozen)
        self.vault.arm = self.arm
        self.vault.put_tree(self.moment)
        return self

    def run(self, arm: Arm | None = None, on_fork: OnFork | None = None) -> Ran:
        return self.vault.run(*self.words, arm=arm, on_fork=on_fork)

    def scene(self, recoverer: Recoverer, said: Ran | None, *, thorough: bool = True) -> Scene:
        vault = self.vault
        again = self.again or self.words
        return Scene(
            vault=vault,
            recoverer=recoverer,
            finished=self.finished,
            said=said,
            again=lambda: vault.run(*again),
            after=vault.trees[self.after] if self.after else None,
            damaged=self.damaged,
            gone=self.gone,
            may_go=self.may_go,
            prunes="prune" in self.words,
            collects=self.collects,
            restored=vault.trees[self.restored] if self.restored else None,
            before=self.before,
            canaries={vault.outside: self.canary},
            thorough=thorough,
        )


CREATE: Words = ("--json", "snapshot", "create")


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


class Stages:
    """The stages of a room, made when they are first asked for, over one vault."""

    def __init__(self, folder: Path) -> None:
        warm_up()
        adopt_orphans()
        self.vault = make_vault(folder)
        self._empty = self.vault.freeze()
        self._stages: dict[str, Stage] = {}
        self._started: Stage | None = None
        self.recoverer = Recoverer(self.vault.identity, [self.vault.signer])

    def start(self, name: str) -> Stage:
        """The stage of an operation, in its beginning."""
        if name not in self._stages:
            self._stages[name] = self._make(name)
        self._started = self._stages[name].start()
        return self._started

    def start_scene(self, said: Ran, *, thorough: bool) -> Scene:
        """What there is after the command of the stage that was started last."""
        assert self._started is not None
        return self._started.scene(self.recoverer, said, thorough=thorough)

    def close(self) -> None:
        self.recoverer.close()

    def _make(self, name: str) -> Stage:
        self.vault.thaw(self._empty)
        self.vault.arm = None
        stage = Stage(self.vault)
        OPERATIONS[name](stage)
        stage.before = sizes(self.vault)
        stage.canary = appearance(self.vault.outside)
        stage.frozen = self.vault.freeze()
        import_what_is_used(stage.start())
        stage.collects = stage.after is not None and not stage.damaged
        return stage


def import_what_is_used(stage: Stage) -> None:
    """Import here what a stage's command imports on its way: a fault shall meet vaultpy, not the loading of a library."""
    result = stage.vault.folder / "modules"

    def arm() -> Callable[[], None]:
        return lambda: result.write_text("\n".join(sys.modules)) and None

    stage.run(arm)
    for name in result.read_text().splitlines():
        if name not in sys.modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def stages_of(room: Room) -> Stages:
    """The room's stages; its `close` gives them back."""
    if "stages" not in room.kept:
        room.kept["stages"] = Stages(room.folder / "vault")
    found: Stages = room.kept["stages"]
    return found


def is_thorough(room: Room, case: Case) -> bool:
    """Whether a case is followed by restores and a deep verification by vaultpy, too: one in three, that cost as much as
    all else.  The plain tools read everything after every case."""
    return room.sample or room.random("thorough", case.name).randrange(3) == 0


def chosen(room: Room, sampled: Collection[str], names: Collection[str] = OPERATIONS) -> list[str]:
    """The operations that a run of a campaign is about."""
    return [name for name in (sampled if room.sample else names) if room.only in (None, name)]


def close_stages(room: Room) -> None:
    if "stages" in room.kept:
        stages_of(room).close()


def make_vault(folder: Path, **settings: Any) -> SmallVault:
    """A small vault with an empty store, and trees of three moments."""
    vault = SmallVault(folder, grace=GRACE, **settings)
    vault.init()
    fill(vault.keep_tree("one"))
    change(vault.keep_tree("two", of="one"))
    grow(vault.keep_tree("three", of="two"))
    for moment in ("one", "two", "three"):
        vault.look_at_tree(moment)
    return vault


def grow(place: Path) -> None:
    """From the second moment to the third: most of what was large is another."""
    words = random.Random(3)
    (place / "renamed").unlink()
    (place / "picture1").unlink()
    (place / "another").write_bytes(words.randbytes(600_000))
    (place / "letters" / "letter9").write_bytes(words.randbytes(4_000))


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


__all__ = [
    "OPERATIONS",
    "SOURCE",
    "Stage",
    "Stages",
    "chosen",
    "close_stages",
    "is_thorough",
    "make_vault",
    "stages_of",
]
