"""`config check`: a good configuration, and everything that can be wrong with what one names."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from vaultpy.chunker import implementation
from vaultpy.signature import SigningKey


@pytest.fixture
def config(vaultpy: Any, home: Path) -> Path:
    """A host's configuration, fresh from init, with one source."""
    path = home / "config.toml"
    store = (home / "store").as_uri()
    ran = vaultpy("init", "--config", path, "--store", store, "--new-identity", home / "identity.txt")
    assert ran.code == 0, ran.err
    (home / "documents").mkdir()
    change(path, "", f'\n[sources.home]\npaths = ["{home / "documents"}"]\n')
    return path


def change(path: Path, old: str, new: str) -> None:
    """Replace a setting, or add one at the end."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new) if old else text + new)


def setting(path: Path, name: str) -> Any:
    return tomllib.loads(path.read_text())[name]


def check(vaultpy: Any, config: Path, code: int) -> Any:
    """The document of a check; what it says on standard error is what is in it."""
    ran = vaultpy("config", "check", "--json", "--config", config)
    document = json.loads(ran.out)
    assert ran.code == code, document
    assert ran.err.splitlines() == [f"vaultpy: warning: {one}" for one in document["problems"] + document["warnings"]]
    return document


def test_a_good_one_is_good_and_says_which_chunker_runs(vaultpy: Any, config: Path) -> None:
    document = check(vaultpy, config, 0)
    assert document["problems"] == []
    assert document["chunker"] == implementation()
    ran = vaultpy("config", "check", "--config", config)
    assert ran.out == f"{config}: good\nchunker: {implementation()}\n"


def test_a_slow_chunker_is_a_warning(vaultpy: Any, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultpy.ops.check.implementation", lambda: "pure python")
    document = check(vaultpy, config, 0)
    assert document["chunker"] == "pure python"
    assert ["compiled fastcdc" in one for one in document["warnings"]] == [True]


def test_paths_of_sources_that_are_missing_are_named(vaultpy: Any, config: Path, home: Path) -> None:
    change(config, f'"{home / "documents"}"', '"/no/such"')
    assert check(vaultpy, config, 1)["problems"] == ["source home: /no/such: no such file or directory"]


def test_a_source_that_is_a_link_stores_only_the_link_and_that_is_said(vaultpy: Any, config: Path, home: Path) -> None:
    (home / "documents").rmdir()
    (home / "documents").symlink_to("/usr")
    (warning,) = (one for one in check(vaultpy, config, 0)["warnings"] if "chunker" not in one)
    assert "only the link is stored" in warning


def test_programs_that_are_not_there_are_named(vaultpy: Any, config: Path, home: Path) -> None:
    change(config, "", 'commands = [{name = "x", run = ["true"]}, {name = "y", run = ["/nonexistent/dump"]}]\n')
    change(config, "", f'after = {{run = ["{home / "documents"}"]}}\nbefore = {{run = ["/bin/sh", "-c", "no"]}}\n')
    assert check(vaultpy, config, 1)["problems"] == [
        "source home: command y: /nonexistent/dump is no program",
        f"source home: hook after: {home / 'documents'} is no program",
    ]


def test_patterns_that_say_nothing_are_a_problem_before_a_run_meets_them(vaultpy: Any, config: Path) -> None:
    change(config, "", 'exclude = ["ok", "["]\ndatabases = ["[z-a]"]\n')
    ran = vaultpy("snapshot", "create", "--config", config)
    first, second = check(vaultpy, config, 1)["problems"]
    assert first.startswith("source home: pattern '[': a bracket is not closed")
    assert second.startswith("source home: pattern '[z-a]': ")
    assert (ran.code, ran.err) == (2, f"vaultpy: warning: {second}\n")


def test_no_sources_are_a_problem_on_a_host(vaultpy: Any, config: Path, home: Path) -> None:
    change(config, f'\n[sources.home]\npaths = ["{home / "documents"}"]\n', "")
    assert ["no sources" in one for one in check(vaultpy, config, 1)["problems"]] == [True]


def test_a_state_folder_that_is_open_to_others_or_gone_is_named(vaultpy: Any, config: Path) -> None:
    state = Path(setting(config, "state"))
    state.chmod(0o755)
    assert ["others can look into it" in one for one in check(vaultpy, config, 1)["problems"]] == [True]
    shutil.rmtree(state)
    assert ["no such folder" in one for one in check(vaultpy, config, 1)["problems"]] == [True]


def test_a_host_without_its_secrets_is_told_that_it_begins_anew(vaultpy: Any, config: Path) -> None:
    (Path(setting(config, "state")) / "host.json").unlink()
    config.with_name(config.name + ".host").unlink()
    assert any("new host" in one for one in check(vaultpy, config, 0)["warnings"])


def test_damaged_secrets_are_a_problem(vaultpy: Any, config: Path) -> None:
    (Path(setting(config, "state")) / "host.json").write_text("{}")
    [problem] = check(vaultpy, config, 1)["problems"]
    assert problem.endswith("host.json are damaged (bring the file back, or move it away to become a new host)")


def test_a_state_folder_that_is_none_is_not_promised_to_be_made(vaultpy: Any, config: Path) -> None:
    state = Path(setting(config, "state"))
    shutil.rmtree(state)
    state.touch()
    said = check(vaultpy, config, 1)["problems"]
    assert said[0] == f"state {state}: not a folder"
    assert ["cannot be read: not a directory" in one for one in said] == [False, True]


def test_a_state_folder_that_cannot_be_looked_at_is_a_problem(vaultpy: Any, config: Path) -> None:
    name = "n" * 300
    change(config, setting(config, "state"), f"/{name}")
    assert check(vaultpy, config, 1)["problems"][0] == f"state /{name}: file name too long"


def test_a_store_that_is_gone_or_another_is_a_problem(vaultpy: Any, config: Path, home: Path) -> None:
    (home / "store" / "vaultpy.json").rename(home / "vaultpy.json")
    assert ["holds no vaultpy store" in one for one in check(vaultpy, config, 1)["problems"]] == [True]
    other = (home / "vaultpy.json").read_text().replace(setting(config, "store_id"), setting(config, "key")["id"])
    (home / "store" / "vaultpy.json").write_text(other)
    assert [f"not {setting(config, 'store_id')}" in one for one in check(vaultpy, config, 1)["problems"]] == [True]


def test_a_pin_by_which_nothing_is_signed_is_a_warning(vaultpy: Any, config: Path, home: Path) -> None:
    assert vaultpy("snapshot", "create", "--config", config).code == 0
    (line,) = [one for one in (home / "identity.txt").read_text().splitlines() if one.startswith("# signer: ")]
    signer, stranger = line.removeprefix("# signer: "), SigningKey.generate().public_text()
    config.write_text(f'signers = ["{signer} my laptop", "{stranger}"]\n{config.read_text()}')
    warnings = [one for one in check(vaultpy, config, 0)["warnings"] if one.startswith("signers: ")]
    assert warnings == [f"signers: {stranger}: nothing in the store is signed by it"]


@pytest.mark.parametrize("text", ["SHA256:short", "ssh-ed25519 AAAA", "nobody"])
def test_a_malformed_signer_is_refused_by_every_command_that_takes_one(vaultpy: Any, config: Path, text: str) -> None:
    for command in (("snapshot", "list"), ("snapshot", "verify"), ("snapshot", "purge", "--keep-last", "1")):
        ran = vaultpy(*command, "--config", config, "--signer", text)
        assert (ran.code, "is not a signer" in ran.err) == (2, True), command


def test_a_keeper_with_a_malformed_signer_is_not_made(vaultpy: Any, home: Path) -> None:
    store = (home / "store").as_uri()
    ran = vaultpy("init", "--keeper", "--store", store, "--signer", "nobody", "--config", home / "keeper.toml")
    assert (ran.code, "is not a signer" in ran.err) == (2, True)
    assert not (home / "keeper.toml").exists() and not (home / "store").exists()


def test_a_key_that_nobody_could_open_is_a_problem(vaultpy: Any, config: Path) -> None:
    key = setting(config, "key")
    change(config, key["id"], "01890a5d-ac96-774b-bcce-b302099a8057")
    [problem] = check(vaultpy, config, 1)["problems"]
    assert problem == "key 01890a5d-ac96-774b-bcce-b302099a8057: the store has no form of it, so nobody could restore"
    change(config, "01890a5d-ac96-774b-bcce-b302099a8057", key["id"])
    other = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"
    change(config, key["recipient"], other)
    [problem] = check(vaultpy, config, 1)["problems"]
    assert problem.startswith(
        f"store key {key['id']}: its recipient is {key['recipient']}, not {other}: nobody could open"
    )


@pytest.mark.parametrize("which", ["file", "folder"])
def test_a_configuration_that_anybody_can_change_is_a_problem(vaultpy: Any, config: Path, which: str) -> None:
    """It names programs that are run as the user that backs up, often root."""
    path = config if which == "file" else config.parent
    path.chmod(path.stat().st_mode | 0o002)
    [problem] = check(vaultpy, config, 1)["problems"]
    assert problem == f"{path}: everybody can write to it, and have any program run as you"


def test_a_configuration_in_a_sticky_folder_is_as_good_as_its_file(vaultpy: Any, config: Path) -> None:
    config.parent.chmod(0o1777)
    assert check(vaultpy, config, 0)["problems"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_configuration_of_another_users_is_a_problem(vaultpy: Any, config: Path) -> None:
    os.chown(config, 12345, -1)
    [problem] = check(vaultpy, config, 1)["problems"]
    assert problem == f"{config}: belongs to user 12345, who could have any program run as you"
