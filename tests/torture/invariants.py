"""What must hold after every case of every campaign: I1 to I15, each a function under its sentence.

    check(scene) → which held, and for the others why this case says nothing about them; raises Violation

A campaign describes what it did as a Scene; the functions look at the store, the index and the output for themselves, with
the recoverer, which shares nothing with vaultpy.  The order matters: I4 runs the next command, as a person would, and what
comes after it looks at what there is then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evidence import (
    Scene,
    Violation,
    appearance,
    blob_name,
    blob_names,
    check_database,
    check_target,
    clear_text,
    collect,
    difference,
    export_names,
    hash_name,
    manifests,
    must,
    path_of,
    query,
    recovered,
    restore_all,
    restored,
    shown,
    sizes,
)
from recoverer import Refused
from smallvault import below

CONVERGED_BLOBS = 8
"""Blobs in flight at most when a run dies: as many may be left behind as orphans."""

MEMORY = 256 * 1024
"""KiB that a command may take, beyond the interpreter with all that is imported."""

SECONDS = 60.0
"""Of processors' time that a command may take."""

HANGS = 600.0
"""Seconds after which it hangs: a machine that is busy, or stands still, makes anything last."""


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
            must(name == blob_name(data), f"{name} has other bytes")
    return None


def i2_manifests(scene: Scene) -> str | None:
    """A manifest is there ⇒ all it names is there, whole."""
    objects = scene.vault.objects()
    for snapshot, said in manifests(scene).items():
        wanted = {hash_name(hash): size for hash, size in said["blobs"]}
        wanted |= {f"metadata/{one['id']}/db.zst.age": one["size"] for one in said["exports"]}
        for name, size in wanted.items():
            if name in scene.damaged:
                continue
            if said["state"] == "partial" and scene.may_go and name not in objects:
                continue  # a partial one keeps what it names for a grace, and no longer
            must(name in objects, f"{snapshot} ({said['state']}) names {name}, which is not there")
            must(objects[name].stat().st_size == size, f"{snapshot} names {name} with another size")
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
    for hash, size in query(scene.vault.index, asked):
        must(hash is not None, "a chunk has a blob that has no row")
        name = hash_name(hash.hex())
        if name not in scene.damaged:
            must(name in objects and objects[name].stat().st_size == size, f"the index says stored: {name}")
    return None


def i4_next_run(scene: Scene) -> str | None:
    """After any death `PRAGMA integrity_check` and `foreign_key_check` hold, and the next run needs no manual step."""
    check_database(scene.vault)
    if scene.again is None:
        return "there is nothing to run again"
    scene.ran_again = scene.again()
    must(scene.ran_again.code == 0, f"the next run: exit {scene.ran_again.code}: {scene.ran_again.err}")
    check_database(scene.vault)
    i1_names(scene)
    i2_manifests(scene)
    i3_index(scene)
    return None


def i5_convergence(scene: Scene) -> str | None:
    """Run again without faults, the result is that of a run without any; orphans are few, and prune collects them."""
    if scene.after is None or scene.ran_again is None:
        return "there was no next run that makes a snapshot"
    newest = recovered(scene)[-1]
    tree = below(newest.tree, scene.vault.tree)
    must(tree == scene.after, f"the newest snapshot: {difference(tree, scene.after)}")
    needed = {name for said in manifests(scene).values() for name in blob_names(said)}
    orphans = {name for name in scene.vault.objects() if name.startswith("blobs/")} - needed
    known = len(orphans & scene.before.keys())
    must(len(orphans) - known <= CONVERGED_BLOBS, f"{len(orphans)} blobs are orphans, {known} of them from before")
    if scene.collects and scene.thorough:
        collect(scene)
    return None


def i6_restores(scene: Scene) -> str | None:
    """No silent wrong data: a restore is identical, or exits ≠ 0, names every damaged path, and leaves no damaged file."""
    found = {one.id: one for one in recovered(scene)}
    for snapshot, tree in scene.finished.items():
        if snapshot in scene.gone:
            continue
        must(snapshot in found or scene.damaged, f"finished snapshot {snapshot} is not there any more")
        if snapshot in found and not found[snapshot].lost:
            plain = below(found[snapshot].tree, scene.vault.tree)
            must(plain == tree, f"{snapshot} by plain tools: {difference(plain, tree)}")
    if scene.thorough:
        restore_all(scene, found)
    if scene.restored is not None:
        check_target(scene, scene.restored)
    return None


def i7_verify(scene: Scene) -> str | None:
    """`verify` finds every change: deep and --blobs all, by default all that is missing or has another size."""
    if not scene.thorough:
        return "not looked at"
    if not manifests(scene) and not scene.damaged:
        return "there is no snapshot"
    words = ("--json", "snapshot", "verify", "--all", "--deep", "--identity", str(scene.vault.identity))
    ran = scene.vault.run(*words)
    if not scene.damaged:
        must(ran.code == 0, f"verify: exit {ran.code}: {ran.out[-1000:]} {ran.err}")
        return None
    needed = {name for said in shown(scene) for name in blob_names(said) | export_names(said)}
    if not needed & set(scene.damaged):
        return "nothing that is damaged is needed"
    must(ran.code == 4, f"verify: exit {ran.code} with damage to {sorted(scene.damaged)}")
    named = {one["object"] for one in ran.json["damage"]}
    unseen = needed & set(scene.damaged) - named
    must(not unseen, f"verify does not name {sorted(unseen)}")
    return None


