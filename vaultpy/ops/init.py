"""`init`: from nothing to a configuration, a state folder, a store and its key; or joining a store that is there.

Nothing half done is left visible: the configuration, which makes a host one, is written last.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vaultpy.config import Config, StoreKeyConfig, default_state, new_config_path, render_config, write_config
from vaultpy.errors import ObjectExists, ObjectNotFound, StoreError, UsageError
from vaultpy.index.db import create_index
from vaultpy.keys import RecipientForm, check_recipient, make_store_key, new_identity_text
from vaultpy.manifest import hash_bytes
from vaultpy.model import KeyId, StoreId, uuid7
from vaultpy.ops.probing.probe import probe
from vaultpy.ops.probing.probed import Probed, Verdict
from vaultpy.ops.wrapped import keep_recipient, keep_wrapped_keys
from vaultpy.signature import check_pin
from vaultpy.state import StatePaths, load_host, make_host, save_host, state_paths
from vaultpy.store import names
from vaultpy.store.base import Store
from vaultpy.store.identity import StoreConfig, decode_store_config, encode_store_config
from vaultpy.store.open import make_place
from vaultpy.vault import OpenStore

DEFAULT_GRACE = 24 * 3600


@dataclass(frozen=True, slots=True)
class InitRequest:
    """What `init` was asked for; `new_identity` is a file to make; `grace` in seconds, for a store that is made."""

    url: str
    recipients: tuple[str, ...] = ()
    new_identity: Path | None = None
    keeper: bool = False
    signers: tuple[str, ...] = ()
    grace: int = DEFAULT_GRACE


@dataclass(frozen=True, slots=True)
class Initialised:
    """What there is now; `joined`: the store was there before; `host_copy`: of the host's secrets, None where the folder of
    the configuration took none; `warnings` are for people."""

    config: Config
    joined: bool
    signer: str | None
    identity: Path | None
    host_copy: Path | None
    warnings: tuple[str, ...]


def init(
    request: InitRequest,
    config_file: Path | None,
    environment: Mapping[str, str],
    *,
    clock: Callable[[], int] = time.time_ns,
    random: Callable[[int], bytes] = os.urandom,
) -> Initialised:
    """Set this machine up as a host (or keeper) of a store.  Raises UsageError for an existing configuration or identity
    file, ConfigError, StoreError."""
    path = new_config_path(config_file, environment)
    forms = [check_recipient(one) for one in request.recipients]
    for signer in request.signers:
        check_pin(signer)
    if request.new_identity is not None and os.path.lexists(request.new_identity):
        raise UsageError(
            f"identity file {request.new_identity} exists", hint="name a file that does not, or give its --recipient"
        )
    place = make_place(request.url)
    probed = probe(place, None, clock=clock, random=random, short=True)
    _refuse_bad(probed)
    at, joined = join_or_make(place, request.grace, clock, random)
    state = default_state(at.settings.id, environment, os.geteuid())
    paths = state_paths(state, path)
    host_signer, key, copied = None, None, False
    if not request.keeper:
        recipients = [form.text for form in forms]
        host = load_host(paths, at.settings.id) or make_host(random)
        host_signer = host.signing_key.public_text()
        if request.new_identity is not None:
            recipients.append(write_identity(request.new_identity, host_signer, clock, random))
        copied = save_host(paths, at.settings.id, host)
        key = add_store_key(at.store, paths.folder, recipients, host_signer, clock, random)
        _make_index(paths, at.settings.id, host.id.bytes)
    config = Config(
        path=path,
        store=request.url,
        store_id=at.settings.id,
        state=state,
        key=key,
        signers=request.signers,
        sources={},
        keeper=request.keeper,
    )
    write_config(path, render_config(config))
    return Initialised(
        config,
        joined,
        host_signer,
        request.new_identity,
        paths.copy if copied else None,
        (*_weak(probed), *_warnings(forms)),
    )


def _refuse_bad(probed: Probed) -> None:
    """A store in which snapshots could be lost is refused before anything was made."""
    for one in probed.bad:
        raise StoreError(
            f"store {probed.url} must not be used: {one.subject}: {one.found}",
            hint=f"nothing was made; all that is wrong: vaultpy store probe --store '{probed.url}'",
        )


def _weak(probed: Probed) -> Iterator[str]:
    """What is worth a word at once; what the rights mean is for `store probe` to say."""
    for one in probed.tried:
        if one.verdict == Verdict.WEAK and one.subject != "rights":
            yield f"store: {one.subject}: {one.found} ({one.means})"


def join_or_make(
    store: Store, grace: int, clock: Callable[[], int], random: Callable[[int], bytes]
) -> tuple[OpenStore, bool]:
    """The vaultpy store at a place, made where there is none; whether it was there.  Of two racing `init`s one makes it:
    what is read back afterwards is what both adopt."""
    joined = True
    try:
        data = store.get(names.CONFIG)
    except ObjectNotFound:
        joined = False
        now = clock()
        made = encode_store_config(StoreConfig(StoreId(uuid7(now // 1_000_000, random(10))), now, grace))
        try:
            store.put(names.CONFIG, made)
        except ObjectExists:
            joined = True
        data = store.get(names.CONFIG)
    return OpenStore(store, decode_store_config(data), hash_bytes(data)), joined


def add_store_key(
    store: Store,
    state: Path,
    recipients: Sequence[str],
    signer: str,
    clock: Callable[[], int],
    random: Callable[[int], bytes],
) -> StoreKeyConfig:
    """Make a store key and put its wrapped forms; the secret half is in none of our hands afterwards."""
    key_id = KeyId(uuid7(clock() // 1_000_000, random(10)))
    made = make_store_key(recipients, signer, key_id, random)
    for number, form in enumerate(made.wrapped):
        store.put(names.key_name(key_id, number), form)
    key = StoreKeyConfig(key_id, made.recipient)
    keep_wrapped_keys(state, key_id, made.wrapped)
    keep_recipient(state, key)
    return key


def write_identity(path: Path, signer: str, clock: Callable[[], int], random: Callable[[int], bytes]) -> str:
    """Write a new identity file (0600, durable) that also names this host's signer; returns its recipient."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock() / 1e9))
    text, recipient = new_identity_text(created, random)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"identity file {path} cannot be made: {(error.strerror or '').lower()}") from error
    with open(fd, "w") as target:
        target.write(f"# signer: {signer}\n{text}")
        target.flush()
        os.fsync(target.fileno())
    return recipient


def _make_index(paths: StatePaths, store: StoreId, host: bytes) -> None:
    if not paths.index.exists():
        create_index(paths.index, {"store": store.bytes, "host": host}).close()


def _warnings(forms: Sequence[RecipientForm]) -> list[str]:
    return [
        f"recipient {form.text[:24]}…: whoever sees the store can tell that it is one of its recipients"
        for form in forms
        if form.recognisable
    ]
