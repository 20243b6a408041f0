"""What must hold after every case of every campaign: I1 to I15, each a function under its sentence.

    check(scene) → which held, and for the others why this case says nothing about them; raises Violation

A campaign describes what it did as a Scene; the functions look at the store, the index and the output for themselves, with
the recoverer, which shares nothing with vaultpy.  The order matters: I4 runs the next command, as a person would, and what
comes after it looks at what there is then.
"""

from __future__ import annotations

import base64
import json
import os
import re
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import blake3
from recoverer import FILE, Recovered, Recoverer, Refused, Tree
from smallvault import Ran, SmallVault, below, look, moved

CONVERGED_BLOBS = 8
"""Blobs in flight at most when a run dies: as many may be left behind as orphans."""

MEMORY = 256 * 1024
"""KiB that a command may take, beyond the interpreter with all that is imported."""

SECONDS = 60.0


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


Invariant = Callable[[Scene], str | None]
"""None where it held, else why this scene cannot tell; raises Violation."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one check could say: the invariants that held, and for the others why nothing can be said."""

    held: frozenset[str]
    silent: Mapping[str, str]


def check(scene: Scene) -> Report:
    """Every invariant, in order.  Raises Violation with the first that does not hold."""
    held: set[str] = set()
    silent: dict[str, str] = {}
    for name, invariant in INVARIANTS.items():
        try:
            why = invariant(scene)
        except Violation as violation:
            raise Violation(f"{name} ({_sentence(invariant)}): {violation}") from violation
        except Refused as refused:
            raise Violation(f"{name} ({_sentence(invariant)}): refused by the plain tools: {refused}") from refused
        if why is None:
            held.add(name)
        else:
            silent[name] = why
    return Report(frozenset(held), silent)


def i1_names(scene: Scene) -> str | None:
    """No object is visible under a name that is not the hash of its bytes."""
    for name, path in scene.vault.objects().items():
        if name.startswith("blobs/") and name not in scene.damaged:
            data = path.read_bytes()
            _must(name == _blob_name(data), f"{name} has other bytes")
    return None


def i2_manifests(scene: Scene) -> str | None:
    """A manifest is there ⇒ all it names is there, whole."""
    objects = scene.vault.objects()
    for snapshot, said in _manifests(scene).items():
        wanted = {_hash_name(hash): size for hash, size in said["blobs"]}
        wanted |= {f"metadata/{one['id']}/db.zst.age": one["size"] for one in said["exports"]}
        for name, size in wanted.items():
            if name in scene.damaged:
                continue
            if said["state"] == "partial" and scene.may_go and name not in objects:
                continue  # a partial one keeps what it names for a grace, and no longer
            _must(name in objects, f"{snapshot} ({said['state']}) names {name}, which is not there")
            _must(objects[name].stat().st_size == size, f"{snapshot} names {name} with another size")
    return None


def i3_index(scene: Scene) -> str | None:
    """An index row says stored ⇒ the store has it."""
    if not scene.vault.index.exists():
        return "there is no index"
    objects = scene.vault.objects()
    current = (
        "SELECT DISTINCT b.hash, b.stored_size FROM files f JOIN file_content t ON t.file_id = f.id"
        " JOIN chunks c ON c.id = t.chunk_id JOIN blobs b ON b.id = c.blob_id"
    )
    everything = "SELECT DISTINCT b.hash, b.stored_size FROM chunks c LEFT JOIN blobs b ON b.id = c.blob_id"
    # A keeper may have pruned what only removed snapshots needed: the host learns that from its next listing.
    asked = current + " WHERE f.last_seq IS NULL" if scene.may_go else everything
    for hash, size in _query(scene.vault.index, asked):
        _must(hash is not None, "a chunk has a blob that has no row")
        name = _hash_name(hash.hex())
        if name not in scene.damaged:
            _must(name in objects and objects[name].stat().st_size == size, f"the index says stored: {name}")
    return None


def i4_next_run(scene: Scene) -> str | None:
    """After any death `PRAGMA integrity_check` and `foreign_key_check` hold, and the next run needs no manual step."""
    _check_database(scene.vault)
    if scene.again is None:
        return "there is nothing to run again"
    scene.ran_again = scene.again()
    _must(scene.ran_again.code == 0, f"the next run: exit {scene.ran_again.code}: {scene.ran_again.err}")
    _check_database(scene.vault)
    i1_names(scene)
    i2_manifests(scene)
    i3_index(scene)
    return None


