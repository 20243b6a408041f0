"""A dry run says what a run would find, and of every path whether it is in or out, and why.  It changes nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Machine

from vaultpy.ops.making import preview as preview_module
from vaultpy.ops.making.preview import Decided, preview
from vaultpy.store.memory import MemoryStore


@pytest.fixture
def decided(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """A dry run; returns what was said of the paths in the tree."""
    monkeypatch.setattr(preview_module, "open_store", lambda url: MemoryStore(machine.clock))

    def run(**settings: object) -> dict[str, str]:
        told: list[Decided] = []
        preview(machine.vault.config, replace(machine.source, **settings), told.append)
        below = os.fsencode(machine.tree) + b"/"
        found = {
            os.fsdecode(one.path.removeprefix(below)): f"{'in' if one.wanted else 'out'}: {one.reason}"
            for one in told
            if one.path.startswith(below)
        }
        assert len(found) == len([one for one in told if one.path.startswith(below)]), "nothing is told twice"
        return found

    return run


def test_every_path_is_new_at_first_and_unchanged_after_a_snapshot(
    machine: Machine, decided: Callable[..., dict[str, str]]
) -> None:
    names = {str(one.relative_to(machine.tree)) for one in machine.tree.rglob("*")}
    assert decided() == dict.fromkeys(names, "in: new")
    machine.snapshot()
    assert decided() == dict.fromkeys(names, "in: unchanged")
    (machine.tree / "folder0" / "file0").write_bytes(b"other")
    assert {name: why for name, why in decided().items() if why != "in: unchanged"} == {"folder0/file0": "in: changed"}


def test_every_reason_is_told(
    machine: Machine, decided: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = machine.tree
    monkeypatch.chdir(tree)  # a socket's whole path would be too long
    for name in ("a.o", "keep.o", "big", "scratch/x", "scratch/.no", "sub/b.tmp"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"x" * (2000 if name == "big" else 1))
    (tree / "sub" / ".vaultignore").write_text("*.tmp\n")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    found = decided(
        exclude=("*.o", "!keep.o", "folder*/"),
        exclude_files=(".vaultignore",),
        exclude_if_present=(".no",),
        exclude_larger_than=1024,
    )
    assert found == {
        "a.o": "out: *.o",
        "keep.o": "in: new, taken back by !keep.o",
        "folder0": "out: folder*/",
        "folder1": "out: folder*/",
        "big": "out: larger than 1.0 KiB",
        "scratch": "in: new",
        "scratch/.no": "in: new",
        "scratch/x": "out: .no is there",
        "sub": "in: new",
        "sub/.vaultignore": "in: new",
        "sub/b.tmp": f"out: *.tmp in {tree}/sub/.vaultignore",
        "socket": "out: a socket, or something like it",
        "empty": "in: new",
        "link": "in: new",
        "nothing in it": "in: new",
    }


def test_a_dry_run_counts_and_changes_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_module, "open_store", lambda url: MemoryStore(machine.clock))
    machine.snapshot()
    before = machine.vault.paths.index.read_bytes()
    (machine.tree / "new").write_bytes(b"12345")
    (machine.tree / "empty").unlink()
    found = preview(machine.vault.config, machine.source)
    assert (found.new, found.gone, found.bytes_to_read, found.exit_code) == (1, 1, 5, 0)
    assert machine.vault.paths.index.read_bytes() == before


def test_what_could_not_be_read_is_exit_code_3(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_module, "open_store", lambda url: MemoryStore(machine.clock))
    disk = machine.folder / "disk"
    disk.mkdir()
    (disk / "file").write_bytes(b"x")
    source = replace(machine.source, paths=(*machine.source.paths, os.fsencode(disk)))
    machine.snapshot(source)
    assert preview(machine.vault.config, source).exit_code == 0
    (disk / "file").rename(Path(machine.folder) / "file")
    found = preview(machine.vault.config, source)
    assert [one.path for one in found.problems] == [os.fsencode(disk)]
    assert found.exit_code == 3
