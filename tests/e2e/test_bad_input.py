"""What is wrong is one line that names the thing, and one that says how to mend it; the exit code tells, and nothing half
done is left visible."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Host, Ran, describe, make_host, objects

from vaultpy.age import X25519Identity


def told(ran: Ran, code: int, *words: str) -> None:
    """The command failed as it should: exit code, one line that names the thing, at most one of advice."""
    assert ran.code == code, ran
    lines = ran.err.splitlines()
    assert lines and lines[0].startswith("vaultpy: "), ran
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("  ")), ran
    assert "Traceback" not in ran.err and "internal error" not in ran.err and ran.out == "", ran
    for word in words:
        assert word in ran.err, (word, ran)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(3):
        (tree / f"file{number}").write_bytes(os.urandom(400_000))
    return tree


@pytest.fixture
def fresh(tmp_path: Path) -> Host:
    """A machine on which nothing was set up yet."""
    return make_host(tmp_path / "fresh", (tmp_path / "store").as_uri())


def nothing_was_made(host: Host) -> None:
    assert [path for path in host.home.rglob("*") if path.is_file()] == []


def test_a_wrong_identity_is_exit_12(tmp_path: Path, host: Host, tree: Path) -> None:
    host.create(tree)
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(X25519Identity.generate(os.urandom).to_text() + "\n")
    target = tmp_path / "back"
    restore = ("snapshot", "restore", "latest", target, "--store", host.store)
    told(host.run(*restore, "--identity", wrong), 12, "identit", "--identity")
    told(host.run(*restore), 12, "identity", "--identity")
    assert not target.exists() or list(target.iterdir()) == []


def test_an_identity_file_that_is_none_is_exit_2(tmp_path: Path, host: Host, tree: Path) -> None:
    host.create(tree)
    restore = ("snapshot", "restore", "latest", tmp_path / "back", "--store", host.store, "--identity")
    told(host.run(*restore, tmp_path / "missing"), 2, str(tmp_path / "missing"))
    (tmp_path / "nonsense").write_text("nonsense\n")
    told(host.run(*restore, tmp_path / "nonsense"), 2, "identit")


def test_a_store_of_a_newer_format_is_refused_by_name(tmp_path: Path, host: Host, tree: Path) -> None:
    settings = tmp_path / "store" / "vaultpy.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"format": 2}))
    before = objects(tmp_path / "store")
    for command in (
        ("snapshot", "create", "--path", tree, "--name", "home"),
        ("snapshot", "list", "--store", host.store),
        ("snapshot", "restore", "latest", tmp_path / "back", "--store", host.store, "--identity", host.identity),
    ):
        told(host.run(*command), 1, "format", "newer")
    assert objects(tmp_path / "store") == before


def test_no_store_there_is_exit_10(tmp_path: Path, host: Host, tree: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("empty", "missing"):
        told(host.run("snapshot", "list", "--store", (tmp_path / place).as_uri()), 10, str(tmp_path / place))
    shutil.rmtree(tmp_path / "store")
    told(host.run("snapshot", "create", "--path", tree, "--name", "home"), 10, str(tmp_path / "store"))
    assert not (tmp_path / "store").exists(), "a disk that is not mounted is not filled"


def test_another_store_than_the_configurations_is_refused(tmp_path: Path, host: Host, tree: Path) -> None:
    other = make_host(tmp_path / "other", (tmp_path / "elsewhere").as_uri())
    other.init()
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    told(host.run("snapshot", "create", "--path", tree, "--name", "home"), 2, "store_id")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("store = ", "strore = 1\nstore = ", ("strore", "store")),
        ("store_id = ", "#store_id = ", ("store_id",)),
        ("#uploads = 2", 'uploads = "many"', ("uploads",)),
        ("#uploads = 2", "uploads = = 2", ("config.toml",)),
        ("#[sources.home]", "[sources.home]\nexclud = []", ("exclud",)),
    ],
)
def test_an_unknown_or_wrong_setting_is_named(host: Host, before: str, after: str, words: tuple[str, ...]) -> None:
    text = host.config.read_text()
    assert before in text
    host.config.write_text(text.replace(before, after, 1))
    told(host.run("snapshot", "create"), 2, *words)


def test_a_recipient_that_does_not_parse_leaves_nothing_and_init_can_be_tried_again(
    tmp_path: Path, fresh: Host
) -> None:
    for wrong in ("age1nonsense", "ssh-ed25519 AAAA", "nobody"):
        told(fresh.run("init", "--store", fresh.store, "--recipient", wrong), 2, "recipient")
    nothing_was_made(fresh)
    assert not (tmp_path / "store").exists()
    fresh.init()


@pytest.mark.parametrize(
    "url", ["file://relative/path", "ftp://somewhere", "s3://", "s3://bucket?colour=red", "folder"]
)
def test_a_store_url_that_says_nothing_is_refused(fresh: Host, url: str) -> None:
    told(fresh.run("init", "--store", url, "--new-identity", fresh.identity), 2, "store")
    nothing_was_made(fresh)


def test_init_does_not_touch_what_is_there(tmp_path: Path, host: Host, fresh: Host) -> None:
    before = {path: path.read_bytes() for path in (host.config, host.identity)}
    told(host.run("init", "--store", host.store, "--new-identity", tmp_path / "new.txt"), 2, str(host.config))
    told(fresh.run("init", "--store", fresh.store, "--new-identity", host.identity), 2, str(host.identity))
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "new.txt").exists()
    nothing_was_made(fresh)


def test_a_missing_source_path_is_exit_1_and_makes_no_snapshot(tmp_path: Path, host: Host) -> None:
    missing = tmp_path / "missing"
    ran = host.run("snapshot", "create", "--path", missing, "--name", "home")
    assert ran.code == 1 and str(missing) in ran.err and "no such file" in ran.err
    assert not list((tmp_path / "store").rglob("manifest*"))


def test_a_missing_path_beside_another_is_exit_3(tmp_path: Path, host: Host, tree: Path) -> None:
    made = host.create(tree, tmp_path / "missing", code=3)
    assert [(one["path"], one["kind"]) for one in made["problems"]] == [(str(tmp_path / "missing"), "missing")]


IMPATIENT = """
import sys
from vaultpy.store import retry
retry.Retrier.__init__.__defaults__ = (retry.Patience(before_answer=0.3),)
from vaultpy.cli.main import main
sys.exit(main())
"""


def test_an_s3_endpoint_that_cannot_be_reached_is_named_and_nothing_is_made(fresh: Host) -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": "a" * 20,
        "AWS_SECRET_ACCESS_KEY": "b" * 40,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-c", IMPATIENT, "init", "--store", "s3://bucket?endpoint=http://127.0.0.1:1"]
    command += ["--new-identity", str(fresh.identity)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=fresh.environ() | environment, cwd=fresh.home
    )
    told(Ran(done.returncode, done.stdout, done.stderr), 1, "bucket", "cannot be reached", "endpoint")
    nothing_was_made(fresh)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that holds 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def remount(disk: Path, *options: str) -> None:
    subprocess.run(["mount", "-o", ",".join(("remount", *options)), disk], check=True)


def test_a_full_disk_under_the_store_is_said_and_the_next_run_goes_on(
    tmp_path: Path, small_disk: Path, tree: Path
) -> None:
    host = make_host(tmp_path / "host", (small_disk / "store").as_uri())
    host.init()
    told(host.run("snapshot", "create", "--path", tree, "--name", "home"), 1, "no space left")
    assert not list((small_disk / "store").rglob("manifest.json.zst"))
    remount(small_disk, "size=10m")
    host.create(tree)
    host.restore(tmp_path / "back")
    assert describe(tmp_path / "back" / tree.relative_to("/")) == describe(tree)


def test_a_full_disk_under_the_index_is_said_and_the_next_run_goes_on(
    tmp_path: Path, small_disk: Path, tree: Path
) -> None:
    host = make_host(tmp_path / "host", (tmp_path / "store").as_uri(), {"XDG_STATE_HOME": str(small_disk / "state")})
    host.init()
    for number in range(3000):
        (tree / f"another file with a name that takes some room {number}").write_bytes(b"%d" % number)
    ran = host.run("snapshot", "create", "--path", tree, "--name", "home")
    told(ran, 1, str(small_disk), "make room")
    assert not list((tmp_path / "store").rglob("manifest.json.zst"))
    remount(small_disk, "size=50m")
    host.create(tree)
    host.restore(tmp_path / "back")
    assert describe(tmp_path / "back" / tree.relative_to("/")) == describe(tree)


def test_a_full_disk_during_init_leaves_no_configuration_and_init_can_be_tried_again(
    tmp_path: Path, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(fd, bytes(4096)):
            pass
    os.close(fd)
    host = make_host(tmp_path / "host", (tmp_path / "store").as_uri(), {"XDG_STATE_HOME": str(small_disk / "state")})
    ran = host.run("init", "--store", host.store, "--new-identity", host.identity)
    assert ran.code in (1, 2), ran
    told(ran, ran.code, "state")
    assert not host.config.exists()
    filler.unlink()
    identity = host.home / "second.txt"
    host.must("init", "--store", host.store, "--new-identity", identity)


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path, small_disk: Path, tree: Path) -> None:
    host = make_host(tmp_path / "host", (tmp_path / "store").as_uri(), {"XDG_STATE_HOME": str(small_disk / "state")})
    host.init()
    host.create(tree)
    remount(small_disk, "ro")
    ran = host.run("snapshot", "create", "--path", tree, "--name", "home")
    told(ran, ran.code, str(small_disk))
    assert ran.code in (1, 2)
    remount(small_disk, "rw")
    host.create(tree)


def test_a_state_folder_that_cannot_be_made_is_named_and_leaves_no_configuration(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_bytes(b"")
    host = make_host(tmp_path / "host", (tmp_path / "store").as_uri(), {"XDG_STATE_HOME": str(blocked)})
    told(host.run("init", "--store", host.store, "--new-identity", host.identity), 2, str(blocked), "state")
    assert not host.config.exists()


def test_what_a_store_holds_of_an_enemys_cannot_print_to_the_terminal(tmp_path: Path, host: Host) -> None:
    name = tmp_path / "tree" / "\x1b[31mred\u202e"
    name.mkdir(parents=True)
    ran = host.run("snapshot", "create", "--path", name.parent, "--path", f"{name}-missing", "--name", "home")
    assert ran.code == 3
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", ran.out + ran.err), ran
