"""Where a configuration and a state folder lie.  The environment is a mapping; only the command line reads its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vaultpy.errors import ConfigError
from vaultpy.model import StoreId

SYSTEM_CONFIG = Path("/etc/vaultpy/config.toml")
SYSTEM_STATE = Path("/var/lib/vaultpy")
ABSENT = "absent"
MAKE_ONE = "`vaultpy init` writes one; `--config FILE` or VAULTPY_CONFIG names another"


def find_config(explicit: Path | None, env: Mapping[str, str]) -> Path:
    """The configuration to use: `explicit` (--config), else VAULTPY_CONFIG, else the user's, else the system's.

    One that was named must be there; raises ConfigError where none is.
    """
    named, origin = (explicit, "--config") if explicit else (env.get("VAULTPY_CONFIG"), "VAULTPY_CONFIG")
    if named:
        why = _why_not(Path(named))
        if why == ABSENT:
            raise ConfigError(f"{named}: no such configuration file ({origin})", hint=MAKE_ONE)
        if why is not None:
            raise ConfigError(f"{named}: cannot be read: {why}")
        return Path(named)
    looked = []
    for place in default_places(env):
        why = _why_not(place)
        if why is None:
            return place
        looked.append(f"{place} ({why})" if why != ABSENT else str(place))
    raise ConfigError(f"no configuration found: looked for {' and '.join(looked)}", hint=MAKE_ONE)


def _why_not(path: Path) -> str | None:
    """Why there is nothing to read there: ABSENT, or what the system said; None where there is something."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def new_config_path(explicit: Path | None, env: Mapping[str, str]) -> Path:
    """Where `init` writes: the place where find_config looks first.

    Raises ConfigError where something is there already.
    """
    path = Path(explicit or env.get("VAULTPY_CONFIG") or default_places(env)[0]).absolute()
    if os.path.lexists(path):
        raise ConfigError(f"{path}: is there already", hint="use it, move it away, or name another with --config")
    return path


def default_places(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a configuration is looked for when none is named, in that order."""
    own = _xdg(env, "XDG_CONFIG_HOME", ".config")
    return (own / "vaultpy" / "config.toml", SYSTEM_CONFIG) if own else (SYSTEM_CONFIG,)


def default_state(store_id: StoreId, env: Mapping[str, str], euid: int) -> Path:
    """The state folder for a store: below XDG_STATE_HOME where that is set, else /var/lib for root, else the home.

    Raises ConfigError for a user without a home.
    """
    if euid == 0 and not _is_absolute(env.get("XDG_STATE_HOME")):
        return SYSTEM_STATE / str(store_id)
    base = _xdg(env, "XDG_STATE_HOME", ".local/state")
    if base is None:
        raise ConfigError("no place for the state: neither XDG_STATE_HOME nor HOME is set", hint="set one of them")
    return base / "vaultpy" / str(store_id)


def _xdg(env: Mapping[str, str], variable: str, below_home: str) -> Path | None:
    # The XDG specification says that a relative path in its variables is to be ignored.
    if _is_absolute(env.get(variable)):
        return Path(env[variable])
    return Path(env["HOME"]) / below_home if _is_absolute(env.get("HOME")) else None


def _is_absolute(path: str | None) -> bool:
    return path is not None and os.path.isabs(path)
