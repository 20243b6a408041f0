"""Campaign 6, "Enemies": hostile vaults, restored as root in a place with canaries, and given to every other command.

Whoever stole a host's keys can sign what they like; whoever can write to a store can put what they like.  Neither may make
vaultpy touch anything outside the target, fill memory, steer a terminal, end in a traceback, or lose what an honest host
has stored.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from campaigns import Campaign, Case, Outcome, Room, register
from hostile import Forge, dump_json, make_forge
from hostile_dumps import SPOILS
from hostile_objects import OBJECTS
from invariants import Scene, Violation, appearance, check, sizes
from recoverer import Recoverer, Tree
from smallvault import Frozen, Ran, SmallVault, below, fill, warm_up

SECONDS = 90
"""Of processors' time, after which a command that has not ended is ended."""

HANGS = 600
"""Seconds after which it hangs, whatever else the machine does."""

ADDRESS_SPACE = 6 << 30
FILE_SIZE = 512 << 20
"""Bytes that a command may ask for at once, and write to one file: a bomb meets these before it meets the machine."""

CODES = frozenset({0, 1, 2, 3, 4, 10, 11, 12})

COMMANDS = ("restore", "restore privileged", "list", "verify", "prune", "create", "rebuild and create")

QUIET = frozenset({"list", "prune", "create"})
"""Commands that read no export: one case of each for all hostile rows together would say as much."""


@dataclass
class Stage:
    vault: SmallVault
    recoverer: Recoverer
    honest: UUID
    tree: Tree
    frozen: Frozen
    canaries: dict[Path, object] = field(default_factory=dict)


def prepare(room: Room) -> Stage:
    if "stage" not in room.kept:
        warm_up()
        vault = SmallVault(room.folder / "vault")
        vault.init()
        fill(vault.keep_tree("first"))
        tree = vault.look_at_tree("first")
        [made] = vault.create().json
        recoverer = Recoverer(vault.identity, [vault.signer])
        room.kept["stage"] = Stage(vault, recoverer, UUID(made["snapshot"]), tree, vault.freeze())
    stage = room.kept["stage"]
    assert isinstance(stage, Stage)
    return stage


def close(room: Room) -> None:
    if "stage" in room.kept:
        prepare(room).recoverer.close()


def cases(room: Room) -> list[Case]:
    rows = [
        Case(command, "rows signed by the host", name)
        for name in SPOILS
        for command in COMMANDS
        if command not in QUIET
    ]
    strangers = [Case("restore the latest", "rows signed by an enemy", name) for name in SPOILS]
    objects = [Case(command, "objects", name) for name in OBJECTS for command in COMMANDS]
    targets = [Case("restore", "target", name) for name in TARGETS]
    hidden = [Case(command, "hidden", name) for name in HIDDEN for command in ("prune", "purge", "create")]
    return [*rows, *strangers, *objects, *targets, *hidden]


def run_case(room: Room, case: Case) -> Outcome:
    try:
        return _run_case(room, case)
    finally:
        # Not by Python, whose recursion is less deep than what may lie there.  An immutable file is a file's right.
        target = str(prepare(room).vault.target)
        if subprocess.run(["rm", "-rf", target], stderr=subprocess.DEVNULL, check=False).returncode:
            subprocess.run(["chattr", "-R", "-f", "-i", "-a", target], check=False)
            subprocess.run(["rm", "-rf", target], check=True)


def _run_case(room: Room, case: Case) -> Outcome:
    stage = prepare(room)
    stage.vault.thaw(stage.frozen)
    if case.point == "target":
        return restore_into(stage, TARGETS[case.hit])
    if case.point == "hidden":
        return command_beside(stage, case.operation, HIDDEN[case.hit])
    forge = make_forge(stage.vault)
    id = build(stage, forge, case)
    return run_command(stage, forge, case.operation, id)


def build(stage: Stage, forge: Forge, case: Case) -> str | None:
    """Put what is hostile into the store; the snapshot that it makes."""
    if case.point == "objects":
        return OBJECTS[case.hit](forge)
    dump = forge.copy_of_dump()
    SPOILS[case.hit](dump, stage.vault.outside)
    return forge.snapshot(dump.lines(), by_enemy=case.point == "rows signed by an enemy")


