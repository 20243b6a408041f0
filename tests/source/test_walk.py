"""A walk tells all that is there, in order, notes what it cannot, and never waits, follows or dies."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from walking import folders, make_deep, names, open_descriptors, touch

from vaultpy.errors import UsageError
from vaultpy.source.descent import KEPT_OPEN
from vaultpy.source.filters import Decision
from vaultpy.source.roots import plan_roots
from vaultpy.source.walk import WalkOptions, walk

ODD_NAMES = [b"new\nline", b"\xff\xfe", b"-rf", b" ", b"*", b"\x01\x7f", b"x" * 255, "é".encode(), "e\u0301".encode()]


def test_entries_and_folders_come_in_the_order_of_their_bytes(tree: bytes) -> None:
    for name in (b"b", b"a", b"a-", b"\xff", b"B"):
        os.mkdir(tree + b"/" + name)
        touch(tree + b"/" + name + b"/file")
    touch(tree + b"/aa")
    found = list(folders(tree))
    assert names(found[0]) == [b"B", b"a", b"a-", b"aa", b"b", b"\xff"]
    assert [folder.path for folder in found] == [tree] + [tree + b"/" + n for n in (b"B", b"a", b"a-", b"b", b"\xff")]
    assert names(found[1]) == [b"file"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_comes_through(tree: bytes, name: bytes) -> None:
    os.mkdir(tree + b"/" + name)
    touch(tree + b"/" + name + b"/" + name, b"12345")
    top, inner = folders(tree)
    assert names(top) == [name]
    assert inner.path == tree + b"/" + name
    assert [(one, seen.st_size) for one, seen in inner.entries] == [(name, 5)]


def test_a_walk_agrees_with_find() -> None:
    root = Path(os.__file__).parent / "encodings"
    listed = subprocess.run(["find", root, "-mindepth", "1", "-print0"], check=True, capture_output=True).stdout
    ours = {folder.path + b"/" + name for folder in folders(os.fsencode(root)) for name in names(folder)}
    assert ours == set(listed.split(b"\0")) - {b""}


def test_the_stat_of_a_folder_is_its_own(tree: bytes) -> None:
    os.mkdir(tree + b"/inner", 0o711)
    top, inner = folders(tree)
    assert top.stat.st_ino == os.stat(tree).st_ino
    assert (inner.stat.st_ino, stat.S_IMODE(inner.stat.st_mode)) == (os.stat(tree + b"/inner").st_ino, 0o711)


def test_the_descriptor_is_the_folders(tree: bytes) -> None:
    os.mkdir(tree + b"/inner")
    for folder in folders(tree):
        assert os.fstat(folder.fd).st_ino == folder.stat.st_ino


def test_every_kind_is_an_entry_but_a_socket(tree: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tree + b"/fifo")
    os.symlink(b"/etc/passwd", tree + b"/link")
    os.symlink(b"nowhere", tree + b"/broken")
    os.symlink(b".", tree + b"/loop")
    monkeypatch.chdir(os.fsdecode(tree))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        (top,) = folders(tree)
    assert names(top) == [b"broken", b"fifo", b"link", b"loop"]
    assert top.skipped == 1
    assert top.problems == []


def test_a_link_is_never_followed(tree: bytes) -> None:
    os.mkdir(tree + b"/real")
    touch(tree + b"/real/file")
    os.symlink(b"real", tree + b"/link")
    assert [folder.path for folder in folders(tree)] == [tree, tree + b"/real"]


def test_a_tree_of_a_thousand_levels_needs_few_descriptors(tree: bytes) -> None:
    make_deep(tree, 1_000, b"d" * 100)
    before = open_descriptors()
    most = 0
    for depth, folder in enumerate(folders(tree)):
        most = max(most, open_descriptors() - before)
        assert len(folder.path) == len(tree) + 101 * depth
        assert names(folder) == ([b"d" * 100, b"file"] if depth < 1_000 else [])
        assert os.fstat(folder.fd).st_ino == folder.stat.st_ino
    assert depth == 1_000
    assert most <= KEPT_OPEN + 1
    assert open_descriptors() == before


def test_after_a_deep_branch_the_walk_finds_its_way_up(tree: bytes) -> None:
    make_deep(tree, 200, b"a", beside=b"z")
    seen = [folder.path.removeprefix(tree) for folder in folders(tree)]
    down = [b"/a" * depth for depth in range(201)]
    assert seen == down + [one + b"/z" for one in reversed(down[:-1])]


def test_ten_thousand_levels_work(tree: bytes) -> None:
    make_deep(tree, 10_000, b"d")
    assert sum(1 for _ in folders(tree)) == 10_001


def test_excluded_things_are_left_out_with_the_reason(tree: bytes) -> None:
    os.makedirs(tree + b"/node_modules/deep")
    os.mkdir(tree + b"/src")
    touch(tree + b"/src/x.o")
    touch(tree + b"/src/x.c")
    told: list[tuple[bytes, Decision]] = []
    options = WalkOptions(exclude=("*.o", "node_modules/"), on_decision=lambda *what: told.append(what))
    found = {folder.path.removeprefix(tree): folder for folder in walk(plan_roots([tree]), options)}
    assert names(found[b""]) == [b"src"]
    assert names(found[b"/src"]) == [b"x.c"]
    assert told == [
        (tree + b"/node_modules", Decision(True, "node_modules/")),
        (tree + b"/src/x.o", Decision(True, "*.o")),
    ]


def test_of_a_cache_only_the_tag_is_kept(tree: bytes) -> None:
    for folder, tag in ((b"/cache", b"Signature: 8a477f597d28d172789f06886806bc55\n"), (b"/not", b"something else")):
        os.makedirs(tree + folder + b"/deep")
        touch(tree + folder + b"/CACHEDIR.TAG", tag)
        touch(tree + folder + b"/file")
    found = {folder.path.removeprefix(tree): names(folder) for folder in folders(tree, exclude_caches=True)}
    assert found[b"/cache"] == [b"CACHEDIR.TAG"]
    assert found[b"/not"] == [b"CACHEDIR.TAG", b"deep", b"file"]
    assert b"/cache/deep" not in found
    assert len(list(folders(tree))) == 5


def test_own_things_are_left_out_and_told(tree: bytes) -> None:
    os.makedirs(tree + b"/store/blobs")
    touch(tree + b"/secret")
    touch(tree + b"/other")
    skip = frozenset((found.st_dev, found.st_ino) for found in map(os.stat, (tree + b"/store", tree + b"/secret")))
    (top,) = folders(tree, skip=skip)
    assert names(top) == [b"other"]
    assert sorted(top.left_out) == [tree + b"/secret", tree + b"/store"]


@pytest.mark.parametrize("directory", [True, False])
def test_a_source_path_that_is_our_own_is_left_out_and_told(tree: bytes, directory: bool) -> None:
    if not directory:
        tree = tree + b"/file"
        touch(tree)
    found = os.stat(tree)
    walked = list(walk(plan_roots([tree]), WalkOptions(skip=frozenset({(found.st_dev, found.st_ino)}))))
    assert walked[-1].path == os.path.dirname(tree)
    assert (walked[-1].entries, walked[-1].left_out) == ([], [tree])


def test_the_folders_above_lead_to_the_source_paths(tree: bytes) -> None:
    for path in (b"/x/dir/inner", b"/x/beside", b"/y"):
        os.makedirs(tree + path)
    touch(tree + b"/x/file")
    os.symlink(b"nowhere", tree + b"/y/link")
    roots = plan_roots([tree + b"/y/link", tree + b"/x/dir", tree + b"/x/file"])
    found = list(walk(roots, WalkOptions()))
    assert found[0].path == b"/"
    below = {folder.path.removeprefix(tree): names(folder) for folder in found if folder.path.startswith(tree)}
    assert below == {
        b"": [b"x", b"y"],
        b"/x": [b"dir", b"file"],
        b"/y": [b"link"],
        b"/x/dir": [b"inner"],
        b"/x/dir/inner": [],
    }
    above = [folder for folder in found if not folder.path.startswith(tree)]
    assert [len(folder.entries) for folder in above] == [1] * len(above)


def test_every_path_is_an_entry_of_one_folder_and_every_folder_comes_once(tree: bytes) -> None:
    os.makedirs(tree + b"/a/b/c")
    found = list(walk(plan_roots([tree + b"/a", tree + b"/a/b", tree]), WalkOptions()))
    paths = [folder.path for folder in found]
    assert len(paths) == len(set(paths))
    entries = [os.path.join(folder.path, name) for folder in found for name in names(folder)]
    assert sorted(entries) == sorted(set(entries))
    assert set(paths) - {b"/"} <= set(entries)
    for path in paths[1:]:
        assert paths.index(os.path.dirname(path)) < paths.index(path)


def test_a_wrong_pattern_is_refused_before_the_walk(tree: bytes) -> None:
    with pytest.raises(UsageError):
        next(walk(plan_roots([tree]), WalkOptions(exclude=("[",))))


@pytest.fixture
def mounted(tree: bytes) -> Iterator[bytes]:
    """A small file system of its own below the tree, with a file in it."""
    inner = tree + b"/mounted"
    os.mkdir(inner)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", inner], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("mounting needs root: " + done.stderr.decode().strip())
    touch(inner + b"/file")
    yield inner
    subprocess.run(["umount", inner], check=True)


def test_a_mount_is_walked_unless_told_not_to(tree: bytes, mounted: bytes) -> None:
    assert [folder.path for folder in folders(tree)] == [tree, mounted]
    told: list[tuple[bytes, Decision]] = []
    (top,) = folders(tree, one_file_system=True, on_decision=lambda *what: told.append(what))
    assert names(top) == [b"mounted"]
    assert told == [(mounted + b"/", Decision(True, "another file system"))]


def test_a_mount_that_is_named_itself_is_walked_on_its_own(tree: bytes, mounted: bytes) -> None:
    os.mkdir(mounted + b"/deep")
    for second in (mounted, mounted + b"/deep"):
        roots = plan_roots([tree, second], one_file_system=True)
        assert [path for path, _ in roots.roots] == [tree, second]
        found = [folder.path for folder in walk(roots, WalkOptions(one_file_system=True))]
        assert len(found) == len(set(found))
        assert second in found
    assert [path for path, _ in plan_roots([tree, mounted]).roots] == [tree]


def test_a_file_system_that_is_mounted_as_we_enter_is_not_entered(
    tree: bytes, mounted: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["umount", mounted], check=True)
    walking = folders(tree, one_file_system=True)
    next(walking)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", mounted], check=True)
    touch(mounted + b"/file")
    (inner,) = walking
    assert not inner.entries and not inner.problems


def test_a_wide_folder_works(tree: bytes) -> None:
    fd = os.open(tree, os.O_RDONLY)
    for number in range(20_000):
        os.close(os.open(b"%d" % number, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    (top,) = folders(tree)
    assert names(top) == sorted(b"%d" % number for number in range(20_000))