def i5_convergence(scene: Scene) -> str | None:
    """Run again without faults, the result is that of a run without any; orphans are few, and prune collects them."""
    if scene.after is None or scene.ran_again is None:
        return "there was no next run that makes a snapshot"
    newest = _recovered(scene)[-1]
    tree = below(newest.tree, scene.vault.tree)
    _must(tree == scene.after, f"the newest snapshot: {_difference(tree, scene.after)}")
    needed = {name for said in _manifests(scene).values() for name in _blob_names(said)}
    orphans = {name for name in scene.vault.objects() if name.startswith("blobs/")} - needed
    known = len(orphans & scene.before.keys())
    _must(len(orphans) - known <= CONVERGED_BLOBS, f"{len(orphans)} blobs are orphans, {known} of them from before")
    if scene.collects and scene.thorough:
        _collect(scene)
    return None


def i6_restores(scene: Scene) -> str | None:
    """No silent wrong data: a restore is identical, or exits ≠ 0, names every damaged path, and leaves no damaged file."""
    found = {one.id: one for one in _recovered(scene)}
    for snapshot, tree in scene.finished.items():
        if snapshot in scene.gone:
            continue
        _must(snapshot in found or scene.damaged, f"finished snapshot {snapshot} is not there any more")
        if snapshot in found and not found[snapshot].lost:
            plain = below(found[snapshot].tree, scene.vault.tree)
            _must(plain == tree, f"{snapshot} by plain tools: {_difference(plain, tree)}")
    if scene.thorough:
        _restore_all(scene, found)
    if scene.restored is not None:
        _check_target(scene, scene.restored)
    return None


def i7_verify(scene: Scene) -> str | None:
    """`verify` finds every change: deep and --blobs all, by default all that is missing or has another size."""
    if not scene.thorough:
        return "not looked at"
    if not _manifests(scene) and not scene.damaged:
        return "there is no snapshot"
    words = ("--json", "snapshot", "verify", "--all", "--deep", "--identity", str(scene.vault.identity))
    ran = scene.vault.run(*words)
    if not scene.damaged:
        _must(ran.code == 0, f"verify: exit {ran.code}: {ran.out[-1000:]} {ran.err}")
        return None
    needed = {name for said in _shown(scene) for name in _blob_names(said) | _export_names(said)}
    if not needed & set(scene.damaged):
        return "nothing that is damaged is needed"
    _must(ran.code == 4, f"verify: exit {ran.code} with damage to {sorted(scene.damaged)}")
    named = {one["object"] for one in ran.json["damage"]}
    unseen = needed & set(scene.damaged) - named
    _must(not unseen, f"verify does not name {sorted(unseen)}")
    return None


def i8_only_what_is_hit(scene: Scene) -> str | None:
    """Only files with chunks in a damaged blob are lost; the rest restores."""
    if not scene.damaged:
        return "nothing was damaged"
    shown = {said["snapshot"] for said in _shown(scene)}
    newest = [one for one in _recovered(scene) if one.lost and str(one.id) in shown]
    if not newest or not scene.thorough:
        return "no file is lost"
    ran = _restored(scene, newest[-1])
    failed = {_path_of(one["path"]) for one in ran.json["failed"]}
    groups = _same_content(newest[-1], set(newest[-1].lost))
    _must(ran.code == 4, f"restore of a damaged snapshot: exit {ran.code}")
    _must(failed >= set(newest[-1].lost), f"restore does not name {set(newest[-1].lost) - failed}")
    _must(failed <= groups, f"restore loses more than is lost: {failed - groups}")
    return None


def i9_outside(scene: Scene) -> str | None:
    """Nothing outside TARGET is touched."""
    for path, seen in scene.canaries.items():
        _must(appearance(path) == seen, f"{path} was touched")
    return None if scene.canaries else "no canaries stood"


def i10_needed_stays(scene: Scene) -> str | None:
    """Prune never deletes what a manifest names, and stops when in doubt."""
    if not scene.before:
        return "what was there before is not known"
    objects = scene.vault.objects()
    deleted = {name for name in scene.before if name not in objects} - set(scene.damaged)
    needed = {name for said in _manifests(scene).values() for name in _blob_names(said) | _export_names(said)}
    _must(not deleted & needed, f"deleted and needed: {sorted(deleted & needed)}")
    if scene.prunes:
        deleted = {name for name in deleted if not name.startswith("purges/")}  # records that are long void
    if not scene.may_go:
        deleted -= {
            name for name in deleted if name.startswith(tuple(f"metadata/{one}/manifest" for one in scene.gone))
        }
        _must(not deleted, f"deleted by a command that deletes nothing: {sorted(deleted)}")
    return None


