"""The paths of a source: what is given, what is inside what, and what is not there."""

from __future__ import annotations

import os

import pytest

from vaultpy.errors import UsageError
from vaultpy.model import ProblemKind
from vaultpy.source.roots import normalise, plan_roots


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"/", b"/"),
        (b"//", b"/"),
        (b"/a/", b"/a"),
        (b"//a//b/.", b"/a/b"),
        (b"/./a", b"/a"),
        (b"/a\n/\xff", b"/a\n/\xff"),
    ],
)
def test_paths_are_normalised(given: bytes, expected: bytes) -> None:
    assert normalise(given) == expected


@pytest.mark.parametrize("path", [b"", b"a", b"./a", b"~/a", b"/a/../b", b"/..", b"/a\0b"])
def test_a_path_that_could_mean_several_places_is_refused(path: bytes) -> None:
    with pytest.raises(UsageError, match="source path") as caught:
        normalise(path)
    assert caught.value.hint


def test_a_path_inside_another_is_covered(tree: bytes) -> None:
    os.makedirs(tree + b"/a/b")
    os.makedirs(tree + b"/ab")
    plan = plan_roots([tree + b"/a/b", tree + b"/ab", tree + b"/a", tree + b"/a/"])
    assert [path for path, _ in plan.roots] == [tree + b"/a", tree + b"/ab"]
    assert plan.covered == (tree + b"/a/b",)
    assert plan.problems == ()


def test_the_root_covers_everything(tree: bytes) -> None:
    plan = plan_roots([tree, b"/"])
    assert [path for path, _ in plan.roots] == [b"/"]
    assert plan.ancestors == ()


def test_ancestors_come_once_and_parents_first(tree: bytes) -> None:
    os.makedirs(tree + b"/a/x")
    os.makedirs(tree + b"/a-b")
    paths = [path for path, _ in plan_roots([tree + b"/a/x", tree + b"/a-b"]).ancestors]
    assert paths[0] == b"/"
    assert paths[-2:] == [tree, tree + b"/a"]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("path", [b"/missing", b"/file/below", b"/missing/below"])
def test_a_missing_path_is_a_problem_that_names_it(tree: bytes, path: bytes) -> None:
    with open(tree + b"/file", "wb"):
        pass
    plan = plan_roots([tree + path, tree + b"/file"])
    assert [(problem.path, problem.kind) for problem in plan.problems] == [(tree + path, ProblemKind.MISSING)]
    assert [found for found, _ in plan.roots] == [tree + b"/file"]


def test_a_missing_path_inside_another_is_still_named(tree: bytes) -> None:
    plan = plan_roots([tree, tree + b"/missing"])
    assert [problem.path for problem in plan.problems] == [tree + b"/missing"]


def test_links_above_a_path_are_followed_and_the_path_itself_is_not(tree: bytes) -> None:
    os.makedirs(tree + b"/real/inner")
    os.symlink(b"real", tree + b"/link")
    os.symlink(b"inner", tree + b"/real/last")
    plan = plan_roots([tree + b"/link/last"])
    (path, found), above = plan.roots[0], dict(plan.ancestors)
    assert (path, found.st_ino) == (tree + b"/link/last", os.lstat(tree + b"/real/last").st_ino)
    assert above[tree + b"/link"].st_ino == os.stat(tree + b"/real").st_ino


@pytest.mark.parametrize("outer", [b"", b"/link"])
def test_a_path_behind_a_link_of_another_path_is_refused_by_name(tree: bytes, outer: bytes) -> None:
    os.makedirs(tree + b"/real/inner")
    os.symlink(b"real", tree + b"/link")
    plan = plan_roots([tree + outer, tree + b"/link/inner"])
    assert [path for path, _ in plan.roots] == [tree + outer]
    assert [(problem.path, problem.kind) for problem in plan.problems] == [
        (tree + b"/link/inner", ProblemKind.UNREADABLE)
    ]
    assert "real path" in plan.problems[0].detail
