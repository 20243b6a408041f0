"""What a store is: five strict verbs and a clock.  What needs only these is a function beside the protocol.

Names are `/`-separated ASCII paths below the store's root, as docs/format.md lists them.  Every method raises StoreError
(or one of its kinds) and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Body = bytes | Sequence[bytes] | Path
"""An object's bytes: whole, in pieces that are sent end to end (so that a 32 MiB blob is never joined in memory), or in
a local file (an export of a million files does not fit in memory either)."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as a listing shows it; `modified` is the store's own clock, in nanoseconds since 1970."""

    name: str
    size: int
    modified: int


class Store(Protocol):
    """A place that keeps objects.  Safe to use from several threads at once."""

    url: str
    """How a person names this store again; never holds a credential."""

    def put(self, name: str, body: Body) -> None:
        """Create an object; durable when this returns.

        Never replaces: where the name exists with the same bytes this is a success (our own lost answer), with other
        bytes ObjectExists.  A server that ignores If-None-Match cannot promise that; vaultpy's safety does not rest on
        it, because names are hashes of the bytes or fresh UUIDs.
        """

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Exactly the bytes asked for, or an error: ObjectNotFound, or StoreContradiction when the object ends early.

        `length` None: to the end, which is for documents; ObjectTooLarge where more is left than any of them has.
        """

    def stat(self, name: str) -> ObjectInfo | None:
        """The object's entry in a listing; None only when the store definitely has no such object."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects whose names begin with `prefix`, in the byte order of their names; never an unfinished put.

        A listing that cannot be completed raises; what was yielded before that must not be taken for the whole.
        """

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is a success."""

    def clock(self) -> int:
        """The store's own time, in nanoseconds since 1970: the clock that `ObjectInfo.modified` is read from."""
