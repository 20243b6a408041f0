"""What a configuration says, as frozen values, with the defaults that hold where it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vaultpy.model import KeyId, StoreId

Compare = Literal["full", "no-inode", "no-ctime", "size-mtime"]
"""What must be the same for a file to count as unchanged: all of size, mtime, ctime and inode, or fewer of them."""

Sqlite = Literal["consistent", "as-is"]
"""How databases in use are taken: as the state of one moment, or as the bytes that lie there."""

DEFAULT_COMMAND_TIMEOUT = 6 * 3600
DEFAULT_HOOK_TIMEOUT = 10 * 60
"""In seconds."""

DEFAULT_COMPRESSION = 2
DEFAULT_BLOB_SIZE = 32 << 20
DEFAULT_UPLOADS = 2


@dataclass(frozen=True, slots=True)
class StoreKeyConfig:
    """The public half of a store key (`age1…`), and the id under which the store keeps the wrapped secret half."""

    id: KeyId
    recipient: str


@dataclass(frozen=True, slots=True)
class CommandConfig:
    """A program whose output is stored as a file of that name; `run` is the program and its arguments, no shell's line,
    `timeout` in seconds."""

    name: str
    run: tuple[str, ...]
    timeout: int = DEFAULT_COMMAND_TIMEOUT


@dataclass(frozen=True, slots=True)
class HookConfig:
    """A program that is run around a snapshot of a source; `must_succeed`: where it fails, so does the source."""

    run: tuple[str, ...]
    timeout: int = DEFAULT_HOOK_TIMEOUT
    must_succeed: bool = False


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """A named list of paths, absolute, and how they are read.

    `read_from` has pairs of a path and the folder that holds a copy of what is there (a snapshot of its file system):
    what lies below the one is read below the other.  `exclude_larger_than` in bytes.
    """

    name: str
    paths: tuple[bytes, ...]
    exclude: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    one_file_system: bool = False
    exclude_caches: bool = False
    exclude_files: tuple[str, ...] = ()
    exclude_if_present: tuple[str, ...] = ()
    exclude_larger_than: int | None = None
    exclude_nodump: bool = False
    birth_times: bool = False
    access_times: bool = False
    compare: Compare = "full"
    sqlite: Sqlite = "consistent"
    databases: tuple[str, ...] = ()
    read_from: tuple[tuple[bytes, bytes], ...] = ()
    commands: tuple[CommandConfig, ...] = ()
    before: HookConfig | None = None
    after: HookConfig | None = None
    on_failure: HookConfig | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that passed every check; `blob_size` in bytes, `key` None only on a keeper, `readers` None for
    as many as the machine bears, `upload_limit` and `download_limit` in bytes a second, None for what the line gives,
    `scratch` None for the state folder's own."""

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
    readers: int | None = None
    uploads: int = DEFAULT_UPLOADS
    upload_limit: int | None = None
    download_limit: int | None = None
    scratch: Path | None = None
