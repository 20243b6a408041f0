"""The tree of commands, and click's own endings translated into ours."""

from __future__ import annotations

from collections.abc import Sequence

import click

from vaultpy import __version__
from vaultpy.cli.frame import Group
from vaultpy.cli.text import printable
from vaultpy.errors import UsageError

SNAPSHOT = Group(
    "snapshot",
    "Make, look at, restore, verify and remove snapshots.",
    {
        "create": "vaultpy.cli.create:create",
        "list": "vaultpy.cli.list:list_snapshots",
        "ls": "vaultpy.cli.browse:list_files",
        "show": "vaultpy.cli.browse:show",
        "cat": "vaultpy.cli.stream:cat",
        "restore": "vaultpy.cli.restore:restore",
        "verify": "vaultpy.cli.verify:verify",
        "purge": "vaultpy.cli.purge:purge",
        "remove": "vaultpy.cli.purge:remove",
    },
)
STORE = Group(
    "store",
    "Look at the store, try it, and delete what nothing names.",
    {
        "info": "vaultpy.cli.store:info",
        "probe": "vaultpy.cli.probe:probe",
        "prune": "vaultpy.cli.store:prune",
    },
)
INDEX = Group("index", "The local index.", {"rebuild": "vaultpy.cli.index:rebuild"})
KEY = Group(
    "key",
    "Store keys and who can open them.",
    {
        "list": "vaultpy.cli.key:list_keys",
        "add-recipient": "vaultpy.cli.key:add_recipient",
        "new": "vaultpy.cli.key:new",
        "test": "vaultpy.cli.key:test",
    },
)
CONFIG = Group("config", "The configuration.", {"show": "vaultpy.cli.config:show", "check": "vaultpy.cli.config:check"})
APP = Group(
    "vaultpy",
    "Encrypted, deduplicating snapshots to storage that need not be trusted.",
    {
        "init": "vaultpy.cli.init:init",
        "snapshot": SNAPSHOT,
        "store": STORE,
        "index": INDEX,
        "key": KEY,
        "config": CONFIG,
    },
)
click.version_option(__version__, message="%(prog)s %(version)s")(APP)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; click's failures come out as UsageError."""
    try:
        code = APP.main(list(arguments), prog_name="vaultpy", standalone_mode=False)
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        raise _usage_error(error) from error
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return int(code or 0)


def _usage_error(error: click.ClickException) -> UsageError:
    message = printable(" ".join(error.format_message().split("\n"))).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "vaultpy"
    return UsageError(f"{message[:1].lower()}{message[1:]}", hint=f"try `{path} --help`")
