"""What a configuration says, as frozen values, with the defaults that hold where it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vaultpy.model import KeyId, StoreId

Compare = Literal["full", "no-inode", "no-ctime", "size-mtime"]
"""What must be the same for a file to count as unchanged: all of size, mtime, ctime and inode, or fewer of them."""

DEFAULT_COMPRESSION = 3
DEFAULT_BLOB_SIZE = 32 << 20
DEFAULT_UPLOADS = 2


@dataclass(frozen=True, slots=True)
class StoreKeyConfig:
    """The public half of a store key (`age1…`), and the id under which the store keeps the wrapped secret half."""

    id: KeyId
    recipient: str


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """A named list of paths, absolute, and how they are read."""

    name: str
    paths: tuple[bytes, ...]
    exclude: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    one_file_system: bool = False
    exclude_caches: bool = False
    compare: Compare = "full"


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that passed every check; `blob_size` in bytes, `key` None only on a keeper."""

    path: Path
    store: str
    store_id: StoreId
    state: Path
    key: StoreKeyConfig | None
    signers: tuple[str, ...]
    sources: Mapping[str, SourceConfig]
    keeper: bool = False
    compression: int = DEFAULT_COMPRESSION
    blob_size: int = DEFAULT_BLOB_SIZE
    reuse_blind: bool = False
    uploads: int = DEFAULT_UPLOADS
