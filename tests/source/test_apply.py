"""What a file is, given back: faithfully, never through a link, and telling what could not be done."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from vaultpy.errors import VanishedError
from vaultpy.source.apply import (
    ApplyOptions,
    FileMetadata,
    NotApplied,
    OwnerPolicy,
    apply_metadata,
    apply_metadata_at,
)
from vaultpy.source.attrs import OwnerNames, read_xattrs, read_xattrs_at

OLD, FAR = -1_000_000_001, 10_000_000_000 * 1_000_000_000 + 123_456_789
PLAIN = FileMetadata(mode=0o640, uid=os.getuid(), gid=os.getgid(), mtime=1_234_567_890_123_456_789)
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # version 2, effective, CAP_NET_BIND_SERVICE

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, devices and capabilities")


def apply(path: bytes, wanted: FileMetadata, options: ApplyOptions | None = None) -> list[NotApplied]:
    fd = os.open(path, os.O_RDONLY)
    try:
        return apply_metadata(fd, wanted, options or ApplyOptions(), OwnerNames())
    finally:
        os.close(fd)


def apply_at(path: bytes, wanted: FileMetadata, options: ApplyOptions | None = None) -> list[NotApplied]:
    dir_fd = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        return apply_metadata_at(dir_fd, os.path.basename(path), wanted, options or ApplyOptions(), OwnerNames())
    finally:
        os.close(dir_fd)


@pytest.fixture
def file(tree: bytes) -> bytes:
    with open(tree + b"/file", "wb"):
        pass
    return tree + b"/file"


@pytest.mark.parametrize("mtime", [PLAIN.mtime, 0, OLD, FAR, 999_999_999, -1])
def test_mode_and_times_come_back_to_the_nanosecond(file: bytes, mtime: int) -> None:
    assert apply(file, replace(PLAIN, mtime=mtime, atime=42)) == []
    found = os.stat(file)
    assert (found.st_mtime_ns, found.st_atime_ns, stat.S_IMODE(found.st_mode)) == (mtime, 42, 0o640)


def test_a_time_that_the_system_cannot_hold_is_told(file: bytes) -> None:
    assert apply(file, replace(PLAIN, mtime=1 << 100)) == [NotApplied.TIMES]


def test_a_directory_keeps_its_setgid_and_sticky_bits(tree: bytes) -> None:
    assert apply(tree, replace(PLAIN, mode=0o3750)) == []
    assert stat.S_IMODE(os.stat(tree).st_mode) == 0o3750


XATTRS = ((b"user.a", b""), (b"user.b", bytes(range(256))), (b"user.c\xff", b"x" * 1000))


def test_xattrs_come_back(file: bytes) -> None:
    assert apply(file, replace(PLAIN, xattrs=XATTRS, mode=0o400)) == []
    fd = os.open(file, os.O_RDONLY)
    assert read_xattrs(fd) == XATTRS
    os.close(fd)


def test_xattrs_that_are_not_wanted_stay_away(file: bytes) -> None:
    assert apply(file, replace(PLAIN, xattrs=XATTRS), ApplyOptions(xattrs=False)) == []
    assert os.listxattr(file) == []


def test_an_owner_who_is_not_root_gets_xattrs_on_read_only_files_too(
    public_tree: bytes, as_nobody: Callable[[Callable[[], None]], None]
) -> None:
    os.chmod(public_tree, 0o777)

    def action() -> None:
        path = public_tree + b"/mine"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        wanted = replace(PLAIN, xattrs=XATTRS, mode=0o444, uid=os.getuid(), gid=os.getgid())
        assert apply(path, wanted) == []
        assert len(os.listxattr(path)) == 3

    as_nobody(action)


def test_an_xattr_of_no_namespace_is_told_and_the_rest_applied(file: bytes) -> None:
    wanted = replace(PLAIN, xattrs=((b"nonsense", b""), (b"user.n\0l", b""), (b"user.x", b"1")))
    assert apply(file, wanted) == [NotApplied.XATTR]
    assert os.listxattr(file) == ["user.x"]
    assert os.stat(file).st_mtime_ns == PLAIN.mtime


@pytest.mark.skipif(shutil.which("setfacl") is None, reason="setfacl is not there")
def test_acls_come_back_with_the_mode(file: bytes, tree: bytes) -> None:
    subprocess.run(["setfacl", "-m", "u:1234:rwx,m::rx", file], check=True)
    fd = os.open(file, os.O_RDONLY)
    xattrs, mode = read_xattrs(fd), stat.S_IMODE(os.fstat(fd).st_mode)
    os.close(fd)
    with open(tree + b"/copy", "wb"):
        pass
    assert apply(tree + b"/copy", replace(PLAIN, xattrs=xattrs, mode=mode)) == []
    assert os.getxattr(tree + b"/copy", "system.posix_acl_access") == os.getxattr(file, "system.posix_acl_access")
    assert stat.S_IMODE(os.stat(tree + b"/copy").st_mode) == mode


@needs_root
def test_a_link_has_attributes_of_its_own(tree: bytes, file: bytes) -> None:
    os.setxattr(file, b"user.x", b"the file's")
    before = os.stat(file)
    os.symlink(b"file", tree + b"/link")
    wanted = FileMetadata(mode=0o777, uid=12, gid=34, mtime=OLD, xattrs=((b"trusted.y", b"the link's"),))
    assert apply_at(tree + b"/link", wanted) == []
    found, after = os.lstat(tree + b"/link"), os.stat(file)
    assert (found.st_uid, found.st_gid, found.st_mtime_ns) == (12, 34, OLD)
    assert (after.st_ctime_ns, after.st_uid, after.st_mtime_ns) == (before.st_ctime_ns, 0, before.st_mtime_ns)
    dir_fd = os.open(tree, os.O_RDONLY)
    assert read_xattrs_at(dir_fd, b"link") == ((b"trusted.y", b"the link's"),)
    assert read_xattrs_at(dir_fd, b"file") == ((b"user.x", b"the file's"),)
    os.close(dir_fd)


def test_a_fifo_gets_its_mode_without_being_opened(tree: bytes) -> None:
    os.mkfifo(tree + b"/fifo", 0o600)
    assert apply_at(tree + b"/fifo", replace(PLAIN, mode=0o622)) == []
    found = os.lstat(tree + b"/fifo")
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o622, PLAIN.mtime)


def test_what_is_gone_is_said_to_be_gone(tree: bytes) -> None:
    with pytest.raises(VanishedError):
        apply_at(tree + b"/gone", PLAIN)


@needs_root
@pytest.mark.parametrize(
    ("policy", "expected"),
    [(OwnerPolicy.NAME, (0, 7)), (OwnerPolicy.NUMBER, (5, 7)), (OwnerPolicy.NONE, (0, 0))],
)
def test_owners_go_by_name_number_or_not_at_all(file: bytes, policy: OwnerPolicy, expected: tuple[int, int]) -> None:
    wanted = replace(PLAIN, uid=5, gid=7, user=b"root", group=b"no such group here")
    assert apply(file, wanted, ApplyOptions(owner=policy)) == []
    assert (os.stat(file).st_uid, os.stat(file).st_gid) == expected


@needs_root
def test_setuid_comes_back_only_when_asked_for(file: bytes) -> None:
    wanted = replace(PLAIN, mode=0o6755, uid=12, gid=34)
    assert apply(file, wanted) == [NotApplied.PRIVILEGE]
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o755
    assert apply(file, wanted, ApplyOptions(privileges=True)) == []
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o6755
    assert (os.stat(file).st_uid, os.stat(file).st_gid) == (12, 34)


@needs_root
def test_setuid_of_another_owner_never_becomes_ours(file: bytes) -> None:
    wanted = replace(PLAIN, mode=0o4755, uid=12)
    assert apply(file, wanted, ApplyOptions(privileges=True, owner=OwnerPolicy.NONE)) == [NotApplied.PRIVILEGE]
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o755


@needs_root
@pytest.mark.parametrize("owner", [-1, 0xFFFFFFFF, -2, 1 << 40])
def test_an_owner_that_nobody_can_be_gives_no_rights(file: bytes, owner: int) -> None:
    for wanted in (replace(PLAIN, mode=0o4755, uid=owner), replace(PLAIN, mode=0o4755, gid=owner)):
        missed = apply(file, wanted, ApplyOptions(privileges=True))
        assert missed == [NotApplied.OWNER, NotApplied.PRIVILEGE]
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o755


@needs_root
def test_capabilities_come_back_only_when_asked_for(file: bytes) -> None:
    wanted = replace(PLAIN, mode=0o755, uid=12, xattrs=((b"security.capability", CAPABILITY),))
    assert apply(file, wanted) == [NotApplied.PRIVILEGE]
    assert os.listxattr(file) == []
    assert apply(file, wanted, ApplyOptions(privileges=True)) == []
    assert os.getxattr(file, "security.capability") == CAPABILITY


def test_who_is_not_root_is_told_what_was_left(
    public_tree: bytes, as_nobody: Callable[[Callable[[], None]], None]
) -> None:
    os.chmod(public_tree, 0o777)

    def action() -> None:
        path = public_tree + b"/mine"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        wanted = replace(PLAIN, mode=0o4755, uid=0, gid=0, xattrs=((b"trusted.x", b""), (b"user.x", b"")))
        missed = apply(path, wanted, ApplyOptions(privileges=True))
        assert set(missed) == {NotApplied.OWNER, NotApplied.PRIVILEGE, NotApplied.XATTR}
        found = os.stat(path)
        assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o755, PLAIN.mtime)

    as_nobody(action)
