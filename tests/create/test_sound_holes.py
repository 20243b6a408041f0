"""Rows with holes are believed only if they can be true."""

from __future__ import annotations

import pytest
from machine import Machine

from vaultpy.errors import DamageError
from vaultpy.index.sound import check_sound
from vaultpy.model import encode_holes

SIZE = 1 << 20


@pytest.fixture
def sparse(machine: Machine) -> Machine:
    with (machine.tree / "sparse").open("wb") as file:
        file.truncate(SIZE)
        file.seek(4096)
        file.write(b"d" * 4096)
    (machine.tree / "hole").touch()
    with (machine.tree / "hole").open("wb") as file:
        file.truncate(SIZE)
    machine.snapshot()
    return machine


def check(machine: Machine, change: str, *values: object) -> None:
    with machine.index() as index:
        source = index.value("SELECT id FROM sources")
        assert index.run(change, values) == 1
        check_sound(index, source)


def test_what_was_recorded_is_sound(sparse: Machine) -> None:
    check(sparse, "UPDATE files SET holes = holes WHERE name = ?", b"sparse")


@pytest.mark.parametrize(
    "holes",
    [
        b"",
        b"\0" * 15,
        encode_holes([(0, 4096)]),
        encode_holes([(0, 4096), (8192, SIZE - 8191)]),
        encode_holes([(0, 4096), (4096, SIZE - 8192)]),
        encode_holes([(8192, SIZE - 8192), (0, 4096)]),
        encode_holes([(0, 1 << 63)]),
    ],
)
def test_holes_that_do_not_fit_are_refused(sparse: Machine, holes: bytes) -> None:
    with pytest.raises(DamageError):
        check(sparse, "UPDATE files SET holes = ? WHERE name = ?", holes, b"sparse")


def test_a_file_without_content_that_lost_its_holes_is_refused(sparse: Machine) -> None:
    with pytest.raises(DamageError, match="add up"):
        check(sparse, "UPDATE files SET holes = NULL WHERE name = ?", b"hole")


def test_only_files_have_holes(sparse: Machine) -> None:
    with pytest.raises(DamageError, match="something but a file"):
        check(sparse, "UPDATE files SET holes = ? WHERE name = ?", encode_holes([]), b"nothing in it")
