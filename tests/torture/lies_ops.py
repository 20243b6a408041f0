"""What vaultpy is asked to do while a store lies, and what may come of it.

Each operation is a function of a scene whose store may lie; it says what it claims to have done, or raises a VaultpyError.
What it claims is compared with the truth by the campaign.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from scene import HOUR, Died, Look, Scene, Wrong, recipient_of

from vaultpy.errors import UsageError
from vaultpy.events import ignore
from vaultpy.lock import hold_lock
from vaultpy.model import SnapshotId
from vaultpy.ops.checking.verify import VerifyRequest, verify
from vaultpy.ops.init import add_store_key, join_or_make
from vaultpy.ops.making.create import CreateOptions, create_snapshots
from vaultpy.ops.reading.catalog import read_catalog
from vaultpy.ops.reading.findings import Depth, Verified
from vaultpy.ops.rebuild import rebuild_index
from vaultpy.ops.removing.prune import apply_prune, plan_prune
from vaultpy.ops.removing.purge import apply_purge, plan_purge, safe_now
from vaultpy.ops.removing.remove import apply_removal, plan_removal
from vaultpy.ops.removing.retention import Rules
from vaultpy.ops.restoring.restore import Restored
from vaultpy.units import parse_duration

Done = object
"""What an operation claims: nothing, snapshots, a verification, a restore."""


@dataclass(frozen=True, slots=True)
class Op:
    """`prepare` brings the scene into the state that the operation is about; `run` does it."""

    name: str
    prepare: Callable[[Scene], None]
    run: Callable[[Scene], Done]
    may_go: Callable[[Scene], set[SnapshotId]] = lambda scene: set()
    """The snapshots that it is there to remove."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """Snapshots that a run says are finished, and how the trees were."""

    snapshots: tuple[tuple[SnapshotId, str], ...]
    looks: dict[str, Look]


@dataclass(frozen=True, slots=True)
class CameBack:
    restored: Restored
    target: Path


def nothing(scene: Scene) -> None:
    return


def create(scene: Scene) -> Claimed:
    looks = scene.looks()
    scene.machine.clock.advance(60 * 1_000_000_000)
    made = create_snapshots(scene.machine.vault, scene.sources, CreateOptions(), ignore)
    for one in made:
        if one.error is not None:
            raise one.error
        if one.exit_code != 0:
            raise Wrong(f"I12 a store's fault passes for one of the source: {one.problems}")
    return Claimed(tuple((one.snapshot.id, one.source) for one in made if one.snapshot), looks)


def create_if_changed(scene: Scene) -> Claimed:
    scene.machine.clock.advance(60 * 1_000_000_000)
    looks = scene.looks()
    made = create_snapshots(scene.machine.vault, scene.sources, CreateOptions(if_changed=True), ignore)
    for one in made:
        if one.error is not None:
            raise one.error
    return Claimed(tuple((one.snapshot.id, one.source) for one in made if one.snapshot), looks)


def restore_newest(*, here: bool) -> Callable[[Scene], CameBack]:
    def run(scene: Scene) -> CameBack:
        with scene.reader(here=here) as reader:
            entries = [one for one in read_catalog(reader).entries if one.id in scene.told]
            if not entries:
                raise UsageError("the store has no snapshots")
            tree = [one for one in entries if scene.told[one.id][0] == "tree"]
            return CameBack(*scene.restore((tree or entries)[-1], reader))

    return run


def verify_all(depth: Depth) -> Callable[[Scene], Verified]:
    def run(scene: Scene) -> Verified:
        with scene.reader() as reader:
            return verify(reader, VerifyRequest(every=True, depth=depth), ignore)

    return run


def list_all(scene: Scene) -> None:
    with scene.reader(here=True) as reader:
        read_catalog(reader)


def purge(rules: Rules, *, here: bool = False) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        with scene.reader(here=here) as reader:
            catalog = read_catalog(reader)
            plan = plan_purge(catalog, rules, safe_now(reader.at.store, scene.machine.clock))
            newest = {one.source: one.id for one in catalog.entries}.values()
            if {one.id for one in plan.going} & set(newest):
                raise Wrong("I10 a purge plans to remove the newest of a source")
            apply_purge(reader, plan, os.urandom)

    return run


def remove_oldest(scene: Scene) -> None:
    [gone] = oldest(scene)
    with scene.reader() as reader:
        apply_removal(reader, plan_removal(read_catalog(reader), [str(gone)], force=False), os.urandom)


def prune(*, here: bool) -> Callable[[Scene], None]:
    def run(scene: Scene) -> None:
        with scene.reader(here=here) as reader:
            apply_prune(scene.store, plan_prune(reader), os.urandom)

    return run


def rebuild(scene: Scene) -> None:
    vault = scene.machine.vault
    with hold_lock(vault.paths.lock, "torture", clock=vault.clock):
        rebuild_index(vault, [], ignore)


def join(scene: Scene) -> None:
    """A second `init` in the same place: nothing of what is there may change."""
    at, joined = join_or_make(scene.store, 24 * 3600, scene.machine.clock, os.urandom)
    if joined and at.settings.id != scene.machine.vault.at.settings.id:
        raise Wrong("I12 init joined another store than the one that is there")


def new_key(scene: Scene) -> None:
    vault = scene.machine.vault
    add_store_key(
        scene.store,
        vault.paths.folder,
        [recipient_of(scene.machine.identity)],
        vault.host.signing_key.public_text(),
        scene.machine.clock,
        os.urandom,
    )


# What comes before an operation, with an honest store.


def lose_index(scene: Scene) -> None:
    scene.machine.vault.paths.index.unlink()


def with_orphans(scene: Scene) -> None:
    """A snapshot that was removed a while ago: what only it needed is recorded, and the record is due."""
    [gone] = oldest(scene)
    with scene.reader() as reader:
        apply_removal(reader, plan_removal(read_catalog(reader), [str(gone)], force=False), os.urandom)
        scene.told.pop(gone)
        scene.machine.clock.advance(25 * HOUR)
        apply_prune(scene.store, plan_prune(reader), os.urandom)
    scene.machine.clock.advance(25 * HOUR)


def died_before_manifest(scene: Scene) -> None:
    """A run that ended between signature and manifest."""

    def die(verb: str, name: str) -> None:
        if verb == "put" and name.endswith("manifest.json.zst"):
            raise Died

    looks = scene.looks()
    scene.machine.store.before = die
    try:
        create(scene)
    except Died:
        asked = "SELECT s.id, o.name FROM snapshots s JOIN sources o ON o.id = s.source_id WHERE s.state = 1"
        decided = scene.machine.rows(asked)
        scene.decided = {SnapshotId(UUID(bytes=id)): (name, looks[name]) for id, name in decided}
    finally:
        scene.machine.store.before = lambda verb, name: None


def all_but_newest(scene: Scene) -> set[SnapshotId]:
    return scene.told.keys() - set(scene.newest())


def oldest(scene: Scene) -> set[SnapshotId]:
    return {next(iter(scene.told))}


OPS = (
    Op("create", nothing, create),
    Op("create if changed", nothing, create_if_changed),
    Op("create without an index", lose_index, create),
    Op("create after a death", died_before_manifest, create),
    Op("restore elsewhere", nothing, restore_newest(here=False)),
    Op("restore at home", nothing, restore_newest(here=True)),
    Op("verify what is listed", nothing, verify_all(Depth.LISTED)),
    Op("verify every byte", nothing, verify_all(Depth.HASHED)),
    Op("verify with the key", nothing, verify_all(Depth.OPENED)),
    Op("list", nothing, list_all),
    Op("purge all but one", nothing, purge(Rules(last=1)), all_but_newest),
    Op("purge at home", nothing, purge(Rules(last=2), here=True), all_but_newest),
    Op("purge by age", nothing, purge(Rules(within=parse_duration("30d")))),
    Op("remove", nothing, remove_oldest, oldest),
    Op("prune", with_orphans, prune(here=False)),
    Op("prune at home", with_orphans, prune(here=True)),
    Op("rebuild", nothing, rebuild),
    Op("join", nothing, join),
    Op("new key", nothing, new_key),
)