def i8_only_what_is_hit(scene: Scene) -> str | None:
    """Only files with chunks in a damaged blob are lost; the rest restores."""
    if not scene.damaged:
        return "nothing was damaged"
    visible = {said["snapshot"] for said in shown(scene)}
    newest = [one for one in recovered(scene) if one.lost and str(one.id) in visible]
    if not newest or not scene.thorough:
        return "no file is lost"
    ran = restored(scene, newest[-1])
    failed = {path_of(one["path"]) for one in ran.json["failed"]}
    must(ran.code == 4, f"restore of a damaged snapshot: exit {ran.code}")
    must(failed >= set(newest[-1].lost), f"restore does not name {set(newest[-1].lost) - failed}")
    must(failed <= set(newest[-1].lost), f"restore loses more than is lost: {failed - set(newest[-1].lost)}")
    return None


def i9_outside(scene: Scene) -> str | None:
    """Nothing outside TARGET is touched."""
    for path, seen in scene.canaries.items():
        must(appearance(path) == seen, f"{path} was touched")
    return None if scene.canaries else "no canaries stood"


def i10_needed_stays(scene: Scene) -> str | None:
    """Prune never deletes what a manifest names, and stops when in doubt."""
    if not scene.before:
        return "what was there before is not known"
    objects = scene.vault.objects()
    deleted = {name for name in scene.before if name not in objects} - set(scene.damaged)
    needed = {name for said in manifests(scene).values() for name in blob_names(said) | export_names(said)}
    must(not deleted & needed, f"deleted and needed: {sorted(deleted & needed)}")
    if scene.prunes:
        deleted = {name for name in deleted if not name.startswith("purges/")}  # records that are long void
    if not scene.may_go:
        deleted -= {
            name for name in deleted if name.startswith(tuple(f"metadata/{one}/manifest" for one in scene.gone))
        }
        must(not deleted, f"deleted by a command that deletes nothing: {sorted(deleted)}")
    return None


def i11_bounded(scene: Scene) -> str | None:
    """Memory, disk and time stay bounded."""
    ran = [one for one in (scene.said, scene.ran_again) if one is not None]
    for one in ran:
        must(one.memory <= MEMORY, f"{one.argv[:4]} took {one.memory} KiB")
        must(one.orphans == 0, f"{one.argv[:4]} left {one.orphans} processes behind")
        must(one.work <= SECONDS, f"{one.argv[:4]} took {one.work:.0f} s of processors' time")
        must(one.seconds <= HANGS, f"{one.argv[:4]} took {one.seconds:.0f} s")
    left = list((scene.vault.folder / "tmp").iterdir())
    if scene.said is not None and scene.said.code >= 0:
        must(not left, f"left behind: {left}")
    return None if ran else "nothing ran"


def i12_truth(scene: Scene) -> str | None:
    """Exit code and JSON tell the truth."""
    said = scene.said
    if said is None or said.code < 0:
        return "it died, and said nothing"
    must("Traceback" not in said.err and "internal error" not in said.err, f"exit {said.code}: {said.err}")
    must(said.code == 0 or scene.mute or said.err != "" or '"error": "' in said.out, f"exit {said.code} without a word")
    if "--json" in said.argv and said.out.strip():
        document = said.json
        if said.code == 0 and "create" in said.argv:
            made = [one["snapshot"] for one in document if one["snapshot"]]
            there = {str(one) for one in manifests(scene)}
            must(set(made) <= there, f"exit 0, and snapshot {made} is not there")
            tree = below(recovered(scene)[-1].tree, scene.vault.tree)
            must(scene.after is None or tree == scene.after, f"exit 0: {difference(tree, scene.after or {})}")
    return None


def i13_secrets(scene: Scene) -> str | None:
    """No secret, recipient, path, name or plaintext hash in clear objects, logs, argv or messages."""
    secrets = scene.vault.secrets()
    names = scene.vault.names()
    for name, path in scene.vault.objects().items():
        if name.startswith(("blobs/", "keys/")) or name.endswith(".age") or name in scene.damaged:
            continue
        text = clear_text(name, path)
        found = [one for one in (*secrets, *names) if one in text]
        must(not found, f"{name} shows {found}")
    for ran in filter(None, (scene.said, scene.ran_again)):
        shown = (ran.out + ran.err).encode()
        found = [one for one in secrets if one in shown and not one.startswith(b"age1")]
        must(not found, f"{ran.argv[:5]} shows {found}")
    return None


def i14_clocks(scene: Scene) -> str | None:
    """No deletion because a clock is wrong."""
    if not scene.clock_wrong:
        return "no clock was wrong"
    gone = [name for name in scene.before if name not in scene.vault.objects()]
    must(not gone, f"deleted under a wrong clock: {gone}")
    return None


def i15_terminals(scene: Scene) -> str | None:
    """Names cannot steer a terminal."""
    shown = [one for one in (scene.said, scene.ran_again) if one is not None]
    for ran in shown:
        found = _STEERING.search(ran.out + ran.err)
        must(found is None, f"{ran.argv[:5]} shows {found!r}")
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


def _sentence(invariant: Invariant) -> str:
    return (invariant.__doc__ or "").strip().rstrip(".")


__all__ = ["INVARIANTS", "Report", "Scene", "Violation", "appearance", "check", "sizes"]
