"""What a file is, read: owners by name, and extended attributes."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from vaultpy.source.attrs import OwnerNames, read_xattrs


def test_names_of_owners_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = OwnerNames()
    assert names.user(0) == b"root"
    assert names.user_id(b"root") == 0
    root_group = grp.getgrgid(0).gr_name.encode()
    assert (names.group(0), names.group_id(root_group)) == (root_group, 0)
    monkeypatch.delattr(pwd, "getpwuid")
    assert names.user(0) == b"root"


def test_unknown_owners_have_no_name() -> None:
    names = OwnerNames()
    assert names.user(3_999_999_999) is None
    assert names.group(3_999_999_999) is None
    assert names.user(1 << 40) is None
    assert names.user_id(b"nobody has this \xff") is None
    assert names.group_id(b"with\0nul") is None


def test_a_file_system_without_xattrs_has_none() -> None:
    with open("/proc/self/status", "rb") as status:
        assert read_xattrs(status.fileno()) == ()


def test_a_descriptor_for_lookups_only_serves_for_reading_xattrs(tree: bytes) -> None:
    os.setxattr(tree, b"user.x", b"1")
    fd = os.open(tree, os.O_PATH)
    assert read_xattrs(fd) == ((b"user.x", b"1"),)
    os.close(fd)
