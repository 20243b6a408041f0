"""vaultpy.json: what makes a place a vaultpy store.  Unencrypted, unsigned, written once."""

from __future__ import annotations

from dataclasses import dataclass

from vaultpy.documents import identifier, moment, number, read_document, write_document, write_moment
from vaultpy.errors import DamageError
from vaultpy.model import StoreId
from vaultpy.store.names import CONFIG

FORMAT = 1
SIZE_LIMIT = 64 * 1024
"""Bytes of a vaultpy.json that is still read."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """`created`: nanoseconds since 1970, kept to the millisecond.  `grace`: seconds that a keeper must wait at least
    between recording and deleting."""

    id: StoreId
    created: int
    grace: int


def encode_store_config(config: StoreConfig) -> bytes:
    """The bytes of vaultpy.json."""
    fields = {
        "format": FORMAT,
        "id": str(config.id),
        "created": write_moment(config.created),
        "grace": config.grace,
    }
    return write_document(fields) + b"\n"


def decode_store_config(data: bytes) -> StoreConfig:
    """Raises StoreFormatError for a store of a newer format, DamageError for what is no vaultpy.json at all."""
    if len(data) > SIZE_LIMIT:
        raise DamageError(f"{CONFIG} has {len(data)} bytes, {SIZE_LIMIT} at most are allowed")
    document = read_document(data, CONFIG)
    document.check_format(FORMAT)
    return StoreConfig(
        StoreId(document.get("id", identifier)), document.get("created", moment), document.get("grace", number)
    )