def i11_bounded(scene: Scene) -> str | None:
    """Memory, disk and time stay bounded."""
    ran = [one for one in (scene.said, scene.ran_again) if one is not None]
    for one in ran:
        _must(one.memory <= MEMORY, f"{one.argv[:4]} took {one.memory} KiB")
        _must(one.orphans == 0, f"{one.argv[:4]} left {one.orphans} processes behind")
        _must(one.seconds <= SECONDS, f"{one.argv[:4]} took {one.seconds:.0f} s")
    left = list((scene.vault.folder / "tmp").iterdir())
    if scene.said is not None and scene.said.code >= 0:
        _must(not left, f"left behind: {left}")
    return None if ran else "nothing ran"


def i12_truth(scene: Scene) -> str | None:
    """Exit code and JSON tell the truth."""
    said = scene.said
    if said is None or said.code < 0:
        return "it died, and said nothing"
    _must("Traceback" not in said.err and "internal error" not in said.err, f"exit {said.code}: {said.err}")
    _must(
        said.code == 0 or scene.mute or said.err != "" or '"error": "' in said.out, f"exit {said.code} without a word"
    )
    if "--json" in said.argv and said.out.strip():
        document = said.json
        if said.code == 0 and "create" in said.argv:
            made = [one["snapshot"] for one in document if one["snapshot"]]
            there = {str(one) for one in _manifests(scene)}
            _must(set(made) <= there, f"exit 0, and snapshot {made} is not there")
            tree = below(_recovered(scene)[-1].tree, scene.vault.tree)
            _must(scene.after is None or tree == scene.after, f"exit 0: {_difference(tree, scene.after or {})}")
    return None


def i13_secrets(scene: Scene) -> str | None:
    """No secret, recipient, path, name or plaintext hash in clear objects, logs, argv or messages."""
    secrets = scene.vault.secrets()
    names = scene.vault.names()
    for name, path in scene.vault.objects().items():
        if name.startswith(("blobs/", "keys/")) or name.endswith(".age") or name in scene.damaged:
            continue
        text = _clear_text(name, path)
        found = [one for one in (*secrets, *names) if one in text]
        _must(not found, f"{name} shows {found}")
    for ran in filter(None, (scene.said, scene.ran_again)):
        shown = (ran.out + ran.err).encode()
        found = [one for one in secrets if one in shown and not one.startswith(b"age1")]
        _must(not found, f"{ran.argv[:5]} shows {found}")
    return None


def i14_clocks(scene: Scene) -> str | None:
    """No deletion because a clock is wrong."""
    if not scene.clock_wrong:
        return "no clock was wrong"
    gone = [name for name in scene.before if name not in scene.vault.objects()]
    _must(not gone, f"deleted under a wrong clock: {gone}")
    return None


def i15_terminals(scene: Scene) -> str | None:
    """Names cannot steer a terminal."""
    shown = [one for one in (scene.said, scene.ran_again) if one is not None]
    for ran in shown:
        found = _STEERING.search(ran.out + ran.err)
        _must(found is None, f"{ran.argv[:5]} shows {found!r}")
    return None if shown else "nothing was shown"


INVARIANTS: dict[str, Invariant] = {
    "I1": i1_names,
    "I2": i2_manifests,
    "I3": i3_index,
    "I12": i12_truth,
    "I4": i4_next_run,
    "I5": i5_convergence,
    "I6": i6_restores,
    "I7": i7_verify,
    "I8": i8_only_what_is_hit,
    "I9": i9_outside,
    "I10": i10_needed_stays,
    "I11": i11_bounded,
    "I13": i13_secrets,
    "I14": i14_clocks,
    "I15": i15_terminals,
}

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


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


def _must(held: object, what: str) -> None:
    if not held:
        raise Violation(what)


def _sentence(invariant: Invariant) -> str:
    return (invariant.__doc__ or "").strip().rstrip(".")


def _blob_name(data: bytes) -> str:
    return _hash_name(blake3.blake3(data).hexdigest())


def _hash_name(hash: str) -> str:
    return f"blobs/{hash[:2]}/{hash[2:4]}/{hash}"


def _blob_names(said: dict) -> set[str]:
    return {_hash_name(hash) for hash, _ in said["blobs"]}


def _export_names(said: dict) -> set[str]:
    return {f"metadata/{one['id']}/db.zst.age" for one in said["exports"]}


def _manifests(scene: Scene) -> dict[UUID, dict]:
    """All of them, but those that the case spoiled."""
    found = {}
    for path in sorted(scene.vault.store.glob("metadata/*/manifest.json.zst")):
        name = str(path.relative_to(scene.vault.store))
        if name not in scene.damaged and name + ".sig" not in scene.damaged:
            found[UUID(path.parent.name)] = scene.recoverer.manifest(path)
    return found


