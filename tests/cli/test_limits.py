"""--limit-upload and --limit-download: what they say holds for the store of the command, and before the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vaultpy.store.limit import Pace

Paces = list[tuple[int, int]]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Paces:
    """Rate and size of whatever asked for its turn."""
    found: Paces = []

    def take(pace: Pace, size: int) -> None:
        found.append((pace._rate, size))

    monkeypatch.setattr(Pace, "take", take)
    return found


@pytest.fixture
def place(home: Path, vaultpy: Any) -> tuple[str, Path]:
    """The URL of a store that a configuration is for, with a limit each way, and the identity."""
    (home / "documents").mkdir()
    (home / "documents" / "a").write_bytes(bytes(range(256)) * 1000)
    url, identity = (home / "store").as_uri(), home / "identity.txt"
    assert vaultpy("init", "--store", url, "--new-identity", identity).code == 0
    config = home / ".config" / "vaultpy" / "config.toml"
    config.write_text('upload_limit = "1MiB"\ndownload_limit = "2MiB/s"\n' + config.read_text())
    return url, identity


def create(vaultpy: Any, home: Path, *options: str) -> None:
    ran = vaultpy("snapshot", "create", "--path", home / "documents", "--name", "documents", *options)
    assert (ran.code, ran.err) == (0, ""), ran


def rates(taken: Paces) -> set[int]:
    return {rate for rate, _ in taken}


def test_a_run_holds_to_the_configuration(home: Path, vaultpy: Any, place: Any, taken: Paces) -> None:
    create(vaultpy, home)
    assert rates(taken) == {1 << 20, 2 << 20}
    stored = sum(path.stat().st_size for path in (home / "store").rglob("*") if path.is_file())
    put_by_init = sum(
        path.stat().st_size for path in [home / "store" / "vaultpy.json", *(home / "store" / "keys").rglob("*.age")]
    )
    assert sum(size for rate, size in taken if rate == 1 << 20) == stored - put_by_init


def test_an_option_goes_before_the_configuration(home: Path, vaultpy: Any, place: Any, taken: Paces) -> None:
    create(vaultpy, home, "--limit-upload", "3MiB", "--limit-download", "none")
    assert rates(taken) == {3 << 20}


@pytest.mark.parametrize(
    "words",
    [
        ("snapshot", "restore", "latest", "back"),
        ("snapshot", "verify", "--deep"),
        ("snapshot", "restore", "latest", "--to-tar", "back.tar"),
        ("snapshot", "cat", "latest", "{home}/documents/a"),
    ],
    ids=" ".join,
)
def test_what_reads_is_limited_by_configuration_option_and_url(
    words: tuple[str, ...], home: Path, vaultpy: Any, place: Any, taken: Paces, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, identity = place
    monkeypatch.chdir(home)
    create(vaultpy, home)
    for number, (options, rate) in enumerate(
        [
            ((), 2 << 20),
            (("--limit-download", "4MiB"), 4 << 20),
            (("--limit-download", "5MiB", "--store", url), 5 << 20),
        ]
    ):
        taken.clear()
        command = [word.format(home=home).replace("back", f"back{number}") for word in words]
        ran = vaultpy(*command, "--identity", identity, *options)
        assert ran.code == 0, ran
        assert rates(taken) == {rate}


def test_a_rebuilt_index_holds_to_it(home: Path, vaultpy: Any, place: Any, taken: Paces) -> None:
    create(vaultpy, home)
    taken.clear()
    assert vaultpy("index", "rebuild", "--limit-download", "4MiB").code == 0
    assert rates(taken) == {4 << 20}


def test_config_show_names_the_limits(vaultpy: Any, place: Any) -> None:
    shown = json.loads(vaultpy("config", "show", "--json").out)
    assert (shown["upload_limit"], shown["download_limit"]) == (1 << 20, 2 << 20)


@pytest.mark.parametrize("text", ["0", "500", "16383", "-1", "fast"])
def test_a_limit_that_is_none_is_refused(text: str, home: Path, vaultpy: Any) -> None:
    ran = vaultpy("snapshot", "create", f"--limit-upload={text}")
    assert ran.code == 2
    assert "--limit-upload" in ran.err
