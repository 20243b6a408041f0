"""A tree with everything that a file can be comes back, by the word of rsync, getfattr, lsattr, stat and du."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import Host
from odd import make_odd_tree

PROGRAMS = ("rsync", "getfattr", "setfattr", "setfacl", "setcap", "lsattr", "chattr", "du", "find")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make all of it"),
    pytest.mark.skipif(
        any(shutil.which(name) is None for name in PROGRAMS),
        reason=f"not installed: {', '.join(name for name in PROGRAMS if shutil.which(name) is None)}",
    ),
]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True)
    return done.stdout.decode("utf-8", "surrogateescape")


def make_everything(top: Path) -> None:
    """The odd tree, and with it ACLs, attributes of every namespace, flags, holes, and links to what is no file."""
    make_odd_tree(top)
    more = top / "more"
    more.mkdir()
    for name in ("acl", "capable", "trusted", "append only", "immutable", "nodump", "noatime", "sync"):
        (more / name).write_bytes(name.encode())
    for name in ("acl folder", "immutable folder", "nodump folder"):
        (more / name).mkdir()
        (more / name / "inside").write_bytes(b"x")
    run("setfacl", "-m", "u:1234:rwx,g:4321:r--,m::rw-", "acl", cwd=more)
    run("setfacl", "-m", "u:1234:rwx", "-m", "d:u:1234:r-x,d:g::---", "acl folder", cwd=more)
    run("setcap", "cap_net_raw+ep", "capable", cwd=more)
    run("setfattr", "-n", "trusted.note", "-v", "0x00ff00", "trusted", cwd=more)
    run("setfattr", "-h", "-n", "trusted.on-a-link", "-v", "x", "dangling", cwd=top)
    run("setfattr", "-n", "user.large", "-v", "0x" + "ab" * 3000, "acl", cwd=more)
    links(more)
    sparse(more)
    flags(more)


def links(more: Path) -> None:
    (more / "link").symlink_to("nowhere")
    os.mkfifo(more / "fifo")
    os.mknod(more / "device", stat.S_IFCHR | 0o640, os.makedev(1, 5))
    os.mknod(more / "disk", stat.S_IFBLK | 0o600, os.makedev(300, 70_000))
    for name in ("link", "fifo", "device"):
        os.link(more / name, more / f"second {name}", follow_symlinks=False)


def sparse(more: Path) -> None:
    for name, size, places in (
        ("only a hole", 3_000_001, ()),
        ("hole in front", 9_000_000, (8_000_000,)),
        ("holes between", 200_000_000, (0, 4096, 100_000_000, 199_999_000)),
        ("a small hole", 12_288, (0, 8192)),
    ):
        with (more / name).open("wb") as file:
            file.truncate(size)
            for place in places:
                file.seek(place)
                file.write(os.urandom(1000))


FLAGS = {
    "a": ("append only",),
    "i": ("immutable", "immutable folder"),
    "d": ("nodump", "nodump folder"),
    "A": ("noatime",),
    "S": ("sync",),
}


def flags(more: Path) -> None:
    for letter, names in FLAGS.items():
        if subprocess.run(["chattr", f"+{letter}", *names], cwd=more, capture_output=True).returncode:
            pytest.skip(f"no file flags here: chattr +{letter} failed")


@pytest.fixture
def everything(tmp_path: Path) -> Iterator[Path]:
    try:
        make_everything(tmp_path / "everything")
        yield tmp_path / "everything"
    finally:  # or nobody can take it away
        subprocess.run(["chattr", "-R", "-f", "-ia", tmp_path], capture_output=True, check=False)


def by_rsync(tree: Path, back: Path) -> str:
    """What rsync would do to make them alike."""
    return run("rsync", "-aHAXSnci", "--modify-window=-1", "--delete", f"{tree}/", f"{back}/", cwd=tree)


WITNESSES: dict[str, Callable[[Path], str]] = {
    "getfattr": lambda top: run("getfattr", "-R", "-h", "-d", "-m-", "-e", "hex", ".", cwd=top),
    "lsattr": lambda top: "".join(sorted(run("lsattr", "-aR", ".", cwd=top).splitlines(keepends=True))),
    "stat": lambda top: run("sh", "-c", f"find . -print0 | sort -z | xargs -0 stat -c '{STAT}'", cwd=top),
    "stat of sizes": lambda top: run(
        "sh", "-c", "find . ! -type d -print0 | sort -z | xargs -0 stat -c '%N %s %h'", cwd=top
    ),
    "du": lambda top: run("sh", "-c", "find more -type f -print0 | sort -z | xargs -0 du --block-size=1", cwd=top),
}
"""What each says of a tree; alike of like trees."""

STAT = "%N %F %a %u %g %y %t:%T"


def test_everything_comes_back_by_the_word_of_others(tmp_path: Path, everything: Path, host: Host) -> None:
    made = host.create(everything)
    assert made["problems"] == []
    host.restore(tmp_path / "back", "--privileged")
    back = tmp_path / "back" / everything.relative_to("/")
    assert by_rsync(everything, back) == ""
    for name, witness in WITNESSES.items():
        assert witness(back) == witness(everything), name


def test_the_witnesses_see_every_difference(tmp_path: Path, everything: Path) -> None:
    copy = tmp_path / "copy"
    run("cp", "-a", "--sparse=never", everything, copy, cwd=tmp_path)
    said = {name: witness(copy) == witness(everything) for name, witness in WITNESSES.items()}
    assert said == {"getfattr": True, "lsattr": False, "stat": True, "stat of sizes": True, "du": False}
    run("setfattr", "-x", "trusted.note", "more/trusted", cwd=copy)
    os.utime(copy / "more" / "acl", ns=(0, 1))
    (copy / "more" / "second fifo").unlink()
    os.mkfifo(copy / "more" / "second fifo")
    assert by_rsync(everything, copy) != ""
    for name in ("getfattr", "stat", "stat of sizes"):
        assert WITNESSES[name](copy) != WITNESSES[name](everything), name


def test_nothing_of_it_is_read_again_by_the_next_run(everything: Path, host: Host) -> None:
    host.create(everything)
    made = host.create(everything)
    assert (made["new_bytes"], made["problems"]) == (0, [])
