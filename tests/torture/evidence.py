"""What the invariants look at: what a case says about itself, and what lies in its store, its index and its target."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import blake3
from recoverer import Recovered, Recoverer, Tree
from smallvault import Ran, SmallVault, below, look, moved


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass
class Scene:
    """What a case did and what is known about it.

    `finished`: what each snapshot that was complete before has to hold, by id; `said`: the command that the case was about;
    `again`: the same without faults, None where nothing is to be repeated; `after`: what the newest snapshot must hold once
    `again` has run; `damaged`: objects that the case spoiled or took away, by name; `gone`: finished snapshots that the
    command was told to remove; `may_go`: whether unneeded objects may be deleted; `prunes`:
    whether void records may; `collects`: whether prunes afterwards must
    leave nothing but what is needed; `clock_wrong`: whether a clock was; `mute`: whether nothing could be written, to
    standard error neither; `restored`: what the command restores to `vault.target`; `before`: the store's objects, and
    `canaries` what lay outside, before it began; `thorough`: whether vaultpy restores, verifies and prunes, too.
    """

    vault: SmallVault
    recoverer: Recoverer
    finished: Mapping[UUID, Tree]
    said: Ran | None = None
    again: Callable[[], Ran] | None = None
    after: Tree | None = None
    damaged: Collection[str] = ()
    gone: Collection[UUID] = ()
    may_go: bool = False
    prunes: bool = False
    collects: bool = False
    clock_wrong: bool = False
    restored: Tree | None = None
    before: Mapping[str, int] = field(default_factory=dict)
    canaries: Mapping[Path, object] = field(default_factory=dict)
    mute: bool = False
    ran_again: Ran | None = None
    thorough: bool = True


def appearance(path: Path) -> object:
    """All that a restore could change about what lies at a path, and below."""
    status = path.lstat()
    kept = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_ino)
    if stat.S_ISDIR(status.st_mode):
        return kept, {entry.name: appearance(entry) for entry in sorted(path.iterdir())}
    return kept, path.read_bytes() if stat.S_ISREG(status.st_mode) else None


def sizes(vault: SmallVault) -> dict[str, int]:
    """Names and sizes of the store's objects, for `Scene.before`."""
    return {name: path.stat().st_size for name, path in vault.objects().items()}


def must(held: object, what: str) -> None:
    if not held:
        raise Violation(what)


def blob_name(data: bytes) -> str:
    return hash_name(blake3.blake3(data).hexdigest())


def hash_name(hash: str) -> str:
    return f"blobs/{hash[:2]}/{hash[2:4]}/{hash}"


def blob_names(said: dict) -> set[str]:
    return {hash_name(hash) for hash, _ in said["blobs"]}


def export_names(said: dict) -> set[str]:
    return {f"metadata/{one['id']}/db.zst.age" for one in said["exports"]}


def manifests(scene: Scene) -> dict[UUID, dict]:
    """All of them, but those that the case spoiled."""
    found = {}
    for path in sorted(scene.vault.store.glob("metadata/*/manifest.json.zst")):
        name = str(path.relative_to(scene.vault.store))
        if name not in scene.damaged and name + ".sig" not in scene.damaged:
            found[UUID(path.parent.name)] = scene.recoverer.manifest(path)
    return found


def shown(scene: Scene) -> list[dict]:
    """Those that no other one repairs, and so hides."""
    found = manifests(scene)
    hidden = {said["repairs"] for said in found.values()}
    return [said for said in found.values() if said["snapshot"] not in hidden]


def recovered(scene: Scene) -> list[Recovered]:
    """The complete snapshots that can be had, oldest first, those that another repairs left out."""
    found = []
    for said in manifests(scene).values():
        if said["state"] != "complete" or export_names(said) & set(scene.damaged):
            continue
        found.append(scene.recoverer.recover(scene.vault.store, said))
    return sorted(found, key=lambda one: (one.sequence, one.id))


def check_database(vault: SmallVault) -> None:
    if vault.index.exists():
        must(query(vault.index, "PRAGMA integrity_check") == [("ok",)], "integrity_check")
        must(query(vault.index, "PRAGMA foreign_key_check") == [], "foreign_key_check")


