"""7. Together: two hosts, a keeper, a verifier and a restorer on one store, each killed now and then, while it is copied.

What a host was told is finished (exit 0) has to restore from every copy that still has its manifest, and from the store in
the end, when everybody has stopped and each host has run once more.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import re
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from campaigns import Campaign, Case, Outcome, Room, Violation, register
from invariants import Scene, check, sizes
from recoverer import Recoverer, Tree
from smallvault import Arm, Ran, SmallVault, below, look, moved, warm_up

GRACE_SECONDS = 6
"""Long beside any pause of a busy machine between a look and a delete, short beside a round."""

ROUND = 60.0
SAMPLE_ROUND = 10.0
ROUNDS = 10
"""Ten minutes in all."""

KILLED = 0.25
"""The share of commands that are killed on their way."""


@dataclass
class Site:
    """The machines: two hosts on one store, a keeper's configuration, and where actors leave word of what they saw."""

    hosts: tuple[SmallVault, SmallVault]
    keeper: Path
    signers: tuple[str, str]
    folder: Path

    @property
    def finished(self) -> Path:
        return self.folder / "finished"

    def expected(self) -> dict[UUID, Tree]:
        """What each snapshot holds of which some host said that it was finished."""
        return {UUID(path.name): pickle.loads(path.read_bytes()) for path in self.finished.glob("*-*")}


Actor = Callable[[Site, random.Random], tuple[str, int]]
"""One thing that somebody does; returns what to call it, and how it ended.  Raises Violation."""


def cases(room: Room) -> Iterator[Case]:
    for number in range(1 if room.sample else ROUNDS):
        yield Case("two hosts, a keeper, a verifier, a restorer", "killed at random", str(number))


def run(room: Room, case: Case) -> Outcome:
    warm_up()
    folder = room.folder / f"together-{case.hit}"
    site = _make_site(folder)
    until = time.monotonic() + (SAMPLE_ROUND if room.sample else ROUND)
    actors: list[Actor] = [_host(0), _host(1), _keep, _verify, _restore, _copy]
    children = [
        _start(actor, site, number, room.random(case.name, number), until) for number, actor in enumerate(actors)
    ]
    for child in children:
        os.waitpid(child, 0)
    said = [json.loads(line) for path in folder.glob("said-*") for line in path.read_text().splitlines()]
    wrong = [one["wrong"] for one in said if one.get("wrong")]
    if wrong:
        raise Violation("; ".join(wrong[:3]))
    report = _settle(site)
    shutil.rmtree(folder)
    killed = sum(one["code"] < 0 for one in said)
    if killed == 0:
        raise Violation(f"none of {len(said)} commands was killed: this round has shown nothing")
    return Outcome(report, count=len(said), figures={"commands killed in a round": killed})


def _make_site(folder: Path) -> Site:
    first = SmallVault(folder / "first", grace=f"{GRACE_SECONDS}s")
    first.init()
    second = SmallVault(folder / "second")
    other = second.join(first)
    (folder / "finished").mkdir()
    keeper = folder / "keeper.toml"
    signers = (first.signer, other)
    words = ("init", "--keeper", "--store", f"file://{first.store}", "--signer", signers[0], "--signer", signers[1])
    ran = first.run(*words, config=keeper)
    assert ran.code == 0, ran
    for vault in (first, second):
        (vault.tree / "moving").mkdir()
    return Site((first, second), keeper, signers, folder)


def _start(actor: Actor, site: Site, number: int, chance: random.Random, until: float) -> int:
    """An actor in a process of its own, at work until the time is over; each line of its file is one command."""
    child = os.fork()
    if child:
        return child
    with contextlib.suppress(BaseException), (site.folder / f"said-{number}").open("w") as said:
        while time.monotonic() < until:
            try:
                did, code = actor(site, chance)
                line = {"did": did, "code": code}
            except Violation as violation:
                line = {"did": "", "code": 0, "wrong": str(violation)}
            except Exception:  # noqa: BLE001  whatever it is, the round has failed
                line = {"did": "", "code": 0, "wrong": traceback.format_exc()}
            said.write(json.dumps(line) + "\n")
            said.flush()
    os._exit(0)


def _run(vault: SmallVault, chance: random.Random, *words: str, config: Path | None = None) -> Ran:
    """A command that is killed at a random moment, now and then."""
    arm = _killed_after(chance.uniform(0.001, 0.25)) if chance.random() < KILLED else None
    return vault.run(*words, arm=arm, config=config)


def _killed_after(seconds: float) -> Arm:
    def arm() -> None:
        timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()

    return arm


def _host(number: int) -> Actor:
    def create(site: Site, chance: random.Random) -> tuple[str, int]:
        vault = site.hosts[number]
        _stir(vault.tree / "moving", chance)
        tree = look(vault.tree)
        ran = _run(vault, chance, "--json", "snapshot", "create")
        if ran.code == 0:
            [made] = ran.json
            path = site.folder / f"finished-{number}"
            path.write_bytes(pickle.dumps(tree))
            path.rename(site.finished / made["snapshot"])
        elif ran.code > 0:
            raise Violation(f"host {number}: create: exit {ran.code}: {ran.err}")
        return "create", ran.code

    return create


def _stir(folder: Path, chance: random.Random) -> None:
    """Some files come, some change, some go."""
    for _ in range(chance.randrange(1, 5)):
        path = folder / f"file{chance.randrange(12)}"
        path.unlink(missing_ok=True)
        if chance.random() < 0.8:
            path.write_bytes(chance.randbytes(chance.choice((100, 5_000, 290_000))))


