"""docs/architecture.md knows every room of the house, and none that is not there."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def text(docs: Path) -> str:
    return (docs / "architecture.md").read_text()


def modules(folder: Path) -> set[str]:
    """What can be imported from a package: its modules and its packages."""
    found = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    return found - {"__init__"}


def named(text: str) -> set[str]:
    return set(re.findall(r"`([a-z0-9_]+)/?`", text))


def layers(text: str) -> list[set[str]]:
    rows = re.findall(
        r"^\| (`.*?) \|", text.partition("## The house")[2].partition("`ops/` has a room")[0], re.MULTILINE
    )
    return [named(row) for row in rows]


def test_every_room_has_its_layer(text: str) -> None:
    assert set().union(*layers(text)) == modules(ROOT / "vaultpy")


def test_the_layers_are_those_of_the_contract(text: str) -> None:
    """A row may be a part of a layer, but no row stands above what it may import."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    ranks = {
        room: rank
        for rank, layer in enumerate(next(one["layers"] for one in contracts if one["type"] == "layers"))
        for room in re.findall(r"\w+", layer)
    }
    said = [{ranks[room] for room in rooms} for rooms in layers(text)]
    for above, below in pairwise(said):
        assert max(above) <= min(below)


def test_every_operation_is_named(text: str) -> None:
    said = text.partition("`ops/` has a room")[2].partition("## The way of the data")[0]
    ops = ROOT / "vaultpy" / "ops"
    rooms = [path.parent for path in ops.glob("*/__init__.py")]
    assert rooms
    assert set().union(modules(ops), *map(modules, rooms)) <= named(said)
