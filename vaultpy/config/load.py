"""Reading a configuration file (TOML): whole and checked, or a ConfigError that names file, setting and way out."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from vaultpy.config import checks
from vaultpy.config.places import MAKE_ONE
from vaultpy.config.values import (
    DEFAULT_BLOB_SIZE,
    DEFAULT_COMMAND_TIMEOUT,
    DEFAULT_COMPRESSION,
    DEFAULT_HOOK_TIMEOUT,
    DEFAULT_UPLOADS,
    CommandConfig,
    Config,
    HookConfig,
    SourceConfig,
    StoreKeyConfig,
)
from vaultpy.errors import ConfigError, UsageError
from vaultpy.model import KeyId, StoreId
from vaultpy.units import parse_size

T = TypeVar("T")

_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number with a point",
    str: "a string",
    list: "a list",
    dict: "a table",
}


def load_config(path: Path) -> Config:
    """The configuration in `path`.  Raises ConfigError and nothing else; looks at no other file."""
    where = path.absolute()
    table = _Table(_parse(where), where, "", _settings_of(Config, but="path"))
    keeper = table.flag("keeper")
    key = table.optional("key", _as_table)
    config = Config(
        path=where,
        store=table.required("store", _text_as(checks.check_store_url)),
        store_id=StoreId(table.required("store_id", _text_as(checks.check_uuid))),
        state=table.required("state", _text_as(checks.check_state)),
        key=None if key is None else _load_key(key, where),
        signers=table.texts("signers", checks.check_signer),
        sources=_load_sources(table.optional("sources", _as_table) or {}, where),
        keeper=keeper,
        compression=_compression(table),
        blob_size=_blob_size(table),
        reuse_blind=table.flag("reuse_blind"),
        readers=table.number("readers", 1, (1, 32)) if "readers" in table else None,
        uploads=table.number("uploads", DEFAULT_UPLOADS, (1, 16)),
        upload_limit=table.optional("upload_limit", _text_as(checks.check_rate)),
        download_limit=table.optional("download_limit", _text_as(checks.check_rate)),
        scratch=table.optional("scratch", _text_as(checks.check_state)),
    )
    if key is None and not keeper:
        table.fail("key", "missing", hint="a host needs its store key; only a keeper (`keeper = true`) goes without")
    return config


def _load_key(values: dict[str, Any], path: Path) -> StoreKeyConfig:
    table = _Table(values, path, "key.", _settings_of(StoreKeyConfig))
    return StoreKeyConfig(
        id=KeyId(table.required("id", _text_as(checks.check_uuid))),
        recipient=table.required("recipient", _text_as(checks.check_recipient)),
    )


def _load_sources(tables: dict[str, Any], path: Path) -> dict[str, SourceConfig]:
    known = _settings_of(SourceConfig, but="name")
    top = _Table(tables, path, "sources.", list(tables))
    sources = {}
    for name in tables:
        top.attempt(name, partial(checks.check_source_name, name))
        values = top.required(name, _as_table)
        sources[name] = _load_source(name, _Table(values, path, f"sources.{name}.", known))
    return sources


def _load_source(name: str, table: _Table) -> SourceConfig:
    paths = table.texts("paths", checks.check_source_path)
    commands = _load_commands(table)
    if not paths and not commands:
        table.fail("paths", "missing", hint='name at least one absolute path: paths = ["/home"]')
    return SourceConfig(
        name=name,
        paths=paths,
        exclude=table.texts("exclude", str),
        tags=table.texts("tags", checks.check_tag),
        one_file_system=table.flag("one_file_system"),
        exclude_caches=table.flag("exclude_caches"),
        exclude_files=table.texts("exclude_files", checks.check_file_name),
        exclude_if_present=table.texts("exclude_if_present", checks.check_file_name),
        exclude_larger_than=table.size("exclude_larger_than"),
        exclude_nodump=table.flag("exclude_nodump"),
        birth_times=table.flag("birth_times"),
        access_times=table.flag("access_times"),
        compare=table.optional("compare", _text_as(checks.check_compare)) or "full",
        sqlite=table.optional("sqlite", _text_as(checks.check_sqlite)) or "consistent",
        databases=table.texts("databases", str),
        read_from=_load_read_from(table, paths),
        commands=commands,
        before=_load_hook(table, "before"),
        after=_load_hook(table, "after"),
        on_failure=_load_hook(table, "on_failure"),
    )


def _load_commands(table: _Table) -> tuple[CommandConfig, ...]:
    values = table.optional(
        "commands", lambda value: [_as_table(item) for item in _typed(value, list, "a list of tables")]
    )
    commands: list[CommandConfig] = []
    for number, value in enumerate(values or (), 1):
        below = table.below(f"commands.{number}", value, _settings_of(CommandConfig))
        name = below.required("name", _text_as(checks.check_file_name))
        if any(name == other.name for other in commands):
            below.fail("name", f"{name!r} is the name of two commands")
        commands.append(CommandConfig(name, below.program(), below.timeout(DEFAULT_COMMAND_TIMEOUT)))
    return tuple(commands)


def _load_hook(table: _Table, name: str) -> HookConfig | None:
    value = table.optional(name, _as_table)
    if value is None:
        return None
    below = table.below(name, value, _settings_of(HookConfig))
    # What has to come before a snapshot comes before it, unless somebody says that it need not.
    must = below.optional("must_succeed", lambda given: _typed(given, bool, "true or false"))
    return HookConfig(below.program(), below.timeout(DEFAULT_HOOK_TIMEOUT), name == "before" if must is None else must)


def _load_read_from(table: _Table, paths: tuple[bytes, ...]) -> tuple[tuple[bytes, bytes], ...]:
    values = table.optional("read_from", _as_table) or {}
    below = table.below("read_from", values, list(values))
    found = []
    for text in values:
        live = below.attempt(text, partial(checks.check_source_path, text))
        if not any(path == live or path.startswith(live.rstrip(b"/") + b"/") for path in paths):
            below.fail(text, "none of the source's paths lies there")
        found.append((live, below.required(text, _text_as(checks.check_source_path))))
    return tuple(found)


def _compression(table: _Table) -> int:
    """A level; "auto" is the one that the other settings are made for."""
    word = table.optional("compression", lambda value: value if isinstance(value, str) else None)
    if word is None:
        return table.number("compression", DEFAULT_COMPRESSION, (1, 19))
    if word != "auto":
        table.fail("compression", f"{word!r} is no level", hint='write a number, 1 to 19, or "auto"')
    return DEFAULT_COMPRESSION


def _blob_size(table: _Table) -> int:
    size = table.size("blob_size")
    # Stored sizes are multiples of 256 KiB; the largest still leaves room for two blobs under the memory bound.
    if size is not None and not 256 << 10 <= size <= 64 << 20:
        table.fail("blob_size", f"{size} bytes is not from 256KiB to 64MiB")
    return DEFAULT_BLOB_SIZE if size is None else size


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {_lower(str(error))}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not TOML: byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not a configuration: nested too deep") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file", hint=MAKE_ONE) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {_lower(error.strerror or str(error))}") from error


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _settings_of(kind: type, but: str | None = None) -> list[str]:
    """The settings of a table are the fields of its dataclass, so that neither can drift from the other."""
    return [field.name for field in fields(kind) if field.name != but]


EMPTY = '""'
"""An empty name, as TOML writes it."""


class _Table:
    """One TOML table being read; every failure names the file and the setting."""

    def __init__(self, values: dict[str, Any], path: Path, prefix: str, known: list[str]) -> None:
        self._values, self._path, self._prefix = values, path, prefix
        for name in values:
            if name not in known:
                self.fail(name, "unknown setting", hint=_nearest(name, known))

    def fail(self, name: str, problem: str, hint: str | None = None) -> NoReturn:
        raise ConfigError(f"{self._path}: {self._prefix}{name or EMPTY}: {problem}", hint=hint)

    def optional(self, name: str, read: Callable[[Any], T]) -> T | None:
        return self.attempt(name, partial(read, self._values[name])) if name in self._values else None

    def attempt(self, name: str, check: Callable[[], T]) -> T:
        try:
            return check()
        except UsageError as error:
            self.fail(name, error.message, hint=error.hint)

    def required(self, name: str, read: Callable[[Any], T]) -> T:
        value = self.optional(name, read)
        return self.fail(name, "missing") if value is None else value

    def flag(self, name: str) -> bool:
        return bool(self.optional(name, lambda value: _typed(value, bool, "true or false")))

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def number(self, name: str, default: int, limits: tuple[int, int]) -> int:
        value = self.optional(name, lambda value: _typed(value, int, "a whole number"))
        number = default if value is None else value
        if not limits[0] <= number <= limits[1]:
            self.fail(name, f"{number} is not from {limits[0]} to {limits[1]}")
        return number

    def size(self, name: str) -> int | None:
        """Bytes, as a number or as people write them."""
        size = self.optional(name, lambda value: value if type(value) is int else parse_size(_text(value)))
        if size is not None and size < 0:
            self.fail(name, f"{size} is no size")
        return size

    def below(self, name: str, values: dict[str, Any], known: list[str]) -> _Table:
        return _Table(values, self._path, f"{self._prefix}{name}.", known)

    def program(self) -> tuple[str, ...]:
        words = self.texts("run", str)
        return self.attempt("run", partial(checks.check_run, words))

    def timeout(self, default: int) -> int:
        return self.optional("timeout", _text_as(checks.check_timeout)) or default

    def texts(self, name: str, read: Callable[[str], T]) -> tuple[T, ...]:
        return self.optional(name, lambda value: tuple(read(_text(item)) for item in _as_list(value))) or ()


def _nearest(name: str, known: list[str]) -> str:
    import difflib  # only on the way to an error

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(known)}"


def _typed(value: Any, kind: type[T], what: str) -> T:
    # By `type`, not isinstance: Python's True is an int, TOML's is not.
    if type(value) is not kind:
        raise UsageError(f"must be {what}, is {_KINDS.get(type(value), 'a date or time')}")
    return value


def _text(value: Any) -> str:
    return _typed(value, str, "a string")


def _text_as(read: Callable[[str], T]) -> Callable[[Any], T]:
    return lambda value: read(_text(value))


def _as_list(value: Any) -> list[Any]:
    return _typed(value, list, "a list of strings")


def _as_table(value: Any) -> dict[str, Any]:
    return _typed(value, dict, "a table")
