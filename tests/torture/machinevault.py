"""A machine whose store is in memory, as the invariants and the recoverer want to see it: as folders.

Only what a case changed is written, so that thousands of cases cost little.
"""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

from invariants import Report, Scene, check
from recoverer import Recoverer
from scene import Scene as MachineScene
from smallvault import Ran, SmallVault

from vaultpy.cli.text import printable
from vaultpy.errors import VaultpyError


class MachineVault(SmallVault):
    """What there is of a machine, with its store written out.  It runs no commands."""

    def __init__(self, scene: MachineScene, folder: Path) -> None:
        self.machine = scene.machine
        self.folder = folder
        self.store = folder / "store"
        self.target = folder / "target"
        self.tree = scene.machine.tree
        self.identity = folder / "identity.txt"
        self._written: dict[str, bytes] = {}
        for made in (self.store, folder / "tmp"):
            made.mkdir(parents=True)
        self.identity.write_text(scene.machine.identity + "\n")
        signer = scene.machine.vault.host.signing_key.public_text()
        self.recoverer = Recoverer(self.identity, [signer])

    @property
    def state(self) -> Path:
        return self.machine.vault.paths.folder

    def names(self) -> list[bytes]:
        return [bytes(self.tree), b"folder/small", b"second name", b"of another source"]

    def secrets(self) -> list[bytes]:
        own = json.loads((self.state / "host.json").read_text())
        return [one.encode() for one in (self.machine.identity, own["index_key"], own["signing_key"].split("\n")[1])]

    def write_out(self) -> None:
        """Make the folder what the store is now."""
        objects = {name: data for name, (data, _) in self.machine.memory.objects.items()}
        for name in self._written.keys() - objects.keys():
            (self.store / name).unlink()
        for name, data in objects.items():
            if self._written.get(name) is not data:
                path = self.store / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        self._written = objects

    def close(self) -> None:
        self.recoverer.close()


def check_machine(
    vault: MachineVault, scene: MachineScene, said: Ran | None, before: dict[str, int], **known
) -> Report:
    """Every invariant that can be told of a machine; `known` as Scene takes it."""
    vault.write_out()
    finished = {UUID(int=id.int): tree for id, tree in scene.plain.items() if id in scene.told}
    return check(Scene(vault, vault.recoverer, finished, said, before=before, may_go=True, thorough=False, **known))


def ran(operation: str, claimed: object) -> Ran:
    """An operation in this process, as if it had been a command."""
    if isinstance(claimed, VaultpyError):
        hint = f"\n  {printable(claimed.hint)}" if claimed.hint else ""
        return Ran((operation,), claimed.exit_code, "", f"vaultpy: {printable(claimed.message)}{hint}\n")
    return Ran((operation,), 0, "", "")
