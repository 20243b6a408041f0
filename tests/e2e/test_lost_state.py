"""A host whose state is lost goes on; a copied configuration makes another host."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hosts import Host, describe, make_host, weight


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    for number in range(200):
        path = tree / f"folder{number % 7}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(3000))
    return tree


def test_without_its_state_folder_a_host_rebuilds_its_index_by_itself_and_uploads_nothing_again(
    tmp_path: Path, host: Host, tree: Path
) -> None:
    host.create(tree)
    (tree / "later").write_bytes(os.urandom(100_000))
    host.create(tree)
    shutil.rmtree(host.state)
    host.identity.rename(tmp_path / "put away")
    rebuilt = host.must("--json", "index", "rebuild").json
    assert (rebuilt["snapshots"], rebuilt["unreadable"]) == (2, [])
    store = tmp_path / "store"
    before = weight(store)
    host.create(tree)
    assert weight(store) - before < 20_000
    (tmp_path / "put away").rename(host.identity)
    host.restore(tmp_path / "back")
    assert describe(tmp_path / "back" / tree.relative_to("/")) == describe(tree)


def test_init_says_where_the_copy_of_the_keys_is_and_it_is_there(host: Host, tree: Path) -> None:
    """Lost before the first snapshot, the state folder comes back as the same host's."""
    assert host.config.with_name("config.toml.host").is_file()
    before = (host.state / "host.json").read_text()
    shutil.rmtree(host.state)
    host.create(tree)
    assert json.loads((host.state / "host.json").read_text())["host"] == json.loads(before)["host"]


def test_a_machine_that_has_become_a_new_host_is_told_once_even_under_cron(
    tmp_path: Path, host: Host, tree: Path
) -> None:
    """Its state folder and the copy of its keys are gone: what it made before is not its own any more."""
    source = f'\n[sources.home]\npaths = ["{tree}"]\n'
    host.config.write_text(host.config.read_text() + source)
    assert host.must("snapshot", "create", "--cron").err == ""
    shutil.rmtree(host.state)
    host.config.with_name("config.toml.host").unlink()
    said = host.must("snapshot", "create", "--cron").err
    assert said.startswith("vaultpy: warning: state folder ")
    assert "this is a new one" in said
    assert said.count("\n") == 1
    assert host.must("snapshot", "create", "--cron").err == ""
    elsewhere = make_host(tmp_path / "elsewhere", host.store)
    looked = elsewhere.must("snapshot", "ls", "latest", "--store", host.store, "--identity", host.identity)
    assert looked.err.startswith("vaultpy: warning: 2 newer snapshots of unknown signers passed over")


def test_a_configuration_copied_to_another_machine_makes_another_host(tmp_path: Path, host: Host, tree: Path) -> None:
    """The copy of the secrets beside it is left alone, as it names the machine that it was made on."""
    host.create(tree)
    other = make_host(tmp_path / "other", host.store)
    shutil.copytree(host.config.parent, other.config.parent)
    copy = other.config.with_name(other.config.name + ".host")
    copy.write_text(copy.read_text().replace('"machine": "', '"machine": "0'))
    text = other.config.read_text().replace(str(host.home), str(other.home))
    other.config.write_text(text)
    other.create(tree)
    host.create(tree)
    listed = host.must("--json", "snapshot", "list").json
    documents = listed if isinstance(listed, list) else listed["snapshots"]
    assert len(documents) == 3
