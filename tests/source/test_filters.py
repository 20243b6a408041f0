"""Patterns mean what git says they mean, and the fast way never disagrees with the plain one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec
from walking import folders

from vaultpy.errors import UsageError
from vaultpy.source.filters import compile_filter, is_cache

NAMES = (b"a", b"b", b"ab", b"a.c", b"b.c", b".x", b"new\nline", b"\xff\xfe", b"#h", b"!n", b"sp ", b"[q]", b"*s")


def excluded(patterns: Sequence[str], path: bytes, *, directory: bool = False, root: bytes = b"/src") -> str | None:
    chosen = compile_filter(patterns, root)
    return None if chosen is None else chosen.excluded(path, directory)


@pytest.mark.parametrize(
    ("pattern", "out", "stays"),
    [
        ("*.pyc", [b"x.pyc", b"deep/down/x.pyc", b".pyc"], [b"x.py", b"pyc", b"x.pyc.txt"]),
        ("core", [b"core", b"a/core"], [b"cores", b"Core", b"core.c"]),
        ("/core", [b"core"], [b"a/core"]),
        ("a/core", [b"a/core"], [b"core", b"b/a/core"]),
        ("**/core", [b"core", b"a/core", b"a/b/core"], [b"a/b"]),
        ("a/**", [b"a/x", b"a/x/y"], [b"a", b"b/a/x"]),
        ("a/**/z", [b"a/z", b"a/b/z", b"a/b/c/z"], [b"z", b"b/a/z"]),
        ("a/*/z", [b"a/b/z"], [b"a/z", b"a/b/c/z"]),
        ("**/*/**", [b"a/z", b"a/b/c"], [b"a"]),
        ("x?z", [b"xyz", b"x\nz", "xäz".encode()], [b"xz", b"xyyz"]),
        ("[a-c]1", [b"a1", b"c1"], [b"d1"]),
        ("[!a]1", [b"d1"], [b"a1"]),
        ("\\#x", [b"#x"], [b"x"]),
        ("\\!x", [b"!x"], [b"x"]),
        ("\\*", [b"*"], [b"x"]),
        ("two words", [b"two words"], [b"two"]),
        ("ends\\ ", [b"ends "], [b"ends"]),
        ("trailing   ", [b"trailing"], [b"trailing   "]),
        ("\udcff*", [b"\xffabc"], [b"abc"]),
        ("übung", ["übung".encode()], [b"ubung"]),
        ("foo", [b"foo"], [b"foo\n", b"a\nfoo", b"foo\nbar"]),
        ("foo*", [b"foo\n", b"foo\nbar"], [b"\nfoo"]),
        ("b", [b"new\nline/b"], [b"new\nline/c"]),
    ],
)
def test_a_pattern_leaves_out_what_git_would(pattern: str, out: list[bytes], stays: list[bytes]) -> None:
    assert [path for path in out if excluded([pattern], path) != pattern] == []
    assert [path for path in stays if excluded([pattern], path) is not None] == []


def test_a_slash_at_the_end_means_directories_only() -> None:
    assert excluded(["build/"], b"x/build", directory=True) == "build/"
    assert excluded(["build/"], b"x/build") is None


def test_the_last_pattern_that_matches_decides() -> None:
    patterns = ["*.log", "!keep.log", "/keep.log"]
    assert excluded(patterns, b"a/x.log") == "*.log"
    assert excluded(patterns, b"a/keep.log") is None
    assert excluded(patterns, b"keep.log") == "/keep.log"


def test_directories_can_be_taken_back_from_a_star() -> None:
    patterns = ["*", "!*/", "!*.c"]
    assert excluded(patterns, b"src", directory=True) is None
    assert excluded(patterns, b"src/x.c") is None
    assert excluded(patterns, b"src/x.h") == "*"


@pytest.mark.parametrize("patterns", [[], ["", "  ", "# comment", "/", "!", "!*.c"]])
def test_patterns_that_say_nothing_make_no_filter(patterns: list[str]) -> None:
    assert compile_filter(patterns) is None


@pytest.mark.parametrize("pattern", ["[abc", "[z-a]", "x\\", "[[:alpha:]]x", "a/[b"])
def test_a_pattern_that_does_not_parse_is_named(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"^pattern ") as caught:
        compile_filter([pattern])
    assert repr(pattern) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("pattern", ["/home/anna/.cache", "/home/*/.cache", "/home/ann?/.cache", "/.cache"])
def test_a_pattern_may_begin_with_the_source_path(pattern: str) -> None:
    assert excluded([pattern], b".cache", directory=True, root=b"/home/anna") == pattern
    assert excluded([pattern], b"deep/.cache", directory=True, root=b"/home/anna") is None


def test_a_glob_for_the_first_segment_keeps_its_meaning_below_the_source_path() -> None:
    assert excluded(["/*/x"], b"a/x", root=b"/home") == "/*/x"
    assert excluded(["/*/x"], b"x", root=b"/home") is None


def test_in_the_root_every_anchored_pattern_is_absolute() -> None:
    assert excluded(["/proc"], b"proc", directory=True, root=b"/") == "/proc"
    assert excluded(["/var/cache/**"], b"var/cache/x", root=b"/") == "/var/cache/**"


segments = st.one_of(
    st.sampled_from(["*", "**", "a", "b", "ab", "a*", "*.c", "?", "a?c", "[ab]", "[!a]", ".*", "*b*", "\\#h", "\\!n"])
)
patterns_ = st.builds(
    lambda bang, front, inner, back: bang + front + "/".join(inner) + back,
    st.sampled_from(["", "", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(segments, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Every name as a file in three folders on two levels, and an empty git repository beside them."""
    base = os.fsencode(tmp_path_factory.mktemp("forest"))
    for folder in (b"", b"/d", b"/d/a", b"/ab.d", b"/d/ab.d/new\nfolder", b"/\xfe"):
        os.makedirs(base + b"/tree" + folder, exist_ok=True)
    for folder, _, _ in list(os.walk(base + b"/tree")):
        for name in NAMES:
            if not os.path.isdir(folder + b"/" + name):
                with open(folder + b"/" + name, "wb"):
                    pass
    subprocess.run(["git", "init", "-q", "--bare", os.fsdecode(base + b"/git")], check=True)
    return base


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patterns=st.lists(patterns_, min_size=1, max_size=5))
def test_git_keeps_the_same_files(forest: bytes, patterns: list[str]) -> None:
    with open(forest + b"/patterns", "w") as file:
        file.write("\n".join(patterns) + "\n")
    command = [b"git", b"--git-dir=" + forest + b"/git", b"--work-tree=" + forest + b"/tree", b"ls-files", b"-o", b"-z"]
    command.append(b"--exclude-from=" + forest + b"/patterns")
    listed = subprocess.run(command, check=True, capture_output=True, cwd=forest + b"/tree").stdout
    ours = {
        (folder.path + b"/" + name).removeprefix(forest + b"/tree/")
        for folder in folders(forest + b"/tree", exclude=tuple(patterns))
        for name, found in folder.entries
        if os.path.isfile(folder.path + b"/" + name)
    }
    assert ours == set(listed.split(b"\0")) - {b""}


