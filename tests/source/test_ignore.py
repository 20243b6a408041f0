"""Ignore files in the tree mean what .gitignore files mean; markers, sizes and flags leave out what they should."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from walking import folders

from vaultpy.model import ProblemKind
from vaultpy.source.filters import Decision
from vaultpy.source.ignore import SIZE_LIMIT

IGNORE = b".vaultignore"


def put(path: bytes, content: bytes = b"") -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def kept(tree: bytes, **options: object) -> set[bytes]:
    """Files that are kept, below the tree."""
    return {
        (folder.path + b"/" + name).removeprefix(tree + b"/")
        for folder in folders(tree, **options)
        for name, _ in folder.entries
        if not os.path.isdir(folder.path + b"/" + name)
    }


def with_files(tree: bytes, **options: object) -> set[bytes]:
    return kept(tree, exclude_files=(IGNORE,), **options) - {IGNORE}


def problems(tree: bytes) -> list[tuple[bytes, ProblemKind, str]]:
    return [(one.path, one.kind, one.detail) for f in folders(tree, exclude_files=(IGNORE,)) for one in f.problems]


def test_a_file_of_patterns_holds_for_its_folder_and_below(tree: bytes) -> None:
    for name in (b"x.o", b"a/x.o", b"a/b/x.o", b"c/x.o", b"a/x.c"):
        put(tree + b"/" + name)
    put(tree + b"/a/" + IGNORE, b"*.o\n")
    assert with_files(tree) == {b"x.o", b"c/x.o", b"a/x.c", b"a/" + IGNORE}
    assert b"a/x.o" in kept(tree), "only where it is configured"


def test_an_anchored_pattern_is_anchored_where_its_file_lies(tree: bytes) -> None:
    for name in (b"x", b"a/x", b"a/b/x", b"a/b/y"):
        put(tree + b"/" + name)
    put(tree + b"/a/" + IGNORE, b"/x\nb/y\n")
    assert with_files(tree) == {b"x", b"a/b/x", b"a/" + IGNORE}


def test_an_inner_file_takes_back_what_an_outer_one_leaves_out(tree: bytes) -> None:
    for name in (b"1.log", b"a/1.log", b"a/2.log"):
        put(tree + b"/" + name)
    put(tree + b"/" + IGNORE, b"*.log\n")
    put(tree + b"/a/" + IGNORE, b"!1.log\n")
    assert with_files(tree) == {b"a/1.log", b"a/" + IGNORE}


def test_what_the_configuration_leaves_out_no_file_takes_back(tree: bytes) -> None:
    put(tree + b"/1.log")
    put(tree + b"/" + IGNORE, b"!*.log\n")
    assert with_files(tree, exclude=("*.log",)) == set()


def test_what_the_configuration_takes_back_a_file_may_leave_out(tree: bytes) -> None:
    put(tree + b"/1.log")
    put(tree + b"/" + IGNORE, b"1.log\n")
    assert with_files(tree, exclude=("*.log", "!1.log")) == set()


def test_a_folder_that_is_left_out_is_not_looked_into_for_its_own_file(tree: bytes) -> None:
    put(tree + b"/a/x")
    put(tree + b"/a/" + IGNORE, b"!x\n")
    put(tree + b"/" + IGNORE, b"a/\n")
    assert with_files(tree) == set()


def test_several_names_are_read_and_the_last_decides(tree: bytes) -> None:
    put(tree + b"/x.o")
    put(tree + b"/.one", b"*.o\n")
    put(tree + b"/.two", b"!x.o\n")
    assert b"x.o" in kept(tree, exclude_files=(b".one", b".two"))
    assert b"x.o" not in kept(tree, exclude_files=(b".two", b".one"))


def test_comments_windows_lines_and_a_byte_order_mark_are_as_in_git(tree: bytes) -> None:
    for name in (b"one", b"two", b"three", b"\xff\xfe"):
        put(tree + b"/" + name)
    put(tree + b"/" + IGNORE, b"\xef\xbb\xbfone\r\n# a comment\r\n\r\ntwo \r\n\xff\xfe")
    assert with_files(tree) == {b"three"}
    assert problems(tree) == []


def test_a_wrong_line_is_told_and_the_others_hold(tree: bytes) -> None:
    put(tree + b"/x.o")
    put(tree + b"/[")
    put(tree + b"/" + IGNORE, b"*.o\n[\n")
    assert with_files(tree) == {b"["}
    [(path, kind, detail)] = problems(tree)
    assert (path, kind) == (tree + b"/" + IGNORE, ProblemKind.UNREADABLE)
    assert detail.startswith("line 2 is not used: pattern '['")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_leaves_nothing_out_and_is_told(tree: bytes, make: object) -> None:
    put(tree + b"/x")
    make(tree + b"/" + IGNORE)  # type: ignore[operator]
    assert with_files(tree) == {b"x"}
    assert [kind for _, kind, _ in problems(tree)] == [ProblemKind.UNREADABLE]


def test_a_link_is_not_followed_and_is_told(tree: bytes) -> None:
    put(tree + b"/x")
    put(tree + b"/patterns", b"x\n")
    os.symlink(b"patterns", tree + b"/" + IGNORE)
    assert with_files(tree) == {b"x", b"patterns"}
    assert len(problems(tree)) == 1


@pytest.mark.parametrize(("size", "works"), [(SIZE_LIMIT, True), (SIZE_LIMIT + 1, False)])
def test_a_file_has_a_size_that_it_may_have(tree: bytes, size: int, works: bool) -> None:
    put(tree + b"/x")
    put(tree + b"/" + IGNORE, b"x\n#" + b"-" * (size - 3))
    assert (with_files(tree) == set()) is works
    assert (problems(tree) == []) is works


names = st.sampled_from(["a", "b", "ab", "a.c", "b.c", ".x"])
segments = st.sampled_from(["*", "**", "a", "b", "ab", "a*", "*.c", "?", "[ab]", ".*"])
lines = st.builds(
    lambda bang, front, inner, back: bang + front + "/".join(inner) + back,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(segments, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with the same few names in folders with these names, three levels deep, and a git repository for them."""
    base = tmp_path_factory.mktemp("repository")
    generator = random.Random(4)
    for folder in ("", "a", "b", "ab", "a/b", "a/ab", "b/a.c", "a/b/.x"):
        (base / "tree" / folder).mkdir(parents=True, exist_ok=True)
    for folder in [base / "tree", *(one for one in (base / "tree").rglob("*") if one.is_dir())]:
        for name in generator.sample(["a", "b", "ab", "a.c", "b.c", ".x", "c"], 6):
            if not (folder / name).exists():
                (folder / name).write_bytes(b"")
    subprocess.run(["git", "init", "-q", "--bare", base / "git"], check=True)
    return base


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ignores=st.dictionaries(
        st.sampled_from(["", "a", "a/b", "b"]), st.lists(lines, min_size=1, max_size=3), min_size=1, max_size=3
    )
)
def test_git_keeps_the_same_files(repository: Path, ignores: dict[str, list[str]]) -> None:
    tree = repository / "tree"
    for old in tree.rglob(".gitignore"):
        old.unlink()
    for folder, patterns in ignores.items():
        (tree / folder / ".gitignore").write_text("\n".join(patterns))
    command = ["git", f"--git-dir={repository / 'git'}", f"--work-tree={tree}", "ls-files", "-o", "-z"]
    listed = subprocess.run(
        [*command, "--exclude-per-directory=.gitignore"], check=True, capture_output=True, cwd=tree
    ).stdout
    assert kept(os.fsencode(tree), exclude_files=(b".gitignore",)) == set(listed.split(b"\0")) - {b""}


