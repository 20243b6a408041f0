"""The stages of a campaign's room, made when they are first asked for, over one small vault."""

from __future__ import annotations

import contextlib
import importlib
import random
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from campaigns import Case, Room
from invariants import Scene, appearance, sizes
from operations import OPERATIONS
from recoverer import Recoverer
from smallvault import Ran, SmallVault, adopt_orphans, change, fill, warm_up
from stage import Stage

GRACE = "1h"


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
    """Whether a case is followed by restores and a deep verification by vaultpy, too: one in four, that cost as much as
    all else.  The plain tools read everything after every case."""
    return room.sample or room.random("thorough", case.name).randrange(4) == 0


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
