"""A walk of a tree that moves, or cannot be read: what is lost is noted, the rest is walked, and nothing leads elsewhere."""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Callable, Iterator

import pytest
from walking import folders, make_deep, names, open_descriptors, problems, touch

from vaultpy.errors import VaultpyError
from vaultpy.model import Problem, ProblemKind
from vaultpy.source.descent import KEPT_OPEN
from vaultpy.source.roots import plan_roots
from vaultpy.source.walk import NO_FD, WalkOptions, walk


def test_a_branch_that_is_moved_away_while_we_are_in_it_is_left_by_the_way_we_came(tree: bytes) -> None:
    make_deep(tree, KEPT_OPEN + 10, b"a", beside=b"z")
    seen = []
    for folder in folders(tree):
        seen.append(folder.path.removeprefix(tree))
        if len(seen) == KEPT_OPEN + 11:  # at the bottom: level 3 now lies elsewhere, and its `..` is not where we were
            os.rename(tree + b"/a/a/a", tree + b"/moved")
        assert folder.problems == []
    assert seen[-3:] == [b"/a/a/z", b"/a/z", b"/z"]


def test_what_cannot_be_found_again_is_noted(tree: bytes) -> None:
    make_deep(tree, KEPT_OPEN + 10, b"a", beside=b"z")
    found = []
    for count, folder in enumerate(folders(tree)):
        found.append(folder)
        if count == KEPT_OPEN + 10:
            os.rename(tree + b"/a/a/a", tree + b"/moved")
            os.rename(tree + b"/a/a", tree + b"/moved too")
    # Level 2 was moved after all below it had been seen; what was still to come in it cannot be reached.
    assert problems(iter(found)) == [(tree + b"/a/a/z", ProblemKind.VANISHED)]
    assert [folder.path.removeprefix(tree) for folder in found[-3:]] == [b"/a/a/z", b"/a/z", b"/z"]


def test_another_folder_in_the_place_of_one_above_is_not_taken_for_it(tree: bytes) -> None:
    make_deep(tree, KEPT_OPEN + 10, b"a", beside=b"z")
    found = []
    for count, folder in enumerate(folders(tree)):
        found.append(folder)
        if count == KEPT_OPEN + 10:
            os.rename(tree + b"/a/a/a", tree + b"/moved")
            os.rename(tree + b"/a/a", tree + b"/moved too")
            os.makedirs(tree + b"/a/a/z/not the one that was listed")
    assert problems(iter(found)) == [(tree + b"/a/a/z", ProblemKind.VANISHED)]
    assert [folder.entries for folder in found[-3:]] == [[], [], []]


def test_a_folder_that_vanishes_before_it_is_entered_is_noted(tree: bytes) -> None:
    os.mkdir(tree + b"/a")
    os.mkdir(tree + b"/b")
    walking = folders(tree)
    assert names(next(walking)) == [b"a", b"b"]
    os.rmdir(tree + b"/a")
    gone, there = walking
    assert (gone.fd, gone.entries) == (NO_FD, [])
    assert gone.problems == [Problem(tree + b"/a", ProblemKind.VANISHED, "no such file or directory")]
    assert there.problems == []


@pytest.mark.parametrize("target", [b"/etc", b"elsewhere", b"."])
def test_a_folder_that_becomes_a_link_is_noted_and_not_followed(tree: bytes, target: bytes) -> None:
    os.mkdir(tree + b"/a")
    walking = folders(tree)
    next(walking)
    os.rmdir(tree + b"/a")
    os.symlink(target, tree + b"/a")
    (gone,) = walking
    assert gone.entries == []
    assert [problem.kind for problem in gone.problems] == [ProblemKind.VANISHED]


def test_a_folder_that_becomes_a_file_is_noted(tree: bytes) -> None:
    os.mkdir(tree + b"/a")
    walking = folders(tree)
    next(walking)
    os.rmdir(tree + b"/a")
    touch(tree + b"/a")
    assert problems(walking) == [(tree + b"/a", ProblemKind.VANISHED)]


