"""What went in comes back, on a machine that knows nothing but the store's URL and an identity."""

from __future__ import annotations

import os
import shutil
import stat
import warnings
from pathlib import Path

import pytest
from hosts import Host, MakePlace, describe, make_host, rsync_differences
from odd import make_odd_tree


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    tree = tmp_path / "odd"
    refused = make_odd_tree(tree)
    if refused:
        warnings.warn(pytest.PytestWarning(f"not in the odd tree, as this machine refused it: {refused}"), stacklevel=1)
    return tree


@pytest.mark.filterwarnings("default::pytest.PytestWarning")
@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_tree_of_everything_comes_back_on_another_machine(
    tmp_path: Path, odd: Path, make_place: MakePlace, kind: str
) -> None:
    place = make_place(kind)
    host = make_host(tmp_path / "host", place.url, place.environment)
    host.init()
    made = host.create(odd)
    assert made["problems"] == []
    target = tmp_path / "back"
    host.restore(target, "--privileged")
    back = target / odd.relative_to("/")
    assert describe(back, unprivileged=False) == describe(odd, unprivileged=False)
    if shutil.which("rsync") is None:
        pytest.skip("all but the comparison by rsync, which is not installed")
    assert rsync_differences(odd, back) == ""
    shutil.rmtree(target)


def test_privileges_come_back_only_when_asked_for(tmp_path: Path, host: Host) -> None:
    """A snapshot that somebody else made must not hand out root's rights, nor devices, by being restored."""
    if os.geteuid() != 0:
        pytest.skip("only root can make devices")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "setuid").write_bytes(b"x")
    (tree / "setuid").chmod(0o4755)
    os.mknod(tree / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    host.create(tree)
    ran = host.restore(tmp_path / "back")
    back = tmp_path / "back" / tree.relative_to("/")
    assert (back / "setuid").stat().st_mode & 0o7777 == 0o755
    assert not (back / "device").exists()
    assert "privilege" in ran.err and "--privileged" in ran.err


def test_parts_of_a_tree_come_back(tmp_path: Path, host: Host) -> None:
    tree = tmp_path / "tree"
    for name in ("one/a.txt", "one/b.txt", "one/deep/c.txt", "two/d.txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    host.create(tree)
    for number, (paths, expected) in enumerate(
        (
            ([f"{tree}/one"], {"one/a.txt", "one/b.txt", "one/deep/c.txt"}),
            ([f"{tree}/*/[ad].txt"], {"one/a.txt", "two/d.txt"}),
            ([f"{tree}/two/d.txt", f"{tree}/one/deep"], {"two/d.txt", "one/deep/c.txt"}),
        )
    ):
        target = tmp_path / f"part{number}"
        host.restore(target, *paths)
        back = target / tree.relative_to("/")
        assert {str(one.relative_to(back)) for one in back.rglob("*") if one.is_file()} == expected
        for one in expected:
            assert (back / one).read_text() == one
    assert "nothing of that name" in host.restore(tmp_path / "none", f"{tree}/three", code=2).err
