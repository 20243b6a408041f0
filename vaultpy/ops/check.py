"""`config check`: does what a configuration names exist, answer, and fit together?  Changes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vaultpy.chunker import implementation
from vaultpy.config import Config, SourceConfig
from vaultpy.errors import DamageError, ObjectNotFound, UsageError, VaultpyError
from vaultpy.ops.survey import list_metadata
from vaultpy.ops.wrapped import check_recipient_kept, has_wrapped_keys
from vaultpy.signature import MANIFEST_NAMESPACE, check_pin, claimed_signer, fingerprint
from vaultpy.source.filters import compile_filter
from vaultpy.state import StatePaths, load_host, state_paths
from vaultpy.store import names
from vaultpy.store.base import Store
from vaultpy.vault import open_at

FETCHES = 8
"""Signatures fetched at once."""

COMPILED = "compiled"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a configuration's check found: `problems` keep something from working, `warnings` surprise somebody later;
    `chunker`: which implementation runs."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    chunker: str


def check_config(config: Config) -> Checked:
    """Look at everything that a configuration names; what is wrong comes back, nothing is raised for it."""
    found: list[tuple[bool, str]] = [*_check_file(config), *_check_state(config), *_check_store(config)]
    for source in config.sources.values():
        found += _check_source(source)
    if not config.sources and not config.keeper:
        found.append(_problem("no sources: `vaultpy snapshot create` has nothing to do without --path"))
    chunker = implementation()
    if chunker != COMPILED:
        found.append(
            _warning(f"chunker: {chunker}: for this Python there is no compiled fastcdc, so large new files go slowly")
        )
    return Checked(tuple(text for bad, text in found if bad), tuple(text for bad, text in found if not bad), chunker)


def _problem(text: str) -> tuple[bool, str]:
    return True, text


def _whole(error: VaultpyError) -> str:
    return error.message + (f" ({error.hint})" if error.hint else "")


def _warning(text: str) -> tuple[bool, str]:
    return False, text


def _check_file(config: Config) -> Iterator[tuple[bool, str]]:
    """Whoever can write to it says what this user runs, and what is stored where."""
    for path in (config.path, config.path.parent):
        found = path.stat()
        if found.st_uid not in (0, os.geteuid()):
            yield _problem(f"{path}: belongs to user {found.st_uid}, who could have any program run as you")
        elif found.st_mode & stat.S_IWOTH and not (path != config.path and found.st_mode & stat.S_ISVTX):
            yield _problem(f"{path}: everybody can write to it, and have any program run as you")


def _check_state(config: Config) -> Iterator[tuple[bool, str]]:
    state = config.state
    try:
        mode = state.stat().st_mode
    except FileNotFoundError:
        yield _problem(f"state {state}: no such folder; the next run makes it")
    except OSError as error:
        yield _problem(f"state {state}: {(error.strerror or str(error)).lower()}")
    else:
        yield from _check_folder(state, mode)
    if not config.keeper:
        yield from _check_host(config, state_paths(state, config.path))


def _check_folder(state: Path, mode: int) -> Iterator[tuple[bool, str]]:
    if not stat.S_ISDIR(mode):
        yield _problem(f"state {state}: not a folder")
    elif not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        yield _problem(f"state {state}: not writable")
    elif mode & 0o077:
        yield _problem(f"state {state}: others can look into it; it should have mode 0700")


def _check_host(config: Config, paths: StatePaths) -> Iterator[tuple[bool, str]]:
    try:
        if load_host(paths, config.store_id) is None:
            yield _warning(f"state {paths.folder}: no secrets of a host; the next run begins as a new host")
        if config.key is not None:
            check_recipient_kept(paths.folder, config.key)
    except VaultpyError as error:
        yield _problem(_whole(error))


def _check_store(config: Config) -> Iterator[tuple[bool, str]]:
    try:
        at = open_at(config.store)
        if at.settings.id != config.store_id:
            yield _problem(f"store {at.store.url}: it is store {at.settings.id}, not {config.store_id}")
            return
        if config.key is not None and not has_wrapped_keys(at.store, config.key.id):
            yield _problem(f"key {config.key.id}: the store has no form of it, so nobody could restore")
        if config.signers:
            yield from _check_signers(at.store, config.signers)
    except VaultpyError as error:
        yield _problem(_whole(error))


def _check_signers(store: Store, pins: tuple[str, ...]) -> Iterator[tuple[bool, str]]:
    """Pins under whose name nothing in the store is signed: a host that has not begun, or one mistyped."""
    signatures = map(names.signature_name, list_metadata(store).signatures)
    with ThreadPoolExecutor(FETCHES) as pool:
        signers = list(pool.map(lambda name: _claimed(store, name), signatures))
    claimed = {one for signer in signers if signer is not None for one in (signer, fingerprint(signer))}
    for pin in pins:
        if check_pin(pin) not in claimed:
            yield _warning(f"signers: {pin}: nothing in the store is signed by it")


def _claimed(store: Store, name: str) -> str | None:
    try:
        return claimed_signer(store.get(name), MANIFEST_NAMESPACE)
    except (DamageError, ObjectNotFound):
        return None


def _check_programs(source: SourceConfig) -> Iterator[tuple[bool, str]]:
    """Programs that are named by their path; what is looked for in PATH depends on who runs us."""
    named = {f"command {one.name}": one.run for one in source.commands}
    hooks = {"before": source.before, "after": source.after, "on_failure": source.on_failure}
    named |= {f"hook {name}": hook.run for name, hook in hooks.items() if hook is not None}
    for name, run in named.items():
        if "/" in run[0] and not (os.path.isfile(run[0]) and os.access(run[0], os.X_OK)):
            yield _problem(f"source {source.name}: {name}: {run[0]} is no program")


def _check_patterns(source: SourceConfig) -> Iterator[tuple[bool, str]]:
    for patterns in (source.exclude, source.databases):
        try:
            compile_filter(patterns)
        except UsageError as error:
            yield _problem(f"source {source.name}: {_whole(error)}")


def _check_source(source: SourceConfig) -> Iterator[tuple[bool, str]]:
    yield from _check_programs(source)
    yield from _check_patterns(source)
    for path in source.paths:
        named = f"source {source.name}: {os.fsdecode(path)}"
        try:
            found = os.lstat(path)
        except OSError as error:
            yield _problem(f"{named}: {(error.strerror or str(error)).lower()}")
            continue
        if stat.S_ISLNK(found.st_mode):
            yield _warning(f"{named}: is a symbolic link: only the link is stored, not what it leads to")
        elif not os.access(path, os.R_OK):
            yield _problem(f"{named}: not readable")
