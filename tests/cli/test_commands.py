"""The frame of the commands: help, examples, global options anywhere, quick start, documentation."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from vaultpy.cli.app import APP
from vaultpy.cli.docs import commands, render

COMMANDS = dict(commands(APP, ("vaultpy",)))
DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
CONFIG = """
store = "file:///srv/vault"
store_id = "0192e4a1-7c5b-7d10-9c3e-5f1a2b3c4d5e"
state = "{state}"
keeper = true
"""
EXPECTED = {
    "init",
    *(f"snapshot {name}" for name in ("create", "list", "ls", "show", "cat", "restore", "verify", "purge", "remove")),
    *(f"key {name}" for name in ("list", "add-recipient", "new", "test")),
    *("store info", "store probe", "store prune", "index rebuild", "config show", "config check"),
}


@pytest.fixture
def config(home: Path) -> Path:
    state = home / "state"
    state.mkdir(mode=0o700)
    path = home / "config.toml"
    path.write_text(CONFIG.format(state=state))
    return path


def by_name(path: tuple[str, ...]) -> str:
    return " ".join(path)


def test_the_tree_has_every_command() -> None:
    assert {" ".join(path[1:]) for path in COMMANDS} == EXPECTED


@pytest.mark.parametrize("path", COMMANDS, ids=by_name)
def test_every_help_has_an_example_and_every_option_is_explained(path: tuple[str, ...], vaultpy: Any) -> None:
    ran = vaultpy(*path[1:], "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"Usage: {' '.join(path)} " in ran.out
    assert f"\nExample:\n  {' '.join(path)}" in ran.out
    assert "\nGlobal options:\n" in ran.out
    for param in COMMANDS[path].params:
        if isinstance(param, click.Option):
            assert param.help, param.name


@pytest.mark.parametrize("path", COMMANDS, ids=by_name)
def test_every_example_is_a_command_line_that_parses(path: tuple[str, ...]) -> None:
    for line in COMMANDS[path].example.splitlines():
        words = shlex.split(line)
        assert tuple(words[: len(path)]) == path
        COMMANDS[path].make_context(path[-1], words[len(path) :], resilient_parsing=False)


def test_the_document_is_what_the_commands_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render(), "run `make docs`"


@pytest.mark.parametrize("path", COMMANDS, ids=by_name)
def test_every_command_and_option_is_documented(path: tuple[str, ...]) -> None:
    section = re.search(rf"^## {' '.join(path)}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    assert section
    for param in COMMANDS[path].params:
        if isinstance(param, click.Option) and param.expose_value:
            assert f"`{param.opts[0]}" in section[1]


def heavy_modules(*arguments: str) -> list[str]:
    code = f"""
import sys
from vaultpy.cli.main import main
main({list(arguments)!r})
heavy = {{"sqlalchemy", "alembic", "boto3", "botocore", "rich", "zstandard", "cryptography", "pyrage", "pathspec", "blake3"}}
sys.stderr.write(" ".join(sorted(heavy & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.split()


@pytest.mark.parametrize(
    "arguments", [("--help",), ("snapshot", "--help"), *((*path[1:], "--help") for path in COMMANDS)]
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert heavy_modules(*arguments) == []


def test_options_of_every_command_may_stand_before_and_after_it(vaultpy: Any, config: Path) -> None:
    lines = [
        ("--config", config, "--json", "config", "show"),
        ("config", "--config", config, "--json", "show"),
        ("config", "show", "--config", config, "--json"),
        ("--json", "config", "show", "--config", config),
    ]
    for line in lines:
        ran = vaultpy(*line)
        assert ran.code == 0, ran.err
        assert json.loads(ran.out)["store"] == "file:///srv/vault"


def test_the_option_nearest_to_the_command_wins(vaultpy: Any, config: Path) -> None:
    assert vaultpy("--config", "/no/such", "config", "show", "--config", config).code == 0


def test_the_environment_names_a_configuration(vaultpy: Any, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULTPY_CONFIG", str(config))
    assert vaultpy("config", "show").code == 0


@pytest.mark.parametrize(
    "arguments", [("--store", "file:///x", "config", "show"), ("config", "--store", "file:///x", "show")]
)
def test_a_store_is_refused_where_none_is_read(vaultpy: Any, arguments: tuple[str, ...]) -> None:
    ran = vaultpy(*arguments)
    assert ran.code == 2
    assert ran.err.startswith("vaultpy: vaultpy config show: --store does not belong here")


def test_quiet_and_verbose_exclude_each_other(vaultpy: Any) -> None:
    ran = vaultpy("--quiet", "config", "show", "--verbose")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "vaultpy: --quiet and --verbose: both were given")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("init", "init: --store is missing"),
        ("init --store file:///x", "init: nobody could restore"),
        ("init --store file:///x --keeper --recipient age1x", "init: --keeper goes without"),
        ("snapshot create --path /x", "--path and --name go together"),
        ("snapshot create --name x", "--path and --name go together"),
        ("snapshot create a --path /x --name x", "SOURCE and --path were both given"),
        ("snapshot create --path /x --name a@b", "source name 'a@b': not a name"),
        ("snapshot create --tag a,b", "tag 'a,b': not a tag"),
        ("snapshot verify --all abc", "SNAPSHOT and --all were both given"),
        ("snapshot purge", "no rule was given"),
        ("snapshot purge --dry-run --force", "no rule was given"),
        ("snapshot purge --keep-last 0", "invalid value for '--keep-last'"),
        ("snapshot remove", "no SNAPSHOT was named"),
        ("store prune --trust x", "'x' is not a UUID"),
        ("key new", "key new: nobody could restore"),
    ],
)
def test_options_that_make_no_sense_are_exit_2(vaultpy: Any, line: str, says: str) -> None:
    ran = vaultpy(*line.split())
    assert ran.code == 2
    assert says in ran.err


def test_config_show_prints_a_file_that_says_the_same(vaultpy: Any, config: Path) -> None:
    shown = vaultpy("config", "show", "--config", config).out
    assert shown.startswith(f"# {config}\n")
    again = config.parent / "again.toml"
    again.write_text(shown)
    first, second = (json.loads(vaultpy("config", "show", "--json", "--config", f).out) for f in (config, again))
    assert {**first, "config": ""} == {**second, "config": ""}


def test_the_program_says_its_version(vaultpy: Any) -> None:
    assert re.fullmatch(r"vaultpy \d+\.\d+\.\d+\n", vaultpy("--version").out)
