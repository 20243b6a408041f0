"""Scratch folders are emptied by every run: so they are looked at first, and one that leads elsewhere is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from machine import Machine

from vaultpy.errors import ConfigError
from vaultpy.ops.making.prepare import database_scratch


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of somebody's in a folder of its own."""
    path = tmp_path / "elsewhere" / "precious"
    path.parent.mkdir()
    path.write_bytes(b"precious")
    return path


@pytest.fixture
def shared(machine: Machine, tmp_path: Path) -> Path:
    """A chosen scratch folder, as everybody's /var/tmp."""
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o1777)
    machine.configure(scratch=path)
    return path


def test_what_a_dead_run_left_is_removed(machine: Machine, shared: Path) -> None:
    left = [machine.vault.paths.scratch / "left.export", database_scratch(machine.vault) / "database-left"]
    for path in left:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch()
    machine.snapshot()
    assert not any(path.exists() for path in left)


def test_a_scratch_folder_that_is_a_link_is_not_followed(machine: Machine, precious: Path) -> None:
    """An administrator may have wanted it on a larger disk; what else lies there is not ours."""
    machine.vault.paths.scratch.symlink_to(precious.parent)
    with pytest.raises(ConfigError, match="is a link"):
        machine.snapshot()
    assert precious.read_bytes() == b"precious"


def test_a_link_that_somebody_put_into_a_shared_folder_is_not_followed(
    machine: Machine, shared: Path, precious: Path
) -> None:
    database_scratch(machine.vault).symlink_to(precious.parent)
    with pytest.raises(ConfigError, match="is a link"):
        machine.snapshot()
    assert precious.read_bytes() == b"precious"


def test_a_folder_in_which_anybody_could_exchange_ours_is_refused(machine: Machine, shared: Path) -> None:
    shared.chmod(0o777)
    with pytest.raises(ConfigError, match="anybody could exchange"):
        machine.snapshot()
    shared.chmod(0o1777)
    machine.snapshot()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("whose", ["the folder", "the one above"])
def test_a_folder_of_another_users_is_refused(machine: Machine, shared: Path, whose: str) -> None:
    own = database_scratch(machine.vault)
    own.mkdir(mode=0o700)
    os.chown(own if whose == "the folder" else shared, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        machine.snapshot()
