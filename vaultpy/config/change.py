"""Changing one setting in a configuration that a person wrote: everything else stays, to the letter."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from vaultpy.config.load import load_config
from vaultpy.config.values import StoreKeyConfig
from vaultpy.durable import sync_folder
from vaultpy.errors import ConfigError

_KEY_TABLE = re.compile(r"(?ms)^\[key\][^\n]*\n.*?(?=^\[|\Z)")


def change_key(path: Path, key: StoreKeyConfig) -> None:
    """Put another store key into the configuration's [key]; whole or not at all, durable on return.

    Raises ConfigError where that table is not written in the usual way, and then changes nothing.
    """
    by_hand = f'the new key is made; write into [key]: id = "{key.id}" and recipient = "{key.recipient}"'
    try:
        changed = _change(path.read_text(encoding="utf-8"), key)
        if changed is None or not _replace(path, changed, key):
            raise ConfigError(f"{path}: its [key] cannot be changed by program", hint=by_hand)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {(error.strerror or str(error)).lower()}", hint=by_hand
        ) from error


def _change(text: str, key: StoreKeyConfig) -> str | None:
    found = _KEY_TABLE.search(text)
    if found is None:
        return None
    changed = found[0]
    for name, value in (("id", str(key.id)), ("recipient", key.recipient)):
        changed, count = re.subn(rf'(?m)^({name}\s*=\s*)"[^"]*"', rf'\g<1>"{value}"', changed)
        if count != 1:
            return None
    return text[: found.start()] + changed + text[found.end() :]


def _replace(path: Path, text: str, key: StoreKeyConfig) -> bool:
    """Whether it was done: not where it would not be read as it is meant."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, path.stat().st_mode & 0o777)
            os.fsync(descriptor)
        if not _says(Path(temporary), key):
            return False
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def _says(path: Path, key: StoreKeyConfig) -> bool:
    """What is about to take effect is read first, as the next run will read it."""
    try:
        return load_config(path).key == key
    except ConfigError:
        return False
