"""Every choice that a restore offers, by the command line; and what a target does not take is told once a kind."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import pytest
from hosts import PROGRAM, Host


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    (made / "folder").mkdir(parents=True)
    (made / "one").write_bytes(b"one")
    (made / "folder" / "two").write_bytes(b"\x00two\xff")
    os.utime(made / "one", ns=(10**18, 10**18))
    return made


def back_of(target: Path, tree: Path) -> Path:
    return target / tree.relative_to("/")


def give_back(host: Host, target: Path, *arguments: str | Path) -> str:
    """Restore; what was said about it."""
    ran = host.must("snapshot", "restore", "latest", target, *arguments, "--identity", host.identity)
    return ran.out + ran.err


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("never", {"older": b"own", "newer": b"own", "alike": b"own"}),
        ("if-newer", {"older": b"old", "newer": b"own", "alike": b"own"}),
        ("if-changed", {"older": b"old", "newer": b"old", "alike": b"own"}),
        ("always", {"older": b"old", "newer": b"old", "alike": b"old"}),
    ],
)
def test_what_is_there_is_dealt_with_as_asked(
    tmp_path: Path, host: Host, policy: str, expected: dict[str, bytes]
) -> None:
    """Files of the same size: an older one, a newer one, and one with the same time and another content."""
    tree, target = tmp_path / "tree", tmp_path / "back"
    tree.mkdir()
    for name in expected:
        (tree / name).write_bytes(b"old")
        os.utime(tree / name, ns=(0, 10**18))
    host.create(tree)
    give_back(host, target)
    for name, when in (("older", 10**17), ("newer", 2 * 10**18), ("alike", 10**18)):
        (back_of(target, tree) / name).write_bytes(b"own")
        os.utime(back_of(target, tree) / name, ns=(0, when))
    give_back(host, target, "--overwrite", policy)
    assert {path.name: path.read_bytes() for path in back_of(target, tree).iterdir()} == expected


def test_what_should_not_be_there_goes_when_asked_for_and_a_dry_run_says_so(
    tmp_path: Path, host: Host, tree: Path
) -> None:
    target = tmp_path / "back"
    host.create(tree)
    give_back(host, target)
    extra = back_of(target, tree) / "folder" / "extra"
    extra.write_bytes(b"x")
    (back_of(target, tree) / "one").unlink()
    said = give_back(host, target, "--delete", "--dry-run")
    assert f"would be deleted: {extra.relative_to(target)}" in said.replace(f"{target}/", "").replace(": /", ": ")
    assert "1 to make" in said and "1 deleted" in said
    assert extra.exists() and not (back_of(target, tree) / "one").exists()
    give_back(host, target)
    assert extra.exists()
    give_back(host, target, "--delete")
    assert not extra.exists() and (back_of(target, tree) / "one").read_bytes() == b"one"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_whose_the_files_shall_be_is_asked(tmp_path: Path, host: Host, tree: Path) -> None:
    os.chown(tree / "one", 54321, 12345)
    os.chown(tree / "folder" / "two", 65534, 65534)
    host.create(tree)
    for policy, expected in (("number", (54321, 12345)), ("name", (54321, 12345)), ("none", (0, 0))):
        give_back(host, tmp_path / policy, "--owner", policy)
        found = (back_of(tmp_path / policy, tree) / "one").stat()
        assert (found.st_uid, found.st_gid) == expected, policy


def test_extended_attributes_are_chosen_by_their_names(tmp_path: Path, host: Host, tree: Path) -> None:
    try:
        for name in ("user.a", "user.ab", "user.b"):
            os.setxattr(tree / "one", name, b"1")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error.strerror}")
    host.create(tree)
    for number, (arguments, expected) in enumerate(
        (
            ([], ["user.a", "user.ab", "user.b"]),
            (["--xattr", "user.a*"], ["user.a", "user.ab"]),
            (["--no-xattr", "user.a"], ["user.ab", "user.b"]),
            (["--xattr", "user.a*", "--no-xattr", "*b"], ["user.a"]),
        )
    ):
        target = tmp_path / f"back{number}"
        give_back(host, target, *arguments)
        assert sorted(os.listxattr(back_of(target, tree) / "one")) == expected


def test_zeros_become_holes_and_everything_is_read_back(tmp_path: Path, host: Host, tree: Path) -> None:
    (tree / "zeros").write_bytes(bytes(1 << 20) + b"end")
    host.create(tree)
    give_back(host, tmp_path / "full")
    give_back(host, tmp_path / "sparse", "--sparse", "--verify")
    full, sparse = (back_of(tmp_path / name, tree) / "zeros" for name in ("full", "sparse"))
    assert full.read_bytes() == sparse.read_bytes() == (tree / "zeros").read_bytes()
    assert full.stat().st_blocks * 512 >= 1 << 20 and sparse.stat().st_blocks * 512 < 64 * 1024


def test_a_snapshot_or_a_part_of_it_is_written_as_a_stream(host: Host, tree: Path) -> None:
    host.create(tree)

    def stream(*arguments: str | Path) -> bytes:
        command = [PROGRAM, *map(str, arguments), "--identity", host.identity]
        return subprocess.run(command, check=True, capture_output=True, env=host.environ()).stdout

    with tarfile.open(fileobj=BytesIO(stream("snapshot", "restore", "latest", "--to-tar", "-"))) as archive:
        assert str(tree / "one")[1:] in archive.getnames() and str(tree / "folder/two")[1:] in archive.getnames()
    with tarfile.open(
        fileobj=BytesIO(stream("snapshot", "restore", "latest", "--to-tar", "-", tree / "folder"))
    ) as archive:
        assert [name for name in archive.getnames() if archive.getmember(name).isfile()] == [
            str(tree / "folder/two")[1:]
        ]
    assert stream("snapshot", "cat", "latest", tree / "folder" / "two") == b"\x00two\xff"


def test_an_archive_is_its_owners_alone_and_whole_or_not_there(host: Host, tree: Path, tmp_path: Path) -> None:
    """It holds what was not everybody's to read; and half of one would pass for a whole."""
    (tree / "large").write_bytes(os.urandom(200_000))
    host.create(tree)
    made = tmp_path / "made.tar"
    into = ("snapshot", "restore", "latest", "--identity", host.identity, "--to-tar", made)
    cut = host.run(*into, program=("prlimit", "--fsize=100000"))
    assert cut.code == 4
    assert cut.err == f"vaultpy: archive {made}: file too large\n"
    assert not made.exists()
    host.must(*into)
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    before = made.read_bytes()
    again = host.must(*into, code=4)
    assert again.err == f"vaultpy: archive {made} exists\n  name a file that does not, or remove it\n"
    assert made.read_bytes() == before