def test_of_a_folder_with_a_marker_only_that_is_kept(tree: bytes) -> None:
    for name in (b"keep/x", b"scratch/x", b"scratch/deep/y", b"scratch/.nobackup", b"other/.skip/inside", b"other/z"):
        put(tree + b"/" + name)
    found = kept(tree, exclude_if_present=(b".nobackup", b".skip"))
    assert found == {b"keep/x", b"scratch/.nobackup", b"other/.skip/inside"}


def test_a_marker_counts_though_a_pattern_leaves_it_out(tree: bytes) -> None:
    put(tree + b"/scratch/x")
    put(tree + b"/scratch/.nobackup")
    assert kept(tree, exclude_if_present=(b".nobackup",), exclude=(".nobackup",)) == set()


def test_only_files_larger_than_the_limit_are_left_out(tree: bytes) -> None:
    for size in (0, 99, 100, 101):
        put(tree + b"/%d" % size, b"x" * size)
    os.symlink(b"t" * 200, tree + b"/link")
    os.mkdir(tree + b"/folder")  # 4,096 bytes on most file systems
    (top,) = (one for one in folders(tree, exclude_larger_than=100) if one.path == tree)
    assert {name for name, _ in top.entries} == {b"0", b"99", b"100", b"link", b"folder"}


def test_what_has_the_nodump_flag_is_left_out_folders_whole(tree: bytes) -> None:
    for name in (b"file", b"folder/inside", b"other"):
        put(tree + b"/" + name)
    marked = [tree + b"/file", tree + b"/folder"]
    if subprocess.run([b"chattr", b"+d", *marked], capture_output=True).returncode:
        pytest.skip("no nodump flag here")
    assert kept(tree, exclude_nodump=True) == {b"other"}
    assert kept(tree) == {b"file", b"folder/inside", b"other"}


def test_every_reason_is_told(tree: bytes) -> None:
    for name in (b"a.o", b"keep.o", b"big", b"cache/x", b"scratch/x", b"scratch/.no", b"sub/b.tmp", b"sub/c.tmp"):
        put(tree + b"/" + name, b"x" * (2000 if name == b"big" else 1))
    put(tree + b"/cache/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55\n")
    put(tree + b"/sub/" + IGNORE, b"*.tmp\n!c.tmp\n")
    told: dict[bytes, Decision] = {}
    options = {
        "exclude": ("*.o", "!keep.o"),
        "exclude_files": (IGNORE,),
        "exclude_if_present": (b".no",),
        "exclude_larger_than": 1024,
        "exclude_caches": True,
        "on_decision": told.__setitem__,
    }
    for _ in folders(tree, **options):
        pass
    ignore = os.fsdecode(tree + b"/sub/" + IGNORE)
    assert {path.removeprefix(tree + b"/"): decision for path, decision in told.items()} == {
        b"a.o": Decision(True, "*.o"),
        b"keep.o": Decision(False, "!keep.o"),
        b"big": Decision(True, "larger than 1.0 KiB"),
        b"cache/x": Decision(True, "CACHEDIR.TAG is there"),
        b"scratch/x": Decision(True, ".no is there"),
        b"sub/b.tmp": Decision(True, f"*.tmp in {ignore}"),
        b"sub/c.tmp": Decision(False, f"!c.tmp in {ignore}"),
    }
