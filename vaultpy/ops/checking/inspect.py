"""Looking at one object, every byte: hashed, and, with a key, each chunk in a blob opened, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vaultpy.age import Identity
from vaultpy.blob.reader import BlobReader
from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, StoreContradiction
from vaultpy.index.inventory import NamedObject
from vaultpy.model import ChunkPlace, Places
from vaultpy.ops.checking.passing import PassingObject
from vaultpy.store.base import Store


@dataclass(frozen=True, slots=True)
class Job:
    """An object to look at; `places`: where chunks are needed in it (None: it is only hashed)."""

    object: NamedObject
    places: Places | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What an object is like.  `lost`: nothing in it can be had, and why; `changed`: its bytes are not those of its hash;
    `bad`: of so many `places`, those whose chunks cannot be had, the first because of `why`."""

    object: NamedObject
    places: int
    lost: str | None = None
    changed: bool = False
    bad: tuple[ChunkPlace, ...] = ()
    why: str | None = None

    @property
    def right(self) -> bool:
        """Whether all of it is what it should be."""
        return self.lost is None and not self.changed and not self.bad


def inspect(store: Store, identities: Sequence[Identity], job: Job, *, piece: int | None = None) -> Seen:
    """Fetch an object whole, `piece` bytes at a time, and look.  Raises StoreError where the store fails; damage comes out."""
    passing = PassingObject(store, job.object, piece)
    count = len(job.places) if job.places else 0
    try:
        bad = _find_bad(passing, job.object.size, identities, job.places) if job.places else []
        changed = not passing.finish()
    except (ObjectNotFound, StoreContradiction) as error:
        # The listing showed it, with the right size: whatever this is now, it is not what was stored.
        return Seen(job.object, count, lost=error.message)
    why = bad[0][1] if bad else None
    return Seen(job.object, count, changed=changed, bad=tuple(place for place, _ in bad), why=why)


def _find_bad(
    passing: PassingObject, size: int, identities: Sequence[Identity], places: Places
) -> Sequence[tuple[ChunkPlace, str]]:
    """The places whose chunks are not what they should be, each with the reason."""
    try:
        blob = BlobReader(passing.read, size, identities)
    except (DamageError, NoIdentity) as error:
        return [(places[position], error.message) for position in range(len(places))]
    return list(blob.find_bad(places))