def run_command(stage: Stage, forge: Forge, command: str, id: str | None) -> Outcome:
    vault = stage.vault
    guard(stage)
    before = sizes(vault)
    target = vault.target
    if command.startswith("restore"):
        more = ("--privileged",) if command == "restore privileged" else ()
        wanted = "latest" if command == "restore the latest" else id or str(stage.honest)
        said = vault.restore(wanted, target, *more, "--signer", vault.signer, arm=limit)
    elif command == "verify":
        said = vault.run("snapshot", "verify", "--all", "--deep", "--identity", str(vault.identity), arm=limit)
    elif command == "rebuild and create":
        rebuilt = vault.run("index", "rebuild", arm=limit)
        check_said(rebuilt)
        said = vault.create(arm=limit)
    else:
        words = {"list": ("snapshot", "list", "--all"), "prune": ("store", "prune"), "create": ("snapshot", "create")}
        said = vault.run(*words[command], arm=limit)
    check_said(said)
    if command == "restore the latest" and (said.code != 0 or said.json["snapshot"] != str(stage.honest)):
        raise Violation(f"I6 an enemy's snapshot is in the way of the latest: exit {said.code}: {said.err}")
    report = check(judged(stage, said, before, set(forge.made)))
    clear(vault)
    return Outcome(report, figures={"KiB of memory at most": said.memory, "seconds of processors at most": said.work})


def judged(stage: Stage, said: Ran, before: dict[str, int], damaged: set[str]) -> Scene:
    # What `verify` found it says on standard output.
    said = replace(said, err=said.err or said.out)
    return Scene(
        stage.vault, stage.recoverer, {stage.honest: below(stage.tree, stage.vault.tree)}, said, before=before,
        may_go=True, damaged=damaged, canaries=stage.canaries, thorough=False,
    )  # fmt: skip


def check_said(said: Ran) -> None:
    """I11, I12: it ended by itself, with a code that means something."""
    if said.code < 0:
        raise Violation(f"I11 {said.argv[-6:]}: signal {-said.code} after {said.seconds:.0f} s: {said.err[-500:]}")
    if said.code not in CODES or "Traceback" in said.err or "internal error" in said.err:
        raise Violation(f"I12 {said.argv[-6:]}: exit {said.code}: {said.err[-1500:]}")


