"""Names that are empty, or not UTF-8: refused or shown, never as Python writes them, and never taken for something else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

ODD = os.fsdecode(b"/no\xffsuch")


@pytest.fixture
def site(vaultpy: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with one snapshot of one file; what is below is where its commands are run."""
    ran = vaultpy("init", "--store", (home / "store").as_uri(), "--new-identity", home / "identity.txt")
    assert ran.code == 0, ran.err
    (home / "tree").mkdir()
    (home / "tree" / "file").write_text("x")
    ran = vaultpy("snapshot", "create", "--path", home / "tree", "--name", "tree")
    assert ran.code == 0, ran.err
    monkeypatch.setenv("VAULTPY_IDENTITY", f":{home / 'identity.txt'}:")
    monkeypatch.chdir(home / "tree")
    return home


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("snapshot", "create", "--path", "", "--name", "x"), "'--path': path '': not an absolute path"),
        (("snapshot", "restore", "latest", ""), "'[TARGET]': the name is empty"),
        (("snapshot", "restore", "latest", "back", ""), "'[PATH]...': the name is empty"),
        (("snapshot", "restore", "latest", "--to-tar", ""), "'--to-tar': the name is empty"),
        (("snapshot", "cat", "latest", ""), "'PATH': the name is empty"),
        (("snapshot", "list", "--identity", ""), "'--identity': the name is empty"),
        (("snapshot", "list", "--config", ""), "'--config': the name is empty"),
        (("init", "--store", "file:///s", "--new-identity", ""), "'--new-identity': the name is empty"),
    ],
)
def test_an_empty_name_is_refused(vaultpy: Any, site: Path, arguments: tuple[str, ...], says: str) -> None:
    ran = vaultpy(*arguments)
    assert ran.code == 2
    assert ran.err.startswith("vaultpy: invalid value for " + says)
    assert os.listdir(site / "tree") == ["file"]


def test_empty_parts_of_the_environments_list_of_identities_name_nothing(vaultpy: Any, site: Path) -> None:
    ran = vaultpy("snapshot", "cat", "latest", site / "tree" / "file")
    assert (ran.code, ran.out, ran.err) == (0, "x", "")


def test_a_path_in_a_snapshot_need_not_be_readable_here(
    vaultpy: Any, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the path has become on this machine says nothing about the snapshot, nor about who may write to a target."""
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    file = site / "tree" / "file"
    for words in (("ls", "latest", file), ("cat", "latest", file), ("restore", "latest", site / "tree", file)):
        ran = vaultpy("snapshot", *words)
        assert (ran.code, ran.err) == (0, ""), words


@pytest.mark.parametrize("name", ["@", "@2024-05-01"])
def test_a_time_without_a_source_is_no_snapshots_name(vaultpy: Any, site: Path, name: str) -> None:
    ran = vaultpy("snapshot", "show", name)
    assert (ran.code, ran.err.splitlines()[0]) == (2, f"vaultpy: snapshot '{name}': not a name of one")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("snapshot", "restore", "latest", "back", ODD), "path '/no\\xffsuch': the snapshot has nothing of that name"),
        (("snapshot", "restore", "latest", "back", ODD[1:]), "path 'no\\xffsuch': not absolute"),
        (("snapshot", "show", ODD), "snapshot '/no\\xffsuch': not a name of one"),
    ],
)
def test_a_name_that_is_not_utf8_is_shown_byte_by_byte(
    vaultpy: Any, site: Path, arguments: tuple[str, ...], says: str
) -> None:
    ran = vaultpy(*arguments)
    assert (ran.code, ran.err.splitlines()[0]) == (2, f"vaultpy: {says}")


def test_a_source_that_is_not_utf8_and_not_there_is_told_alike_to_people_and_programs(vaultpy: Any, site: Path) -> None:
    ran = vaultpy("snapshot", "create", "--path", ODD, "--name", "odd", "--json")
    said = "source odd: none of its paths can be read ('/no\\xffsuch': no such file or directory)"
    assert (ran.code, ran.err) == (1, f"vaultpy: warning: {said} (no snapshot was made)\n")
    assert json.loads(ran.out)[0]["error"] == said
