"""The version of an object whose bytes are right, where a bucket keeps what was deleted or overwritten."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import blake3

from vaultpy.errors import ObjectNotFound, StoreContradiction, StoreDenied
from vaultpy.store.base import Store
from vaultpy.store.versions import ObjectVersion, versions_of

VERSION_LIMIT = 256 * 1024 * 1024
"""Bytes of the largest object that is looked for: a version is read whole, because only then its hash can be told."""


def find_version(store: Store, name: str, size: int, hash: bytes, sha256: bytes | None = None) -> bytes | None:
    """The bytes of an object of that size and those hashes (BLAKE3, and SHA-256 where given), out of its versions.

    None where there are none, or who asks may not see them.  Raises StoreUnavailable.
    """
    if size > VERSION_LIMIT:
        return None
    try:
        for version in candidates(store, name, size):
            data = _read(store, version)
            if data is not None and _is_right(data, hash, sha256):
                return data
    except (StoreDenied, StoreContradiction):
        return None
    return None


def _is_right(data: bytes, hash: bytes, sha256: bytes | None) -> bool:
    if blake3.blake3(data).digest() != hash:
        return False
    return sha256 is None or hashlib.sha256(data).digest() == sha256


def candidates(store: Store, name: str, size: int) -> Iterator[ObjectVersion]:
    """The versions that have the right size, the newest first."""
    found = [one for one in versions_of(store).list_versions(name) if one.name == name and one.size == size]
    return iter(sorted(found, key=lambda one: one.modified, reverse=True))


def _read(store: Store, version: ObjectVersion) -> bytes | None:
    try:
        return versions_of(store).get_version(version)
    except ObjectNotFound:
        return None  # it went meanwhile
