"""One run beside another, in silence where asked, killed at any system call, and as somebody who is not root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import PROGRAM, Host, describe

HOLD = """
import os, sys, time, pathlib
from vaultpy.lock import hold_lock
with hold_lock(pathlib.Path(sys.argv[1]), "snapshot create", clock=lambda: time.time_ns() - int(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(5):
        (tree / f"file{number}").write_bytes(os.urandom(500_000))
    return tree


@pytest.fixture(params=["a minute", "a day"])
def held(request: pytest.FixtureRequest, host: Host) -> Iterator[tuple[Host, str, int]]:
    """Another process holds the lock, since a minute or for more than a day."""
    since = {"a minute": 60, "a day": 25 * 3600}[request.param] * 10**9
    command = [sys.executable, "-c", HOLD, host.state / "lock", str(since)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield host, request.param, process.pid
        process.send_signal(signal.SIGKILL)


def test_a_second_run_is_exit_11_and_names_the_first_but_cron_hears_of_it_only_after_a_day(
    held: tuple[Host, str, int], tree: Path
) -> None:
    host, since, pid = held
    create = ("snapshot", "create", "--path", tree, "--name", "home")
    ran = host.run(*create)
    assert ran.code == 11 and f"process {pid}" in ran.err
    cron = host.run(*create, "--cron")
    if since == "a minute":
        assert (cron.code, cron.out, cron.err) == (0, "", "")
    else:
        assert cron.code == 11 and f"process {pid}" in cron.err


def test_cron_is_silent_unless_something_is_wrong(tmp_path: Path, host: Host, tree: Path) -> None:
    create = ("snapshot", "create", "--path", tree, "--name", "home", "--cron")
    ran = host.must(*create)
    assert (ran.out, ran.err) == ("", "")
    ran = host.must(*create, "--path", tmp_path / "missing", code=3)
    assert ran.out == "" and str(tmp_path / "missing") in ran.err


@pytest.mark.parametrize("call", ["linkat:when=1", "linkat:when=3", "fdatasync,fsync:when=9"])
def test_a_run_that_is_killed_needs_no_repair(tmp_path: Path, host: Host, tree: Path, call: str) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    host.create(tree)
    (tree / "new").write_bytes(os.urandom(1_000_000))
    (tree / "file0").unlink()
    what, _, when = call.partition(":")
    inject = f"inject={'link,linkat' if what == 'linkat' else what}:signal=SIGKILL:{when}"
    command = (strace, "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", inject)
    killed = host.run("snapshot", "create", "--path", tree, "--name", "home", program=command)
    assert killed.code in (-signal.SIGKILL, 128 + signal.SIGKILL), killed
    host.create(tree)
    host.restore(tmp_path / "back")
    assert describe(tmp_path / "back" / tree.relative_to("/")) == describe(tree)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_told_to_stop_says_so_and_lets_the_next_go_on(
    tmp_path: Path, host: Host, tree: Path, number: signal.Signals, code: int
) -> None:
    for one in range(12):
        (tree / f"more{one}").write_bytes(os.urandom(10_000_000))
    command = [PROGRAM, "snapshot", "create", "--path", tree, "--name", "home"]
    with subprocess.Popen(command, env=host.environ(), stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while (
            not any(one.is_file() for one in (tmp_path / "store").rglob("blobs/*/*/*")) and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert b"Traceback" not in err, err
    assert err.splitlines()[1:] == [b"  what was uploaded is kept: the next run goes on with it"]
    host.create(tree)


AS_NOBODY = """
import os, sys
from vaultpy.cli.main import main

def run(home, tree):
    os.environ["HOME"], os.environ["XDG_STATE_HOME"] = home, f"{home}/state"
    store, identity = f"file://{home}/store", f"{home}/identity.txt"
    yield main(["init", "--store", store, "--new-identity", identity])
    yield main(["snapshot", "create", "--path", tree, "--name", "home"])
    yield main(["snapshot", "restore", "latest", f"{home}/back", "--store", store, "--identity", identity])

warm, home, tree = sys.argv[1:]
assert list(run(warm, warm + "/tree")) == [0, 0, 0]  # all that is imported lazily is imported now
sys.stderr.flush()
os.setgroups([]), os.setgid(65534), os.setuid(65534)
print(list(run(home, tree)))
"""


def test_as_somebody_who_is_not_root_what_cannot_be_read_is_exit_3(tree: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as open_to_all:
        folder = Path(open_to_all)
        folder.chmod(0o755)
        shutil.copytree(tree, folder / "warm" / "tree")
        shutil.copytree(tree, folder / "tree")
        (folder / "tree" / "file0").chmod(0)
        (folder / "tree" / "closed").mkdir(mode=0o700)
        (folder / "tree" / "closed" / "inside").write_bytes(b"inside")
        home = folder / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)
        command = [sys.executable, "-c", AS_NOBODY, str(folder / "warm"), str(home), str(folder / "tree")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "[0, 3, 0]", done
        for path in (folder / "tree" / "file0", folder / "tree" / "closed"):
            assert f"{path}: unreadable: permission denied" in done.stderr
        back = home / "back" / (folder / "tree").relative_to("/")
        assert sorted(path.name for path in back.iterdir()) == ["closed", "file1", "file2", "file3", "file4"]
        assert list((back / "closed").iterdir()) == []
