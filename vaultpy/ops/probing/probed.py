"""What a probe of a store says: each thing that was tried, and what the credentials may do."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """What an answer of the store means."""

    GOOD = "good"
    WEAK = "weak"
    """vaultpy works, and somebody who is not kind could do more than he needs to."""
    BAD = "bad"
    """Snapshots in this store could be lost: it must not be used."""
    UNTOLD = "untold"
    """It could not be tried."""


class Right(enum.StrEnum):
    """Something that credentials may or may not do."""

    LIST = "list"
    PUT_METADATA = "put metadata/"
    PUT_BLOBS = "put blobs/"
    PUT_PURGES = "put purges/"
    GET_METADATA = "get metadata/"
    GET_PURGES = "get purges/"
    GET_BLOBS = "get blobs/"
    GET_KEYS = "get keys/"
    DELETE_METADATA = "delete metadata/"
    DELETE_BLOBS = "delete blobs/"
    DELETE_PURGES = "delete purges/"


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was tried: what was `found`, and what it `means` where that is not plain."""

    subject: str
    verdict: Verdict
    found: str
    means: str | None


@dataclass(frozen=True, slots=True)
class Probed:
    """`rights`: what could be tried of them.  `left`: what could not be removed.  `versions`: how many hidden versions of
    what was removed the bucket keeps."""

    url: str
    tried: tuple[Tried, ...]
    rights: Mapping[Right, bool]
    left: tuple[str, ...]
    versions: int

    @property
    def bad(self) -> tuple[Tried, ...]:
        return tuple(one for one in self.tried if one.verdict == Verdict.BAD)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of docs/s3.md that these rights suffice for."""
        may = {right for right, allowed in self.rights.items() if allowed}
        return tuple(role for role, needs in ROLES.items() if needs <= may)

    @property
    def exit_code(self) -> int:
        """1 for a store that must not be used, else 0."""
        return 1 if self.bad else 0


_READS = frozenset({Right.LIST, Right.GET_METADATA, Right.GET_PURGES})

ROLES = {
    "host": _READS | {Right.PUT_METADATA, Right.PUT_BLOBS},
    "keeper": _READS | {Right.PUT_PURGES, Right.DELETE_PURGES},
    "restorer": _READS | {Right.GET_BLOBS, Right.GET_KEYS},
}
"""What each role needs.  That a keeper may delete blobs and metadata can be tried only by who may put some."""

_CONTENT = frozenset({Right.GET_BLOBS, Right.GET_KEYS})
_DELETES = frozenset({Right.DELETE_METADATA, Right.DELETE_BLOBS, Right.DELETE_PURGES})


def rights_told(rights: Mapping[Right, bool], is_folder: bool) -> Iterator[Tried]:
    """What the rights of these credentials together mean; a folder knows no roles."""
    may = {right for right, allowed in rights.items() if allowed}
    if not may:
        yield Tried("rights", Verdict.BAD, "these credentials may do nothing here", None)
        return
    if is_folder and may & _DELETES:
        means = "keep a second copy where this machine cannot write"
        yield Tried("rights", Verdict.WEAK, "whoever may write in this folder can replace and delete", means)
    if is_folder or not ROLES["host"] <= may:
        return
    if may & _DELETES:
        means = "whoever takes this machine can delete its snapshots: the host's policy in docs/s3.md leaves that out"
        yield Tried("rights", Verdict.WEAK, f"a host that may {_enumerate(may & _DELETES)}", means)
    if may & _CONTENT:
        means = "it is encrypted; still, a host needs none of it"
        yield Tried("rights", Verdict.WEAK, f"a host that may {_enumerate(may & _CONTENT)}", means)
    if not may & (_DELETES | _CONTENT):
        yield Tried("rights", Verdict.GOOD, "a host that can neither delete nor read content", None)


def _enumerate(rights: set[Right]) -> str:
    return ", ".join(sorted(right.value for right in rights))