def _keep(site: Site, chance: random.Random) -> tuple[str, int]:
    vault = site.hosts[0]
    words = ("store", "prune") if chance.random() < 0.5 else ("snapshot", "purge", "--keep-last", "3", "--force")
    finished = site.expected().keys()
    ran = _run(vault, chance, *words, config=site.keeper)
    if ran.code > 0 and "holds no snapshots" not in ran.err and not _is_owed(ran, finished):
        raise Violation(f"keeper: {words}: exit {ran.code}: {ran.err}")
    time.sleep(0.2)
    return words[1], ran.code


def _is_owed(ran: Ran, finished: Set[UUID]) -> bool:
    """Whether a prune stopped as it must: for snapshots alone that nobody called finished, and whose hosts were killed between
    the signature and the manifest.  Their next runs put it; `_settle` sees to it that nothing stands in the way then."""
    stops = re.findall(r"snapshot (\S+): ([^;\n]+)", ran.err) if ran.code == 4 and "prune stops: " in ran.err else []
    why = "it has a signature and no manifest, and nothing says that it was removed"
    return bool(stops) and all(UUID(id) not in finished and said == why for id, said in stops)


def _verify(site: Site, chance: random.Random) -> tuple[str, int]:
    """Damage may be found only in what nobody called finished."""
    vault = site.hosts[1]
    words = ("--json", "snapshot", "verify", "--all", "--blobs")
    ran = _run(vault, chance, *words, config=site.keeper)
    if ran.code == 4:
        hurt = {UUID(one) for damage in ran.json["damage"] for one in damage["snapshots"]} & site.expected().keys()
        there = {one for one in hurt if (vault.store / f"metadata/{one}/manifest.json.zst").exists()}
        if there:
            raise Violation(f"verify: {ran.out}")
    elif ran.code > 0 and "no snapshots" not in ran.err:
        raise Violation(f"verify: exit {ran.code}: {ran.err}")
    return "verify", ran.code


def _restore(site: Site, chance: random.Random) -> tuple[str, int]:
    vault = site.hosts[1]
    expected = site.expected()
    if not expected:
        time.sleep(0.2)
        return "wait", 0
    id, tree = chance.choice(list(expected.items()))
    target = site.folder / "restored"
    shutil.rmtree(target, ignore_errors=True)
    own = ("--identity", str(vault.identity), "--signer", site.signers[0], "--signer", site.signers[1])
    ran = _run(vault, chance, "--json", "snapshot", "restore", str(id), str(target), *own)
    source = next(iter(sorted(tree)))
    place = target / os.fsdecode(source).lstrip("/")
    if ran.code == 0 and moved(look(place), target) != tree:
        raise Violation(f"restore of {id}: exit 0, and it is not what was backed up")
    gone = not (vault.store / f"metadata/{id}/manifest.json.zst").exists()
    if ran.code > 0 and not gone:
        raise Violation(f"restore of {id}: exit {ran.code}: {ran.err}")
    return "restore", ran.code


def _copy(site: Site, chance: random.Random) -> tuple[str, int]:
    """A copy of the store as somebody makes one while it is used: manifests first, so that what they name is still there."""
    store, copy = site.hosts[0].store, site.folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    known = site.expected()
    began = time.monotonic()
    for part in ("keys", "metadata", "blobs"):
        _copy_folder(store / part, copy / part)
    if time.monotonic() - began > GRACE_SECONDS / 2:
        return "copy too slowly", 0
    recoverer = Recoverer(site.hosts[0].identity, list(site.signers))
    try:
        for path in sorted(copy.glob("metadata/*/manifest.json.zst")):
            if (tree := known.get(UUID(path.parent.name))) is None:
                continue
            if not (store / path.relative_to(copy)).exists():
                continue  # removed meanwhile
            found = recoverer.recover(copy, recoverer.manifest(path))
            if below(found.tree, Path(os.fsdecode(min(tree)))) != tree:
                raise Violation(f"a copy of the store does not give {path.parent.name} back: lost {found.lost}")
    finally:
        recoverer.close()
    time.sleep(1)
    return "copy", 0


def _copy_folder(source: Path, target: Path) -> None:
    for folder, _, names in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(Path(folder) / name, place / name)


def _settle(site: Site) -> object:
    """Everybody has stopped: each host runs once more, and then all must be well."""
    recoverer = Recoverer(site.hosts[0].identity, list(site.signers))
    try:
        expected = site.expected()
        for vault in site.hosts:
            tree = look(vault.tree)
            made = vault.must("--json", "snapshot", "create").json
            expected[UUID(made[0]["snapshot"])] = tree
        _must_prune(site)
        reports = [check(_scene(vault, recoverer, expected)) for vault in site.hosts]
        return reports[0]
    finally:
        recoverer.close()


def _must_prune(site: Site) -> None:
    ran = site.hosts[0].run("store", "prune", config=site.keeper)
    if ran.code:
        raise Violation(f"each host has run again, and prune: exit {ran.code}: {ran.err}")


def _scene(vault: SmallVault, recoverer: Recoverer, expected: dict[UUID, Tree]) -> Scene:
    """What one host must find: its own snapshots that were finished and not purged."""
    there = {path.parent.name for path in vault.store.glob("metadata/*/manifest.json.zst")}
    own = os.fsencode(vault.tree)
    finished = {id: tree for id, tree in expected.items() if str(id) in there and own in tree}
    return Scene(vault, recoverer, finished, may_go=True, before=sizes(vault), thorough=False)


register(
    Campaign(
        7,
        "together",
        "hosts, keeper, verifier and restorer at once, killed at random: whatever was called finished restores",
        cases,
        run,
        sample=1,
        in_order=True,
    )
)
