"""Objects that are read whole because they are documents: vaultpy.json, manifests, signatures, records, forms of keys.

Whoever can write to a store can put gigabytes in the place of one, and what reads it must not ask for that much memory.
"""

from __future__ import annotations

from vaultpy.errors import DamageError, StoreContradiction
from vaultpy.store.base import Store

WHOLE_LIMIT = 64 * 1024 * 1024
"""Bytes of the largest object that a `get` without a length gives: as much as a manifest may have."""


class ObjectTooLarge(StoreContradiction):
    """An object that was to be read whole is larger than anything of its kind."""


def check_whole(name: str, size: int) -> None:
    """Raise ObjectTooLarge for more bytes than are read at once."""
    if size > WHOLE_LIMIT:
        raise ObjectTooLarge(f"object {name} has {size} bytes, {WHOLE_LIMIT} at most are read whole")


def get_document(store: Store, name: str) -> bytes:
    """A whole object; DamageError where it is too large to be what its name says."""
    try:
        return store.get(name)
    except ObjectTooLarge as error:
        raise DamageError(error.message) from error
