"""What a store keeps of objects that were deleted or overwritten, where it keeps anything: beside the contract of base.py.

A bucket with versions hides a deleted object behind a marker.  Object Lock forbids that a version goes before its time, and
whoever removes the marker brings it back: so what is hidden can still count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vaultpy.errors import ObjectNotFound
from vaultpy.store.base import Store


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object; `id` means something to the store alone, `latest`: what its name shows now.

    `modified` is the store's own clock, in nanoseconds since 1970.
    """

    name: str
    id: str
    size: int
    modified: int
    latest: bool


@runtime_checkable
class Versioned(Protocol):
    """A store that may have versions.  Every method raises StoreError (or one of its kinds) and nothing else."""

    def list_versions(self, prefix: str) -> Iterator[ObjectVersion]:
        """All versions of all objects whose names begin with `prefix`, in the byte order of the names; no markers.

        Nothing where the store has no versions, and says so.  A listing that cannot be completed raises; what was yielded
        before that must not be taken for the whole.
        """

    def get_version(self, version: ObjectVersion) -> bytes:
        """All its bytes, or an error: ObjectNotFound when the version is gone."""

    def is_locked(self, version: ObjectVersion, now: int) -> bool:
        """Whether a retention that ends after `now` (the store's clock, nanoseconds) or a legal hold keeps it.

        False only when the store definitely said so; also of a version that is gone.
        """


class _Unversioned:
    """Stands for a store that keeps nothing of what was deleted."""

    def list_versions(self, prefix: str) -> Iterator[ObjectVersion]:
        return iter(())

    def get_version(self, version: ObjectVersion) -> bytes:
        raise ObjectNotFound(f"object {version.name} has no version {version.id}: the store has none")

    def is_locked(self, version: ObjectVersion, now: int) -> bool:
        return False


def versions_of(store: Store) -> Versioned:
    """A store's versions; none for a store that cannot have any.  Wrappers pass them on, or a lock would be overlooked."""
    return store if isinstance(store, Versioned) else _Unversioned()
