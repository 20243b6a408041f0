"""The frame of every command: global options before and after it, an example in its help, a `Run` as first argument.

A command is a function `(run: Run, …options) -> int | None` under `@command(...)` and click's own decorators; what it
returns is the exit code (None: 0).  It reads its options, makes one call into `vaultpy.ops` (imported in its body, so that
`--help` stays quick) and shows the result through `run.output`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaultpy.cli.output import Mode, Output
from vaultpy.cli.stopping import Stopped
from vaultpy.errors import UsageError

if TYPE_CHECKING:
    from vaultpy.config import Config
    from vaultpy.store.limit import Line
    from vaultpy.vault import Vault

GLOBAL_OPTIONS = ("config", "store", "json", "quiet", "verbose")
_GIVEN = "vaultpy.given"


@dataclass(frozen=True, slots=True)
class Run:
    """One invocation: the global options as given, the environment, and where its output goes.

    `limits`: upload_limit and download_limit, those that were given, in bytes a second; 0 lifts one.
    """

    config_file: Path | None
    store: str | None
    mode: Mode
    environment: Mapping[str, str]
    output: Output
    limits: Mapping[str, int]

    def config(self) -> Config:
        """The configuration, with the limits that were given; raises ConfigError where there is none or it is wrong."""
        from vaultpy.config import find_config, load_config

        limits: dict[str, Any] = {name: rate or None for name, rate in self.limits.items()}
        return replace(load_config(find_config(self.config_file, self.environment)), **limits)

    def line(self) -> Line:
        """The line to the store of --store."""
        from vaultpy.store.limit import line_of

        return line_of(self.limits.get("upload_limit") or None, self.limits.get("download_limit") or None)

    def config_or_store(self) -> Config | str:
        """The URL of --store, which makes a configuration unnecessary; else the configuration."""
        from vaultpy.config import check_store_url

        return check_store_url(self.store) if self.store else self.config()

    def open_vault(self, config: Config) -> Vault:
        """The vault of a configuration; says so where this machine has become a new host, whatever silence was asked for:
        after a loss, what it made before is another host's, and nobody may learn that at a restore."""
        from vaultpy.vault import open_vault

        vault = open_vault(config)
        if vault.is_new:
            self.output.warn(
                f"state folder {config.state} knew no host: this is a new one, which uploads everything once, and to which"
                " earlier snapshots of this machine are a stranger's (signers, in the config, has it believe them)"
            )
        return vault

    def under_cron(self) -> Run:
        """The same run, silent unless something is wrong."""
        mode = replace(self.mode, cron=True)
        return replace(self, mode=mode, output=Output(mode, sys.stdout, sys.stderr))


class NamedPath(click.Path):
    """A path that somebody named: an empty one would be the folder that the run was started in.

    A list of them in the environment may have empty parts, which name nothing.  What is there now is not asked: a path may be
    one of a snapshot, or to be written, and whoever opens a file says best why it cannot be read.
    """

    def __init__(self, path_type: type[Any] | None = None) -> None:
        super().__init__(readable=False, path_type=path_type)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return [part for part in super().split_envvar_value(rv) if part]


class Command(click.Command):
    """A click command with an example, that hands its function a Run."""

    example = ""
    document = ""
    reads_store = False
    kept: str | None = None

    def invoke(self, ctx: click.Context) -> Any:
        given = ctx.meta.get(_GIVEN, {})
        if given.get("store") and not self.reads_store:
            raise UsageError(
                f"{ctx.command_path}: --store does not belong here", hint=f"try `{ctx.command_path} --help`"
            )
        ctx.obj = _run(given)
        try:
            return super().invoke(ctx)
        except Stopped as stop:
            stop.kept = self.kept
            raise

    def get_short_help_str(self, limit: int = 0) -> str:
        return (self.help or "").partition(". ")[0].partition("\n\n")[0].replace("\n", " ").rstrip(".") + "."

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self.params, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"{' ' * formatter.current_indent}{line}\n")


class Group(click.Group):
    """A group whose commands are named by `MODULE:NAME` and imported when they are asked for."""

    def __init__(self, name: str, help: str, members: Mapping[str, str | Group]) -> None:
        super().__init__(name, help=help, params=_global_options(with_store=True), no_args_is_help=False)
        self._members = members

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        member = self._members.get(cmd_name)
        if not isinstance(member, str):
            return member
        module, _, attribute = member.partition(":")
        found: Command = getattr(importlib.import_module(module), attribute)
        return found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self.params, ctx, formatter)
        self.format_commands(ctx, formatter)


def command(
    name: str, *, example: str, document: str = "", reads_store: bool = False, kept: str | None = None
) -> Callable[[Callable[..., int | None]], Command]:
    """Makes a function a command.

    `example` ends its help, `document` says in docs/cli.md what --json writes, `reads_store` makes it take --store URL,
    `kept` says what there is of it when it was told to stop.
    """

    def make(function: Callable[..., int | None]) -> Command:
        made = click.command(name, cls=Command)(click.pass_obj(function))
        made.example, made.document, made.reads_store, made.kept = example, document, reads_store, kept
        made.params += _global_options(with_store=reads_store)
        return made

    return make


def write_options(params: Sequence[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The help of a command's own options, and below it that of the global ones."""
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    for param in [*params, ctx.command.get_help_option(ctx)]:
        record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
        if param and record:
            (shared if param.name in GLOBAL_OPTIONS else own).append(record)
    for title, records in (("Options", own), ("Global options", shared)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def _global_options(*, with_store: bool) -> list[click.Parameter]:
    def option(*names: str, **settings: Any) -> click.Parameter:
        return click.Option(names, expose_value=False, callback=remember, **settings)

    path = NamedPath(path_type=Path)
    store = option("--store", metavar="URL", help="The store; needs no configuration. file:///… or s3://…")
    return [
        *([store] if with_store else []),
        option("--config", metavar="FILE", type=path, help="The configuration file."),
        option("--json", is_flag=True, help="Write one JSON document to standard output."),
        option("--quiet", is_flag=True, help="Say only what was asked for and what went wrong."),
        option("-v", "--verbose", is_flag=True, help="Say more."),
    ]


def remember(ctx: click.Context, param: click.Parameter, value: object) -> object:
    """Notes an option that was given, before or after the command, for the Run; the one nearest to the command wins."""
    if value is not None and value is not False:
        ctx.meta.setdefault(_GIVEN, {})[param.name] = value
    return value


def _run(given: Mapping[str, Any]) -> Run:
    if given.get("quiet") and given.get("verbose"):
        raise UsageError("--quiet and --verbose: both were given", hint="leave one out")
    mode = Mode(**{name: bool(given.get(name)) for name in ("json", "quiet", "verbose")})
    return Run(
        config_file=given.get("config"),
        store=given.get("store"),
        mode=mode,
        environment=dict(os.environ),
        output=Output(mode, sys.stdout, sys.stderr),
        limits={name: given[name] for name in ("upload_limit", "download_limit") if name in given},
    )
