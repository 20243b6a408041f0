"""A vault: a configuration, the store it names, and this host.  Operations are functions that take one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from vaultpy.age import Recipient, parse_recipient
from vaultpy.config import Config, StoreKeyConfig
from vaultpy.errors import ConfigError, DamageError, NoStore, ObjectNotFound, StoreFormatError, UsageError
from vaultpy.manifest import hash_bytes
from vaultpy.state import Host, StatePaths, keep_host, make_host, state_paths
from vaultpy.store import names
from vaultpy.store.base import Store
from vaultpy.store.identity import StoreConfig, decode_store_config
from vaultpy.store.limit import line_of
from vaultpy.store.open import open_store
from vaultpy.store.whole import get_document

Clock = Callable[[], int]
Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store that is one of ours: what vaultpy.json says, and the BLAKE3 hash of that file."""

    store: Store
    settings: StoreConfig
    settings_hash: bytes


@dataclass(frozen=True, slots=True)
class Vault:
    """Everything an operation of a host needs; `clock` in nanoseconds since 1970.  `is_new`: nothing here knew a host, so one
    was made just now."""

    config: Config
    paths: StatePaths
    at: OpenStore
    host: Host
    clock: Clock = time.time_ns
    random: Random = os.urandom
    is_new: bool = False

    @property
    def store(self) -> Store:
        return self.at.store

    @property
    def key(self) -> StoreKeyConfig:
        """The public half of the store key.  Raises ConfigError on a keeper, which has none."""
        if self.config.key is None:
            raise ConfigError(f"config {self.config.path} has no store key", hint="a keeper cannot make snapshots")
        return self.config.key

    @property
    def recipients(self) -> list[Recipient]:
        """Whom exports are encrypted to: the store key, and this host, so that it can rebuild its index."""
        return [parse_recipient(self.key.recipient), self.host.index_recipient]


def open_at(url: str, opener: Callable[[str], Store] = open_store) -> OpenStore:
    """The vaultpy store at a URL.  Raises NoStore where there is none, StoreFormatError for a newer one."""
    store = opener(url)
    try:
        data = get_document(store, names.CONFIG)
    except ObjectNotFound as error:
        raise NoStore(
            f"store {store.url} holds no vaultpy store",
            hint="check the path, or mount its disk; a new one is made by: vaultpy init",
        ) from error
    try:
        return OpenStore(store, decode_store_config(data), hash_bytes(data))
    except StoreFormatError as error:
        raise StoreFormatError(f"store {store.url}: {error.message}", hint=error.hint) from error
    except DamageError as error:
        hint = "bring vaultpy.json back from a copy of the store"
        raise DamageError(f"store {store.url}: {error.message}", hint=hint) from error


def open_configured(config: Config) -> OpenStore:
    """The store that a configuration names, over a line as it says.  Raises as open_at, and UsageError for another store."""
    line = line_of(config.upload_limit, config.download_limit)
    at = open_at(config.store, partial(open_store, line=line))
    if at.settings.id != config.store_id:
        raise UsageError(
            f"store {at.store.url} is store {at.settings.id}, not {config.store_id} as {config.path} says",
            hint="correct store or store_id in the config",
        )
    return at


def open_vault(config: Config, *, clock: Clock = time.time_ns, random: Random = os.urandom) -> Vault:
    """The vault of a configuration.  A host that the state folder does not know yet is made: its first run is a beginning,
    which is what a configuration copied to another machine wants.

    Raises ConfigError for a keeper's configuration, which must not become a host's, NoStore, UsageError for another store.
    """
    if config.key is None:
        raise ConfigError(
            f"config {config.path} has no store key", hint="it is a keeper's: this is for the hosts that make snapshots"
        )
    at = open_configured(config)
    paths = state_paths(config.state, config.path)
    host, is_new = keep_host(paths, config.store_id, partial(make_host, random))
    return Vault(config, paths, at, host, clock, random, is_new=is_new)