AS_NOBODY = """
import os, sys
from vaultpy.cli.main import main

def restore(home, target):
    os.environ["HOME"], os.environ["XDG_STATE_HOME"] = home, f"{home}/state"
    store, identity = sys.argv[1], sys.argv[2]
    return main(["snapshot", "restore", "latest", target, "--privileged", "--store", store, "--identity", identity])

warm, home = sys.argv[3:]
assert restore(warm, f"{warm}/back") == 0  # all that is imported lazily is imported now
sys.stderr.flush()
os.setgroups([]), os.setgid(65534), os.setuid(65534)
print("CUT", file=sys.stderr)
sys.exit(restore(home, f"{home}/back"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_the_target_does_not_take_is_told_once_a_kind_and_stops_nothing(host: Host, tree: Path) -> None:
    """To somebody who is not root: owners, setuid, attributes of the system's namespaces, devices."""
    for number in range(20):
        path = tree / f"file{number}"
        path.write_bytes(b"%d" % number)
        path.chmod(0o4755)
        os.chown(path, 1234, 4321)
        os.setxattr(path, "trusted.note", b"x")
        path.chmod(0o4755)
    os.mknod(tree / "device", 0o20600, os.makedev(1, 3))
    host.create(tree)
    with tempfile.TemporaryDirectory() as open_to_all:
        folder = Path(open_to_all)
        folder.chmod(0o755)
        shutil.copytree(host.store.removeprefix("file://"), folder / "store")
        shutil.copy(host.identity, folder / "identity.txt")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        home = folder / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)
        command = [
            sys.executable,
            "-c",
            AS_NOBODY,
            f"file://{folder}/store",
            folder / "identity.txt",
            folder / "warm",
            home,
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=host.environ())
        said = done.stderr.partition("CUT\n")[2]
        back = back_of(home / "back", tree)
        assert {path.name: path.read_bytes() for path in back.glob("file*")} == {
            f"file{number}": b"%d" % number for number in range(20)
        }
    lines = [line for line in said.splitlines() if "could not be given back" in line]
    assert {line.split(": ")[-2].split()[-1]: line.split(" to ")[-1] for line in lines}.keys() >= {
        "owner", "privilege", "xattr",
    }, said  # fmt: skip
    assert len(lines) == len(set(lines)) <= 6, said
