"""What moved while it was read is told by every command that speaks of the snapshot, and is no failure."""

from __future__ import annotations

import os

import pytest
from looking import Host

from vaultpy.source import batch
from vaultpy.source.read import Listed, open_regular, same


@pytest.fixture
def restless(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A file vanishes between listing and reading, one never holds still."""
    for name in ("gone", "never still"):
        (host.tree / name).write_bytes(b"x" * 1000)
    inode = (host.tree / "never still").stat().st_ino

    def open_late(dir_fd: int, name: bytes, expected: Listed) -> int:
        if name == b"gone":
            (host.tree / "gone").unlink()
        return open_regular(dir_fd, name, expected)

    def is_same(before: os.stat_result, after: os.stat_result) -> bool:
        return before.st_ino != inode and same(before, after)

    monkeypatch.setattr(batch.BatchReader, "_read_plain", lambda *_: False)
    monkeypatch.setattr(batch, "open_regular", open_late)
    monkeypatch.setattr(batch, "same", is_same)
    return host


MOVED = [("gone", "vanished"), ("never still", "changed")]


def test_what_moved_is_in_the_summary_and_the_exit_code_is_0(restless: Host) -> None:
    ran = restless.vaultpy("snapshot", "create", "--path", restless.tree, "--name", "home")
    assert ran.code == 0
    for name, kind in MOVED:
        assert f"{restless.tree}/{name}: {kind}: " in ran.err
        assert f"  1 {kind}\n" in ran.out


def test_what_moved_is_in_json_and_marks_the_snapshot(restless: Host) -> None:
    made = restless.run("snapshot", "create", "--path", restless.tree, "--name", "home", "--json").document
    told = [(str(restless.tree / name), kind) for name, kind in MOVED]
    assert sorted((one["path"], one["kind"]) for one in made[0]["problems"]) == told
    shown = restless.run("snapshot", "show", "latest", "--json").document
    assert sorted((one["path"], one["kind"]) for one in shown["problem_list"]) == told
    assert all(one["detail"] for one in shown["problem_list"])
    [listed] = restless.run("snapshot", "list", "--json").document
    assert listed["problems"] == 2
    assert restless.run("snapshot", "list").out.splitlines()[1].split()[-1] == "2"
    lines = restless.run("snapshot", "show", "latest").out
    assert all(f"{path}: {kind}: " in lines for path, kind in told)
