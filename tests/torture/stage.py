"""A vault in the state that an operation begins from, frozen: a case thaws it, runs the command with something in its way, and
then asks the invariants.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from invariants import Scene
from recoverer import Recoverer, Tree
from smallvault import Arm, Frozen, OnFork, Ran, SmallVault

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
