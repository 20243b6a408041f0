"""What a verification says: which damage there is, in which object, whom it hurts, and what to do."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

from vaultpy.model import SnapshotId
from vaultpy.store import names

PATHS_NAMED = 20
"""Paths that a finding names; it counts all."""


class Depth(enum.IntEnum):
    """How far a verification looks; each includes those before it."""

    LISTED = 1
    """Manifests are read, their objects are listed with the right sizes.  Needs no key."""
    HASHED = 2
    """Every object is fetched and hashed.  Needs no key."""
    OPENED = 3
    """Every export and blob is opened, every chunk hashed, every file found covered.  Needs an identity."""


class Damage(enum.StrEnum):
    """What is wrong with an object."""

    MANIFEST = "manifest"
    """It is a manifest, and it or its signature is missing or not what it should be."""
    SIGNER = "signer"
    """It is a manifest, made by somebody whom nothing here says to believe."""
    SETTINGS = "settings"
    """It is vaultpy.json, and has other bytes than when the snapshot was made."""
    KEY = "key"
    """It is a store key, of which wrapped forms are missing or do not open as they should."""
    MISSING = "missing"
    """It is named and not there."""
    SIZE = "size"
    """It is there with another size than it is named with."""
    CHANGED = "changed"
    """Its bytes are not those of its hash."""
    CONTENT = "content"
    """Its bytes are those that were put, yet they do not hold what the snapshot says."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Damage to one object: `snapshots` need it, `files` (how many; None: cannot be told) cannot be had whole because of
    it, of which `paths` names the first; `advice` says what to do."""

    kind: Damage
    object: str
    detail: str
    snapshots: tuple[SnapshotId, ...]
    advice: str
    files: int | None = None
    paths: tuple[bytes, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification looked at, and what it found.

    `objects` and `bytes`: of all distinct objects that the snapshots name; `fetched` is how many of them were fetched.
    `files` (over all snapshots) and `chunks` (distinct) are those that were checked, at Depth.OPENED.  `unchecked`: whose
    signers nothing vouches for; `unopened`: which no identity opened; `notes`: what is odd and no damage.
    """

    depth: Depth
    snapshots: tuple[SnapshotId, ...]
    findings: tuple[Finding, ...]
    objects: int
    bytes: int
    fetched: int
    files: int
    chunks: int
    unchecked: tuple[SnapshotId, ...] = ()
    unopened: tuple[SnapshotId, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """4 for damage, 12 where something was to be opened and could not, else 0."""
        if self.findings:
            return 4
        return 12 if self.unopened else 0


@dataclass(slots=True)
class Fault:
    """Damage to an object before it is known whom it hurts; `snapshots` None: whoever names the object."""

    kind: Damage
    object: str
    detail: str
    advice: str
    snapshots: list[SnapshotId] | None


class Faults:
    """What was found so far: one fault of a kind per object, however often it is met."""

    def __init__(self) -> None:
        self._found: dict[tuple[Damage, str], Fault] = {}

    def add(
        self, kind: Damage, object: str, detail: str, snapshots: list[SnapshotId] | None, advice: str | None = None
    ) -> None:
        known = self._found.get((kind, object))
        if known is None:
            advice = advice or _advice_for(kind, object)
            self._found[kind, object] = Fault(kind, object, detail, advice, snapshots)
        elif known.snapshots is not None and snapshots is not None:
            known.snapshots += snapshots

    def names(self, object: str) -> bool:
        """Whether anything was found about an object."""
        return any(name == object for _, name in self._found)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._found.values())


def _advice_for(kind: Damage, object: str) -> str:
    """What to do about it, where the error itself did not say."""
    if kind in (Damage.MISSING, Damage.SIZE, Damage.CHANGED, Damage.CONTENT):
        return _RENEW_BLOB if names.parse_export_name(object) is None else _RENEW_EXPORT
    return _ADVICE[kind]


_RENEW_BLOB = (
    "bring it back from a copy of the store; or take what is left of it out of the store, and run snapshot create on its"
    " host: that stores anew what the source still has"
)
_RENEW_EXPORT = (
    "bring it back from a copy of the store; or take what is left of it out of the store, and run snapshot create on its"
    " host: the next snapshot then stands on an export of its own, and that host restores the older ones by its index"
)
_ADVICE = {
    Damage.MANIFEST: (
        "bring its folder in metadata/ back from a copy of the store; or give the snapshot up: store prune --retire UUID"
    ),
    Damage.SIGNER: "say whose it is (--signer, or signers in the config), or remove the snapshot",
    Damage.SETTINGS: "bring vaultpy.json back from a copy of the store",
    Damage.KEY: "nothing is lost as long as a manifest holds the forms; vaultpy key add-recipient puts a new one",
}
