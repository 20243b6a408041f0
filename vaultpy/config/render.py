"""Writing a configuration file: every setting with its explanation; what is rendered loads back equal."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from pathlib import Path

from vaultpy.config.values import (
    DEFAULT_BLOB_SIZE,
    DEFAULT_COMPRESSION,
    DEFAULT_UPLOADS,
    CommandConfig,
    Config,
    HookConfig,
    SourceConfig,
)
from vaultpy.durable import sync_folder
from vaultpy.errors import ConfigError

_MiB = 1 << 20

_TOP = """\
# The configuration of vaultpy. docs/configuration.md says more about each setting.
# A line that begins with `#` and a setting shows the default; take the `#` away to change it.

# Where the snapshots are kept: file:///absolute/path or s3://bucket/prefix?endpoint=…&region=…
{store}

# The id of that store, as its vaultpy.json says it: a wrong bucket is noticed, not filled.
{store_id}

# Where this host keeps its index, its lock and its own secrets. Never share it between hosts.
{state}

# true: this machine lists, verifies, purges and prunes, makes no snapshots and needs no store key.
{keeper}

# The hosts whose snapshots are believed: their signing keys (ssh-ed25519 AAAA…) or fingerprints (SHA256:…).
{signers}

# zstd's level, 1 (fast) to 19 (small), or "auto", which is 2. What does not shrink is not worked on at any.
{compression}

# Stored bytes at which a blob is closed and uploaded, 256KiB to 64MiB.
{blob_size}

# Processes that read, compress and encrypt, 1 to 32, each with some 60 MB of memory; 1 is the run's own alone.
# Without it, one a core and four at most, once a run has much to read.
{readers}

# Blobs uploaded at the same time, 1 to 16; each takes blob_size of room in the state folder.
{uploads}

# The most bytes a second that go to the store, and that come from it, all uploads together. Without them, what the line takes.
{upload_limit}
{download_limit}

# Where copies of databases in use lie for a moment; without it, in the state folder.
{scratch}