def test_another_folder_of_the_name_is_walked_and_noted(tree: bytes) -> None:
    os.mkdir(tree + b"/a")
    os.mkdir(tree + b"/b")
    touch(tree + b"/b/new")
    walking = folders(tree)
    next(walking)
    os.rmdir(tree + b"/a")
    os.rename(tree + b"/b", tree + b"/a")
    first, _ = walking
    assert names(first) == [b"new"]
    assert [problem.kind for problem in first.problems] == [ProblemKind.CHANGED]


def test_a_name_that_vanishes_while_its_folder_is_listed_is_noted(tree: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tree + b"/stays")
    touch(tree + b"/goes")
    scandir = os.scandir

    class Scan:
        """os.scandir, with the file taken away between the listing and its stat."""

        def __init__(self, fd: int) -> None:
            self.entries = scandir(fd)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            listed = list(self.entries)
            os.unlink(tree + b"/goes")
            return iter(listed)

        def __exit__(self, *_: object) -> None:
            self.entries.close()

    monkeypatch.setattr(os, "scandir", Scan)
    (top,) = folders(tree)
    assert names(top) == [b"stays"]
    assert top.problems == [Problem(tree + b"/goes", ProblemKind.VANISHED, "no such file or directory")]


def test_an_unreadable_folder_is_a_problem_and_the_rest_is_walked(
    public_tree: bytes, as_nobody: Callable[[Callable[[], None]], None]
) -> None:
    tree = public_tree
    os.mkdir(tree + b"/closed", 0o700)
    os.mkdir(tree + b"/open", 0o755)
    os.mkdir(tree + b"/listed only", 0o744)
    touch(tree + b"/listed only/file")
    if os.geteuid() != 0:
        os.chmod(tree + b"/closed", 0)
        os.chmod(tree + b"/listed only", 0o400)

    def action() -> None:
        found = list(folders(tree))
        assert [folder.path.removeprefix(tree) for folder in found] == [b"", b"/closed", b"/listed only", b"/open"]
        assert problems(iter(found)) == [
            (tree + b"/closed", ProblemKind.UNREADABLE),
            (tree + b"/listed only/file", ProblemKind.UNREADABLE),
        ]
        assert found[1].problems[0].detail == "permission denied"
        assert found[1].fd == NO_FD

    as_nobody(action)


def test_a_folder_above_that_cannot_be_listed_does_not_matter(
    public_tree: bytes, as_nobody: Callable[[Callable[[], None]], None]
) -> None:
    tree = public_tree
    os.makedirs(tree + b"/pass/mine")
    touch(tree + b"/pass/mine/file")
    os.chmod(tree + b"/pass", 0o711)

    def action() -> None:
        found = {folder.path: folder for folder in walk(plan_roots([tree + b"/pass/mine"]), WalkOptions())}
        assert names(found[tree + b"/pass"]) == [b"mine"]
        assert names(found[tree + b"/pass/mine"]) == [b"file"]
        assert problems(iter(found.values())) == []

    as_nobody(action)


def test_running_out_of_descriptors_stops_the_walk(tree: bytes) -> None:
    os.mkdir(tree + b"/inner")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    walking = folders(tree)
    next(walking)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(VaultpyError, match="too many open files"):
            next(walking)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_closing_a_walk_closes_its_descriptors(tree: bytes) -> None:
    make_deep(tree, 20, b"a")
    before = open_descriptors()
    walking = folders(tree)
    for _ in itertools.islice(walking, 15):
        pass
    assert open_descriptors() > before
    walking.close()  # type: ignore[attr-defined]
    assert open_descriptors() == before


def test_a_source_path_that_vanishes_after_planning_is_missing(tree: bytes) -> None:
    roots = plan_roots([tree])
    os.rmdir(tree)
    assert problems(walk(roots, WalkOptions())) == [(tree, ProblemKind.MISSING)]
    touch(tree)
    assert problems(walk(roots, WalkOptions())) == [(tree, ProblemKind.MISSING)]
