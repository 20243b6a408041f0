"""A restore writes inside its target and nowhere else, whatever the snapshot says and whoever else writes there."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator

import pytest

from vaultpy.errors import DamageError, TargetError, TargetFull
from vaultpy.model import Kind
from vaultpy.source.target import TEMPORARY, Identity, TargetTree, check_name, identity

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def target(tree: bytes) -> Iterator[TargetTree]:
    with TargetTree(tree + b"/target") as made:
        yield made


@pytest.fixture
def outside(tree: bytes) -> bytes:
    """A folder beside the target, which must stay as it is."""
    path = tree + b"/outside"
    os.mkdir(path)
    with open(path + b"/file", "wb") as file:
        file.write(b"precious")
    return path


def put(target: TargetTree, parts: list[bytes], content: bytes) -> Identity:
    """Restore one file."""
    dir_fd = target.open_dir(parts[:-1])
    fd, temporary = target.create_file(dir_fd)
    os.write(fd, content)
    made = identity(os.fstat(fd))
    os.close(fd)
    target.commit(dir_fd, temporary, parts[-1])
    return made


def contents(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def everything(path: bytes) -> list[bytes]:
    return sorted(os.path.join(above, name) for above, dirs, files in os.walk(path) for name in (*dirs, *files))


@pytest.mark.parametrize("name", [b"a", b"...", b"-rf", b"\n", b"\xff", b"x" * 255, b" ", b"~", b"..a"])
def test_a_name_may_be_any_single_component(name: bytes) -> None:
    check_name(name)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"/", b"a/b", b"/etc", b"../x", b"a/", b"a\0b"])
def test_a_hostile_name_is_refused_everywhere(target: TargetTree, outside: bytes, name: bytes) -> None:
    with pytest.raises(DamageError):
        target.open_dir([b"a", name, b"b"])
    with pytest.raises(DamageError):
        put(target, [name], b"bad")
    dir_fd = target.open_dir([])
    with pytest.raises(DamageError):
        target.link(dir_fd, b"second", dir_fd, name, identity(os.stat(outside)))
    assert contents(outside + b"/file") == b"precious"
    assert os.listdir(outside) == [b"file"]


def test_a_file_appears_whole_under_its_name(target: TargetTree) -> None:
    dir_fd = target.open_dir([b"a", b"b"])
    fd, temporary = target.create_file(dir_fd)
    os.write(fd, b"con")
    assert os.listdir(dir_fd) == [temporary.decode()]
    assert temporary.startswith(TEMPORARY)
    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
    os.write(fd, b"tent")
    target.commit(dir_fd, temporary, b"file")
    assert os.listdir(dir_fd) == ["file"]
    assert os.pread(fd, 10, 0) == b"content"
    os.close(fd)


def test_a_taken_temporary_name_is_not_used(tree: bytes) -> None:
    draws = iter([b"\0" * 8, b"\0" * 8, b"\1" * 8])
    with TargetTree(tree, random=lambda size: next(draws)) as target:
        first = target.create_symlink(target.open_dir([]), b"x")
        second = target.create_symlink(target.open_dir([]), b"y")
    assert (first, second) == (TEMPORARY + b"00" * 8, TEMPORARY + b"01" * 8)
    assert os.readlink(tree + b"/" + first) == b"x"


def test_what_was_there_is_replaced_and_not_written_into(target: TargetTree, outside: bytes) -> None:
    os.link(outside + b"/file", target.root + b"/hard")
    os.symlink(outside + b"/file", target.root + b"/soft")
    os.mkfifo(target.root + b"/fifo")
    for name in (b"hard", b"soft", b"fifo"):
        put(target, [name], b"restored")
        assert contents(target.root + b"/" + name) == b"restored"
        assert stat.S_ISREG(os.lstat(target.root + b"/" + name).st_mode)
    assert contents(outside + b"/file") == b"precious"


def test_a_directory_in_the_place_of_a_file_is_refused(target: TargetTree) -> None:
    target.open_dir([b"here", b"inner"])
    with pytest.raises(TargetError, match="is a directory"):
        put(target, [b"here"], b"x")
    assert os.listdir(target.root + b"/here") == [b"inner"]


@pytest.mark.parametrize("link", [b"../outside", b"/etc", b".", b"nowhere", b"self"])
def test_a_link_in_the_place_of_a_directory_is_refused_by_name(target: TargetTree, outside: bytes, link: bytes) -> None:
    target.open_dir([b"a"])
    os.symlink(link, target.root + b"/a/self")
    for parts in ([b"a", b"self"], [b"a", b"self", b"deeper"]):
        with pytest.raises(TargetError, match="a/self") as caught:
            target.open_dir(parts)
        assert caught.value.hint
    assert os.listdir(outside) == [b"file"]
    assert everything(target.root) == [target.root + b"/a", target.root + b"/a/self"]


def test_a_snapshot_that_makes_a_link_and_then_a_file_below_it_is_refused(target: TargetTree, outside: bytes) -> None:
    dir_fd = target.open_dir([])
    target.commit(dir_fd, target.create_symlink(dir_fd, outside), b"dir")
    with pytest.raises(TargetError):
        put(target, [b"dir", b"evil"], b"bad")
    assert os.listdir(outside) == [b"file"]


def test_a_directory_that_becomes_a_link_behind_our_back_leads_nowhere(target: TargetTree, outside: bytes) -> None:
    target.open_dir([b"a", b"b"])
    os.rename(target.root + b"/a", target.root + b"/moved")
    os.symlink(outside, target.root + b"/a")
    put(target, [b"a", b"b", b"file"], b"restored")
    assert contents(target.root + b"/moved/b/file") == b"restored"
    assert os.listdir(outside) == [b"file"]


def test_the_target_itself_may_be_a_link(tree: bytes) -> None:
    os.mkdir(tree + b"/real")
    os.symlink(b"real", tree + b"/link")
    with TargetTree(tree + b"/link") as target:
        put(target, [b"file"], b"x")
    assert contents(tree + b"/real/file") == b"x"


def test_a_target_that_is_a_file_is_refused(outside: bytes) -> None:
    with pytest.raises(TargetError, match="outside/file"):
        TargetTree(outside + b"/file")


def test_directories_are_only_made_when_asked_for(target: TargetTree) -> None:
    with pytest.raises(TargetError, match="no such file"):
        target.open_dir([b"a"], create=False)
    made = target.open_dir([b"a"])
    assert stat.S_IMODE(os.fstat(made).st_mode) == 0o700
    assert os.fstat(target.open_dir([b"a"], create=False)).st_ino == os.stat(target.root + b"/a").st_ino


def test_directories_that_are_there_are_used(target: TargetTree) -> None:
    os.makedirs(target.root + b"/a/b")
    os.chmod(target.root + b"/a", 0o751)
    inode = os.fstat(target.open_dir([b"a", b"b"])).st_ino
    assert inode == os.stat(target.root + b"/a/b").st_ino
    assert stat.S_IMODE(os.stat(target.root + b"/a").st_mode) == 0o751


def test_many_directories_need_few_descriptors(target: TargetTree) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(500):
        put(target, [b"%d" % number, b"deep", b"file"], b"x")
    for number in range(0, 500, 7):
        put(target, [b"%d" % number, b"deep", b"second"], b"x")
    assert len(os.listdir("/proc/self/fd")) - before <= 70
    assert len(everything(target.root)) == 500 * 3 + 72


def test_a_path_of_five_thousand_levels_is_made(target: TargetTree) -> None:
    parts = [b"d"] * 5_000
    put(target, [*parts, b"file"], b"x")
    assert os.listdir(target.open_dir(parts)) == ["file"]
    target.close()
    subprocess.run(["rm", "-rf", target.root], check=True)


@pytest.mark.parametrize("content", [b"a", b"/etc/passwd", b"../../x", b"\xff\n", b"x" * 4095])
def test_a_link_is_made_as_it_is_written(target: TargetTree, content: bytes) -> None:
    dir_fd = target.open_dir([b"a"])
    target.commit(dir_fd, target.create_symlink(dir_fd, content), b"link")
    target.commit(dir_fd, target.create_symlink(dir_fd, content), b"link")
    assert os.readlink(target.root + b"/a/link") == content
    assert os.listdir(dir_fd) == ["link"]


def test_what_no_file_system_can_hold_is_damage(target: TargetTree) -> None:
    dir_fd = target.open_dir([])
    for content in (b"", b"a\0b"):
        with pytest.raises(DamageError):
            target.create_symlink(dir_fd, content)
    for rdev in (-1, 1 << 64):
        with pytest.raises(DamageError):
            target.create_node(dir_fd, Kind.BLOCK_DEVICE, rdev)
    assert os.listdir(dir_fd) == []


def test_a_fifo_is_made(target: TargetTree) -> None:
    dir_fd = target.open_dir([])
    target.commit(dir_fd, target.create_node(dir_fd, Kind.FIFO), b"fifo")
    assert stat.S_ISFIFO(os.lstat(target.root + b"/fifo").st_mode)


@needs_root
@pytest.mark.parametrize(
    ("kind", "is_kind"), [(Kind.CHARACTER_DEVICE, stat.S_ISCHR), (Kind.BLOCK_DEVICE, stat.S_ISBLK)]
)
def test_a_device_is_made_with_its_numbers(target: TargetTree, kind: Kind, is_kind: Callable[[int], bool]) -> None:
    dir_fd = target.open_dir([])
    target.commit(dir_fd, target.create_node(dir_fd, kind, os.makedev(1, 300)), b"device")
    found = os.lstat(target.root + b"/device")
    assert is_kind(found.st_mode)
    assert (os.major(found.st_rdev), os.minor(found.st_rdev)) == (1, 300)


def test_who_is_not_root_is_told_that_devices_need_it(
    public_tree: bytes, as_nobody: Callable[[Callable[[], None]], None]
) -> None:
    os.chmod(public_tree, 0o777)

    def action() -> None:
        with TargetTree(public_tree + b"/target") as target, pytest.raises(TargetError, match="not permitted"):
            target.create_node(target.open_dir([]), Kind.BLOCK_DEVICE, os.makedev(1, 1))

    as_nobody(action)


def test_hard_links_join_what_this_restore_made(target: TargetTree) -> None:
    made = put(target, [b"a", b"first"], b"x")
    source = os.dup(target.open_dir([b"a"]))
    dir_fd = target.open_dir([b"b"])
    for _ in range(2):  # the second time the name is there already, as the same file: rename leaves both names then
        target.link(dir_fd, b"second", source, b"first", made)
    assert os.listdir(dir_fd) == ["second"]
    assert os.stat(target.root + b"/b/second").st_ino == made[1]
    os.close(source)


def test_a_hard_link_to_a_link_joins_the_link(target: TargetTree) -> None:
    dir_fd = target.open_dir([])
    target.commit(dir_fd, target.create_symlink(dir_fd, b"nowhere"), b"link")
    made = identity(os.lstat(target.root + b"/link"))
    target.link(dir_fd, b"second", dir_fd, b"link", made)
    assert os.lstat(target.root + b"/second").st_ino == made[1]


@pytest.mark.parametrize("replace", [os.link, os.symlink], ids=["hard", "soft"])
def test_no_hard_link_is_made_to_what_somebody_put_there(
    target: TargetTree, outside: bytes, replace: Callable[[bytes, bytes], None]
) -> None:
    made = put(target, [b"first"], b"x")
    os.unlink(target.root + b"/first")
    replace(outside + b"/file", target.root + b"/first")
    dir_fd = target.open_dir([])
    with pytest.raises(TargetError, match="first"):
        target.link(dir_fd, b"second", dir_fd, b"first", made)
    assert os.listdir(dir_fd) == ["first"]


def test_what_is_discarded_is_gone(target: TargetTree) -> None:
    dir_fd = target.open_dir([])
    fd, temporary = target.create_file(dir_fd)
    os.close(fd)
    target.discard(dir_fd, temporary)
    target.discard(dir_fd, temporary)
    assert os.listdir(dir_fd) == []


@needs_root
def test_a_full_target_says_so(tree: bytes) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=5", "none", os.fsdecode(tree)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("mounting is not allowed: " + done.stderr.decode().strip())
    try:
        with TargetTree(tree) as target, pytest.raises(TargetFull, match="no space left"):
            for number in range(10):
                put(target, [b"%d" % number], b"x")
    finally:
        subprocess.run(["umount", tree], check=True)


def test_closing_twice_is_harmless(target: TargetTree) -> None:
    before = len(os.listdir("/proc/self/fd"))
    target.open_dir([b"a"])
    target.close()
    target.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1