# For a host that may not list the store: reuse what the index says was uploaded, without seeing it there.
# If someone deleted it since, new snapshots lack it and only `vaultpy snapshot verify` will tell.
{reuse_blind}
"""

_KEY = """
# The public half of the store key. It opens nothing; the secret half lies in the store, encrypted to your recipients.
[key]
{id}
{recipient}
"""

_SOURCE = """
[sources.{name}]
# What is read: absolute paths.
{paths}
# What is left out, in gitignore's syntax.
{exclude}
# Put on every snapshot of this source; `purge --keep-tag` knows them.
{tags}
# true: stay on the file systems that the paths lie on.
{one_file_system}
# true: leave out the contents of folders that hold a CACHEDIR.TAG.
{exclude_caches}
# Names of files in the tree that hold such patterns themselves, as .gitignore does: [".vaultignore"]
{exclude_files}
# Leave out the contents of folders that hold something of one of these names: [".nobackup"]
{exclude_if_present}
# Leave out larger files.
{exclude_larger_than}
# true: leave out what has the nodump flag (chattr +d).
{exclude_nodump}
# true: record when files were made, too. It takes time, and no system can set it when they are restored.
{birth_times}
# true: record when files were last read, as it was before the snapshot read them.
{access_times}
# What tells a changed file: "full" (size, mtime, ctime, inode), "no-inode" (network and FUSE file systems),
# "no-ctime", or "size-mtime".
{compare}
# SQLite databases in use: "consistent" stores the state of one moment, "as-is" the files as they lie there.
{sqlite}
# Databases that nothing beside them gives away, in gitignore's syntax.
{databases}
# Where a path is read instead, and recorded as itself: {{"/home" = "/mnt/snapshot"}}
{read_from}
# Programs whose output is stored as a file: [{{name = "shop.sql", run = ["pg_dump", "shop"], timeout = "6h"}}]
{commands}
# Programs run around a snapshot: `timeout` and `must_succeed` may be added.
{before}
{after}
{on_failure}
"""

_EXAMPLE = """
# What to snapshot: one table for each source, with a name of your choice.
#[sources.home]
#paths = ["/home"]
#exclude = [".cache/", "*.tmp"]
#tags = []
#one_file_system = false
#exclude_caches = false
#exclude_files = []
#exclude_if_present = []
#exclude_larger_than = "1GiB"
#exclude_nodump = false
#birth_times = false
#access_times = false
#compare = "full"
#sqlite = "consistent"
#databases = []
#read_from = {}
#commands = []
#before = {run = ["program", "argument"]}
#after = {run = ["program", "argument"]}
#on_failure = {run = ["program", "argument"]}
"""


def render_config(config: Config) -> str:
    """The file that says what `config` says, with a comment for every setting; `config.path` is not part of it.

    Raises ConfigError for a path that is not UTF-8: TOML cannot hold one.
    """
    top = _TOP.format(
        store=_line("store", config.store),
        store_id=_line("store_id", str(config.store_id)),
        state=_line("state", str(config.state)),
        keeper=_line("keeper", config.keeper, False),
        signers=_line("signers", config.signers, ()),
        compression=_line("compression", _level(config.compression), _level(DEFAULT_COMPRESSION)),
        blob_size=_line("blob_size", _size(config.blob_size), _size(DEFAULT_BLOB_SIZE)),
        readers=_optional("readers", config.readers, 2),
        uploads=_line("uploads", config.uploads, DEFAULT_UPLOADS),
        upload_limit=_optional("upload_limit", _rate(config.upload_limit), "2MiB"),
        download_limit=_optional("download_limit", _rate(config.download_limit), "8MiB"),
        scratch=_optional("scratch", None if config.scratch is None else str(config.scratch), "/var/tmp/vaultpy"),
        reuse_blind=_line("reuse_blind", config.reuse_blind, False),
    )
    key = _key(config)
    return top + key + ("".join(map(_source, config.sources.values())) or _EXAMPLE)


def _key(config: Config) -> str:
    if config.key is None:
        return ""
    return _KEY.format(id=_line("id", str(config.key.id)), recipient=_line("recipient", config.key.recipient))


def _source(source: SourceConfig) -> str:
    return _SOURCE.format(
        name=_name(source.name),
        paths=_line("paths", [os.fsdecode(path) for path in source.paths]),
        exclude=_line("exclude", source.exclude, ()),
        tags=_line("tags", source.tags, ()),
        one_file_system=_line("one_file_system", source.one_file_system, False),
        exclude_caches=_line("exclude_caches", source.exclude_caches, False),
        exclude_files=_line("exclude_files", source.exclude_files, ()),
        exclude_if_present=_line("exclude_if_present", source.exclude_if_present, ()),
        exclude_larger_than=_optional("exclude_larger_than", source.exclude_larger_than, "1GiB"),
        exclude_nodump=_line("exclude_nodump", source.exclude_nodump, False),
        birth_times=_line("birth_times", source.birth_times, False),
        access_times=_line("access_times", source.access_times, False),
        compare=_line("compare", source.compare, "full"),
        sqlite=_line("sqlite", source.sqlite, "consistent"),
        databases=_line("databases", source.databases, ()),
        read_from=_line("read_from", {os.fsdecode(live): os.fsdecode(place) for live, place in source.read_from}, {}),
        commands=_line("commands", [_command(one) for one in source.commands], []),
        before=_optional("before", _hook(source.before), {"run": ["program", "argument"]}),
        after=_optional("after", _hook(source.after), {"run": ["program", "argument"]}),
        on_failure=_optional("on_failure", _hook(source.on_failure), {"run": ["program", "argument"]}),
    )


def _command(command: CommandConfig) -> dict[str, object]:
    return {"name": command.name, "run": command.run, "timeout": f"{command.timeout}s"}


def _hook(hook: HookConfig | None) -> dict[str, object] | None:
    if hook is None:
        return None
    return {"run": hook.run, "timeout": f"{hook.timeout}s", "must_succeed": hook.must_succeed}


def _optional(name: str, value: object, example: object) -> str:
    """A setting that has no default to show: an example, where it is not set."""
    return _line(name, example, example) if value is None else _line(name, value)


def _name(name: str) -> str:
    """A key or a table's name: bare where TOML allows it."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _line(name: str, value: object, default: object = None) -> str:
    return f"{'#' if value == default else ''}{name} = {_toml(value)}"


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_name(name)} = {_toml(one)}' for name, one in value.items())}}}"
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(
            f"{value!r}: not UTF-8, so no configuration can hold it", hint="name it by --path, or rename it"
        )
    # JSON's strings, numbers, true and false are TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _level(level: int) -> str | int:
    return "auto" if level == DEFAULT_COMPRESSION else level


def _size(size: int) -> str | int:
    return f"{size // _MiB}MiB" if size % _MiB == 0 else size


def _rate(rate: int | None) -> str | None:
    return None if rate is None else f"{rate // _MiB}MiB" if rate % _MiB == 0 else f"{rate}B"


def write_config(path: Path, text: str) -> None:
    """Create the file, mode 0600, durable when this returns; whole or not at all.

    Raises ConfigError where `path` exists (nothing is changed then) or cannot be written.
    """
    try:
        _make_folder(path.parent)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".config-")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            _give_name(temporary, path)  # durable before visible
        finally:
            Path(temporary).unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from error


def _make_folder(path: Path) -> None:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def _give_name(temporary: str, path: Path) -> None:
    try:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            # A file system without hard links: reserve the name, then put the whole file over our own empty one.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            Path(temporary).replace(path)
    except FileExistsError as error:
        raise ConfigError(f"{path}: is there already", hint="use it, or move it away") from error