def query(index: Path, sql: str) -> list[tuple]:
    connection = sqlite3.connect(index)
    try:
        return connection.execute(sql).fetchall()
    except sqlite3.Error as error:
        raise Violation(f"{index.name}: {error}") from error
    finally:
        connection.close()


def collect(scene: Scene) -> None:
    """Two prunes, a grace after the other: what is left is what the snapshots need."""
    for _ in range(2):
        scene.vault.age(3600 + 60)
        ran = scene.vault.run("store", "prune")
        must(ran.code == 0, f"prune: exit {ran.code}: {ran.err}")
    scene.may_go = True
    there = manifests(scene).values()
    needed = {name for said in there for name in blob_names(said) | export_names(said)}
    left = {name for name in scene.vault.objects() if name.startswith("blobs/") or name.endswith(".age")}
    left = {name for name in left if not name.startswith("keys/")}
    must(left == needed, f"prunes leave {sorted(left - needed)} and lack {sorted(needed - left)}")
    must(all(said["state"] == "complete" for said in there), "a partial manifest is left")


def restore_all(scene: Scene, found: Mapping[UUID, Recovered]) -> None:
    wanted = [one for one in found.values() if not one.lost]
    hidden = {one.repairs for one in found.values()}
    for one in wanted[-2:]:
        if one.id in hidden:
            continue
        expected = scene.finished.get(one.id, below(one.tree, scene.vault.tree))
        ran, back = _restored_tree(scene, one)
        must(ran.code == 0, f"restore of {one.id}: exit {ran.code}: {ran.err}")
        must(back == expected, f"restore of {one.id}: {difference(back, expected)}")


def restored(scene: Scene, one: Recovered) -> Ran:
    target = scene.vault.folder / "restored"
    try:
        return scene.vault.restore(str(one.id), target)
    finally:
        subprocess.run(["rm", "-rf", str(target)], check=True)


def _restored_tree(scene: Scene, one: Recovered) -> tuple[Ran, Tree]:
    target = scene.vault.folder / "restored"
    try:
        ran = scene.vault.restore(str(one.id), target)
        place = target / scene.vault.tree.relative_to("/")
        return ran, moved(look(place), target) if place.exists() else {}
    finally:
        subprocess.run(["rm", "-rf", str(target)], check=True)


def check_target(scene: Scene, expected: Tree) -> None:
    """Whatever has its final name in the target is what was backed up, its content at least; the rest is not there yet."""
    place = scene.vault.target / scene.vault.tree.relative_to("/")
    back = moved(look(place), scene.vault.target) if place.exists() else {}
    done = scene.said is not None and scene.said.code == 0
    for path, thing in back.items():
        if os.path.basename(path).startswith(b".vaultpy-") and not done:
            continue
        must(path in expected, f"{path!r} was restored and never backed up")
        must((thing.kind, thing.content, thing.target) == _content_of(expected, path), f"{path!r} is damaged")
    if done:
        must(back == expected, f"restored: {difference(back, expected)}")


def _content_of(tree: Tree, path: bytes) -> tuple[object, ...]:
    return tree[path].kind, tree[path].content, tree[path].target


def difference(found: Tree, expected: Tree) -> str:
    missing, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = sorted(path for path in found.keys() & expected.keys() if found[path] != expected[path])
    return f"missing {missing[:3]}, more {more[:3]}, other {other[:3]}"


def path_of(said: object) -> bytes:
    if isinstance(said, dict):
        return base64.b64decode(said["base64"])
    return os.fsencode(str(said))


def clear_text(name: str, path: Path) -> bytes:
    data = path.read_bytes()
    if not name.endswith(".zst"):
        return name.encode() + data
    unfolded = subprocess.run(["zstd", "-dqc"], input=data, capture_output=True, check=False).stdout
    document = json.loads(unfolded)
    inside = [base64.b64decode(document["about"])] if "about" in document else []
    return name.encode() + unfolded + b"".join(inside)
