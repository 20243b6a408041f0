"""docs/cli.md, made from the commands themselves: `python -m vaultpy.cli.docs > docs/cli.md`.

Built from names, metavars and help texts, not from click's rendered help, which differs between its releases.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence

import click

from vaultpy.cli.app import APP
from vaultpy.cli.frame import GLOBAL_OPTIONS, Command

_HEAD = """\
# The command line

Made from the program by `make docs`; `vaultpy COMMAND --help` says the same.

A SNAPSHOT is the beginning of a snapshot's id, `latest` (the newest of the only source, or of `--source`), or
`SOURCE@TIME` (the newest of that source up to then). Durations are written `90s`, `30min`, `36h`, `30d`, `8w`, `6mo`, `1y`
or several end to end (`1y6mo`); months and years follow the calendar.

## Exit codes

| code | |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | the command line or the configuration makes no sense |
| 3 | the snapshot was made, but something could not be read |
| 4 | damage was found, or a restore is incomplete |
| 10 | there is no store at that place |
| 11 | another run holds the lock, or has been writing the index for half a minute |
| 12 | no identity was given that opens what has to be opened |
| 129, 130, 143 | hung up (the terminal was closed), interrupted (Ctrl-C), terminated (SIGTERM) |

A failure is one line on standard error that names the thing, and one that says what to do. Standard output has only
what was asked for. Names are shown with control characters and bytes that are not UTF-8 as `\\xNN`.

## Environment

| variable | |
|---|---|
| `VAULTPY_CONFIG` | the configuration file, where `--config` is not given |
| `VAULTPY_IDENTITY` | the identity file or files (separated by `:`), where `--identity` is not given |
| `VAULTPY_DEBUG` | `1`: show the traceback of an internal error instead of writing it to a file |
| `NO_COLOR` | anything: no colours |

## JSON

With `--json`, one JSON document in ASCII goes to standard output, as each command says below. Sizes are bytes; times are
RFC 3339 in UTC with nanoseconds; a name that is not UTF-8 is `{"base64": "…"}` instead of a string.

## Global options

They may stand before or after the command. `--store` is for the commands that read a store. `vaultpy --version` says which
release this is.
"""


def render() -> str:
    """The whole of docs/cli.md."""
    sections = [_HEAD + "\n" + _table([param for param in APP.params if param.name in GLOBAL_OPTIONS])]
    sections += [_section(path, command) for path, command in commands(APP, ("vaultpy",))]
    return "\n".join(sections)


def commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Every command below `group`, in the order of the help, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        member = group.get_command(context, name)
        if isinstance(member, click.Group):
            yield from commands(member, (*path, name))
        elif isinstance(member, Command):
            yield (*path, name), member


def _section(path: tuple[str, ...], command: Command) -> str:
    usage = " ".join([*path, *(word for word in _usage(command) if word)])
    own = [param for param in command.params if param.name not in GLOBAL_OPTIONS]
    parts = [
        f"## {' '.join(path)}\n",
        f"```\n{usage}\n```\n",
        inspect.cleandoc(command.help or "") + "\n",
        "Takes `--store URL`.\n" if command.reads_store else "",
        _table(own),
        f"JSON: {command.document}\n" if command.document else "",
        f"```sh\n{command.example}\n```\n",
    ]
    return "\n".join(part for part in parts if part)


def _usage(command: Command) -> Iterator[str]:
    yield "[OPTIONS]"
    for param in command.params:
        if isinstance(param, click.Argument):
            name = param.metavar or (param.name or "").upper()
            yield name if param.required or param.metavar else f"[{name}]"


def _table(params: Sequence[click.Parameter]) -> str:
    rows = [
        f"| `{', '.join(param.opts)}{f' {param.metavar}' if param.metavar else ''}` | {_escaped(param.help or '')} |\n"
        for param in params
        if isinstance(param, click.Option)
    ]
    return "".join(["| option | |\n|---|---|\n", *rows]) if rows else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render())