@settings(max_examples=100, deadline=None)
@given(
    # pathspec takes `*/**/` for files too, where git (and the test above) does not.
    patterns=st.lists(
        patterns_.filter(lambda one: not one.startswith("!") and not one.endswith("**/")), min_size=1, max_size=6
    ),
    parts=st.lists(st.sampled_from(["a", "b", "ab", "a.c", "abc", ".x", "#h", "xbx"]), min_size=1, max_size=4),
)
def test_without_exceptions_pathspec_keeps_the_same_files(patterns: list[str], parts: list[str]) -> None:
    chosen = compile_filter(patterns, b"/")
    assert chosen is not None
    ours = any(
        chosen.excluded("/".join(parts[:depth]).encode(), depth < len(parts)) for depth in range(1, len(parts) + 1)
    )
    assert ours == GitIgnoreSpec.from_lines(patterns).match_file("/".join(parts))


@settings(max_examples=100, deadline=None)
@given(
    patterns=st.lists(patterns_, min_size=1, max_size=6),
    parts=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
    directory=st.booleans(),
)
def test_the_fast_way_agrees_with_going_through_the_rules(
    patterns: list[str], parts: list[bytes], directory: bool
) -> None:
    chosen = compile_filter(patterns, b"/")
    if chosen is not None:
        path = os.fsdecode(b"/".join(parts)).replace("\n", "\udc0a")
        plain = chosen._decide(path.rpartition("/")[2], path, directory)
        out = plain.reason if plain is not None and plain.out else None
        assert chosen.excluded(b"/".join(parts), directory) == out
        assert plain is None or plain.out != plain.reason.startswith("!")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Signature: 8a477f597d28d172789f06886806bc55", True),
        (b"Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n", True),
        (b"Signature: 8a477f597d28d172789f06886806bc5", False),
        (b"signature: 8a477f597d28d172789f06886806bc55", False),
        (b"", False),
    ],
)
def test_a_cache_is_told_by_the_signature_of_its_tag(tree: bytes, content: bytes, expected: bool) -> None:
    with open(tree + b"/CACHEDIR.TAG", "wb") as file:
        file.write(content)
    fd = os.open(tree, os.O_RDONLY)
    try:
        assert is_cache(fd) is expected
    finally:
        os.close(fd)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink(b"/etc/passwd", path)])
def test_what_is_no_file_is_no_cache_tag(tree: bytes, make: object) -> None:
    make(tree + b"/CACHEDIR.TAG")  # type: ignore[operator]
    fd = os.open(tree, os.O_RDONLY)
    try:
        assert not is_cache(fd)
    finally:
        os.close(fd)
