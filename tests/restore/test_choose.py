"""Choosing paths of a snapshot: what plain paths find by looking where they must be is what globs find among all names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from machine import Machine, make_machine

from vaultpy.errors import UsageError
from vaultpy.index.at import Moment
from vaultpy.ops.reading import choose as choosing
from vaultpy.ops.reading.choose import choose, choose_below, read_tree


def chosen(moment: Moment, *paths: bytes, leading: bool = True) -> set[bytes]:
    """The paths that are chosen, leading folders with them."""
    tree = read_tree(moment)
    (choose if leading else choose_below)(moment, tree, paths)
    sql = "SELECT f.directory_id, f.name FROM temp.chosen k JOIN files f ON f.id = k.id"
    found = [tree.path(*row) for row in moment.index.rows(sql)]
    assert len(found) == len(set(found))
    return set(found)


def as_glob(path: bytes) -> tuple[bytes, ...]:
    """The same by patterns, which are compared with every path there is: it, and what is below it."""
    start = b"/[%b]%b" % (path[1:2], path[2:])
    return start, start + b"/*"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Two snapshots: in between, a folder went, another came, a file changed, and a file became a folder."""
    machine = make_machine(tmp_path)
    for name in ("kept/deep/er", "gone/below"):
        (machine.tree / name).mkdir(parents=True)
    for name in ("top", "turned", "kept/one", "kept/deep/er/two", "gone/three", "gone/below/four", "kept/name*"):
        (machine.tree / name).write_text(name)
    machine.snapshot()
    shutil.rmtree(machine.tree / "gone")
    (machine.tree / "turned").unlink()
    (machine.tree / "turned").mkdir()
    (machine.tree / "turned/five").write_text("five")
    (machine.tree / "kept/one").write_text("one, and more")
    machine.snapshot()
    return machine


def moments(machine: Machine) -> list[int]:
    return [row[0] for row in machine.rows("SELECT seq FROM snapshots ORDER BY seq")]


@pytest.mark.parametrize("few", [0, 1000])
def test_a_plain_path_finds_what_a_glob_finds_in_every_snapshot(
    machine: Machine, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "FEW", few)
    with machine.index() as index:
        for seq in moments(machine):
            moment = Moment(index, 1, seq)
            every = chosen(moment)
            top = os.fsencode(machine.tree)
            assert {top + b"/top", top + b"/turned"} < every
            for path in every - {b"/"}:
                if b"*" in path:
                    continue
                for leading in (True, False):
                    found = chosen(moment, path, leading=leading)
                    assert path in found
                    assert found == chosen(
                        moment, *(one for one in as_glob(path) if _finds(moment, one)), leading=leading
                    )
            assert chosen(moment, b"/") == every
            assert chosen(moment, b"//", top + b"//top/") == every
            assert chosen(moment, top + b"/top", top + b"/kept/*e") == chosen(moment, top + b"/top") | {
                one for glob in (top + b"/kept/*e",) for one in chosen(moment, glob)
            }


def _finds(moment: Moment, glob: bytes) -> bool:
    try:
        return bool(chosen(moment, glob))
    except UsageError:
        return False


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize(
    "path", ["top/below", "nothing", "kept/deep/nothing", "kep", "turned/five/six", "no/such/thing"]
)
def test_a_path_that_is_not_there_is_named(
    machine: Machine, path: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "FEW", few)
    with machine.index() as index:
        moment = Moment(index, 1, moments(machine)[-1])
        good, bad = os.fsencode(machine.tree / "top"), os.fsencode(machine.tree / path)
        with pytest.raises(UsageError, match=f"{path}'.*nothing of that name"):
            chosen(moment, good, bad)


def test_what_another_snapshot_has_is_not_found(machine: Machine) -> None:
    first, second = moments(machine)
    with machine.index() as index:
        for seq, path in ((second, "gone/three"), (second, "gone"), (first, "turned/five")):
            with pytest.raises(UsageError, match="nothing of that name"):
                chosen(Moment(index, 1, seq), os.fsencode(machine.tree / path))
        changed = os.fsencode(machine.tree / "kept/one")
        for seq, size in ((first, len("kept/one")), (second, len("one, and more"))):
            chosen(Moment(index, 1, seq), changed, leading=False)
            sizes = index.rows("SELECT f.size FROM temp.chosen k JOIN files f ON f.id = k.id")
            assert sizes == [(size,)]