def _shown(scene: Scene) -> list[dict]:
    """Those that no other one repairs, and so hides."""
    found = _manifests(scene)
    hidden = {said["repairs"] for said in found.values()}
    return [said for said in found.values() if said["snapshot"] not in hidden]


def _recovered(scene: Scene) -> list[Recovered]:
    """The complete snapshots that can be had, oldest first, those that another repairs left out."""
    found = []
    for said in _manifests(scene).values():
        if said["state"] != "complete" or _export_names(said) & set(scene.damaged):
            continue
        found.append(scene.recoverer.recover(scene.vault.store, said))
    return sorted(found, key=lambda one: (one.sequence, one.id))


def _check_database(vault: SmallVault) -> None:
    if vault.index.exists():
        _must(_query(vault.index, "PRAGMA integrity_check") == [("ok",)], "integrity_check")
        _must(_query(vault.index, "PRAGMA foreign_key_check") == [], "foreign_key_check")


def _query(index: Path, sql: str) -> list[tuple]:
    connection = sqlite3.connect(index)
    try:
        return connection.execute(sql).fetchall()
    except sqlite3.Error as error:
        raise Violation(f"{index.name}: {error}") from error
    finally:
        connection.close()


def _collect(scene: Scene) -> None:
    """Two prunes, a grace after the other: what is left is what the snapshots need."""
    for _ in range(2):
        scene.vault.age(3600 + 60)
        ran = scene.vault.run("store", "prune")
        _must(ran.code == 0, f"prune: exit {ran.code}: {ran.err}")
    scene.may_go = True
    manifests = _manifests(scene)
    needed = {name for said in manifests.values() for name in _blob_names(said) | _export_names(said)}
    left = {name for name in scene.vault.objects() if name.startswith("blobs/") or name.endswith(".age")}
    left = {name for name in left if not name.startswith("keys/")}
    _must(left == needed, f"prunes leave {sorted(left - needed)} and lack {sorted(needed - left)}")
    _must(all(said["state"] == "complete" for said in manifests.values()), "a partial manifest is left")


def _restore_all(scene: Scene, found: Mapping[UUID, Recovered]) -> None:
    wanted = [one for one in found.values() if not one.lost]
    hidden = {one.repairs for one in found.values()}
    for one in wanted[-2:]:
        if one.id in hidden:
            continue
        expected = scene.finished.get(one.id, below(one.tree, scene.vault.tree))
        ran, back = _restored_tree(scene, one)
        _must(ran.code == 0, f"restore of {one.id}: exit {ran.code}: {ran.err}")
        _must(back == expected, f"restore of {one.id}: {_difference(back, expected)}")


def _restored(scene: Scene, one: Recovered) -> Ran:
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


def _check_target(scene: Scene, expected: Tree) -> None:
    """Whatever has its final name in the target is what was backed up, its content at least; the rest is not there yet."""
    place = scene.vault.target / scene.vault.tree.relative_to("/")
    back = moved(look(place), scene.vault.target) if place.exists() else {}
    done = scene.said is not None and scene.said.code == 0
    for path, thing in back.items():
        if os.path.basename(path).startswith(b".vaultpy-") and not done:
            continue
        _must(path in expected, f"{path!r} was restored and never backed up")
        _must((thing.kind, thing.content, thing.target) == _content_of(expected, path), f"{path!r} is damaged")
    if done:
        _must(back == expected, f"restored: {_difference(back, expected)}")


def _content_of(tree: Tree, path: bytes) -> tuple[object, ...]:
    return tree[path].kind, tree[path].content, tree[path].target


def _same_content(snapshot: Recovered, lost: set[bytes]) -> set[bytes]:
    """Lost paths, and what may be lost with them: nothing but the paths themselves."""
    return {path for path in lost if snapshot.tree[path].kind == FILE}


def _difference(found: Tree, expected: Tree) -> str:
    missing, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = sorted(path for path in found.keys() & expected.keys() if found[path] != expected[path])
    return f"missing {missing[:3]}, more {more[:3]}, other {other[:3]}"


def _path_of(said: object) -> bytes:
    if isinstance(said, dict):
        return base64.b64decode(said["base64"])
    return os.fsencode(str(said))


def _clear_text(name: str, path: Path) -> bytes:
    data = path.read_bytes()
    if not name.endswith(".zst"):
        return name.encode() + data
    unfolded = subprocess.run(["zstd", "-dqc"], input=data, capture_output=True, check=False).stdout
    document = json.loads(unfolded)
    inside = [base64.b64decode(document["about"])] if "about" in document else []
    return name.encode() + unfolded + b"".join(inside)


__all__ = ["INVARIANTS", "Report", "Scene", "Violation", "appearance", "check", "sizes"]