def limit() -> None:
    """In the child: what a hostile vault must not be able to ask for."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    signal.alarm(HANGS)


def guard(stage: Stage) -> None:
    """Note how everything outside the target is."""
    vault = stage.vault
    stage.canaries = {vault.outside: appearance(vault.outside)}
    for planted in (Path("/planted"), vault.folder / "planted", Path.cwd() / "planted"):
        if os.path.lexists(planted):
            raise Violation(f"I9 {planted} is there before the case")


def clear(vault: SmallVault) -> None:
    """I9, for what no canary stands at; then away with the target, whatever became of it."""
    for planted in (Path("/planted"), vault.folder / "planted", Path.cwd() / "planted", vault.outside / "planted"):
        if os.path.lexists(planted):
            raise Violation(f"I9 {planted} was made")
    strange = {path.name for path in vault.folder.iterdir()} - KNOWN
    strange = {name for name in strange if not name.startswith("frozen-")}
    if strange:
        raise Violation(f"I9 {sorted(strange)} were made beside the target")


KNOWN = {"store", "home", "identity.txt", "marmalade", "outside", "target", "tmp", "moments", "export"}

# What may already lie where a restore writes.

Lay = Callable[[Path, Path], None]
"""Puts something at a path of the target; the second path is outside."""


def _link(place: Path, outside: Path) -> None:
    place.symlink_to(outside)


def _link_to_file(place: Path, outside: Path) -> None:
    place.symlink_to(outside / "canary")


def _hard_link(place: Path, outside: Path) -> None:
    os.link(outside / "canary", place)


def _pipe(place: Path, outside: Path) -> None:
    os.mkfifo(place)


def _folder(place: Path, outside: Path) -> None:
    place.mkdir()


def _file(place: Path, outside: Path) -> None:
    place.write_bytes(b"was here before")


LAID: dict[str, Lay] = {
    "a link out": _link,
    "a link to a file outside": _link_to_file,
    "a hard link of a file outside": _hard_link,
    "a pipe": _pipe,
    "a folder": _folder,
    "a file": _file,
}
PLACES = ("letters", "picture0", "letters/letter0", "link", "same picture", "nothing in it", "")
TARGETS = {f"{what} for {place or 'the top'}": (place, lay) for what, lay in LAID.items() for place in PLACES}


def restore_into(stage: Stage, laid: tuple[str, Lay]) -> Outcome:
    """Restore the honest snapshot where something is in the way: nothing is followed, nothing outside is touched."""
    vault = stage.vault
    place = vault.target / vault.tree.relative_to("/") / laid[0]
    place.parent.mkdir(parents=True)
    laid[1](place, vault.outside)
    guard(stage)
    before = sizes(vault)
    said = vault.restore(str(stage.honest), vault.target, arm=limit)
    check_said(said)
    report = check(judged(stage, said, before, set()))
    clear(vault)
    return Outcome(report)


# Manifests that somebody hides.

Hide = Callable[[SmallVault, Forge], None]


def _hide_manifests(vault: SmallVault, forge: Forge) -> None:
    for path in vault.store.glob("metadata/*/manifest.json.zst"):
        path.unlink()


def _hide_signatures(vault: SmallVault, forge: Forge) -> None:
    for path in vault.store.glob("metadata/*/manifest.json.zst.sig"):
        path.unlink()


def _hide_folders(vault: SmallVault, forge: Forge) -> None:
    for path in vault.store.glob("metadata/*"):
        shutil.rmtree(path)


def _shorten(vault: SmallVault, forge: Forge) -> None:
    for path in vault.store.glob("metadata/*/manifest.json.zst"):
        path.write_bytes(path.read_bytes()[:-10])


def _empty(vault: SmallVault, forge: Forge) -> None:
    for path in vault.store.glob("metadata/*/manifest.json.zst"):
        path.write_bytes(b"")


def _name_nothing(vault: SmallVault, forge: Forge) -> None:
    """In its place one that needs nothing, signed by an enemy."""
    _hide_folders(vault, forge)
    forge.put_manifest(
        forge.manifest["snapshot"], dump_json(forge.manifest | {"blobs": [], "state": "partial"}), forge.enemy
    )


def _repair(vault: SmallVault, forge: Forge) -> None:
    """An enemy says that his snapshot mends the honest one."""
    forge.snapshot(by_enemy=True, change=lambda fields: fields.update(repairs=forge.manifest["snapshot"],
                   sequence=forge.manifest["sequence"], host=forge.manifest["host"]))  # fmt: skip


def _push_out(vault: SmallVault, forge: Forge) -> None:
    """Twenty newer ones of the same source, by an enemy, to push the honest one out."""
    for _ in range(20):
        forge.snapshot(by_enemy=True, change=lambda fields: fields.update(started="2200-01-01T00:00:00.000Z"))


HIDDEN: dict[str, Hide] = {
    "manifests gone": _hide_manifests,
    "signatures gone": _hide_signatures,
    "manifests and signatures gone": _hide_folders,
    "manifests shortened": _shorten,
    "manifests empty": _empty,
    "an enemy's that names nothing instead": _name_nothing,
    "an enemy's that repairs it": _repair,
    "twenty of an enemy's": _push_out,
}


def command_beside(stage: Stage, command: str, hide: Hide) -> Outcome:
    """I10: while manifests are hidden, or drowned, no command deletes what they need; when they are back all is there."""
    vault = stage.vault
    forge = make_forge(vault)
    guard(stage)
    kept = {name: path.read_bytes() for name, path in vault.objects().items()}
    hide(vault, forge)
    words = {
        "prune": ("store", "prune"),
        "purge": ("snapshot", "purge", "--keep-last", "1", "--force"),
        "create": ("snapshot", "create"),
    }[command]
    for _ in range(3):
        said = vault.run(*words, arm=limit)
        check_said(said)
        vault.age(26 * 3600)
    for name, data in kept.items():
        path = vault.store / name
        if not path.exists() and not name.startswith("metadata/"):
            raise Violation(f"I10 {words} deleted {name}, which a hidden manifest needs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    report = check(judged(stage, said, {}, set(vault.objects()) - set(kept)))
    clear(vault)
    return Outcome(report)


ENEMIES_CAMPAIGN = register(
    Campaign(
        number=6,
        name="enemies",
        promise="who can write to the store, or sign for a host, touches nothing outside the target, and loses nothing of"
        " what was stored",
        cases=cases,
        run=run_case,
        wanted=1000,
        sample=40,
        close=close,
    )
)
