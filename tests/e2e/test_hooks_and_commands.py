"""Hooks and commands by the installed program: what cron mails, and what a signal in their middle leaves."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from hosts import PROGRAM, Host


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    made.mkdir()
    (made / "file").write_text("content\n")
    return made


def configure(host: Host, text: str) -> None:
    with host.config.open("a") as file:
        file.write(text)


def hook(kind: str, script: str, more: str = "") -> str:
    return f"[sources.home.{kind}]\nrun = ['sh', '-c', '''{script}''']\n{more}\n"


def has_a_line(path: Path) -> bool:
    return path.exists() and path.read_text().endswith("\n")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(path: Path) -> None:
    for _ in range(1500):
        if has_a_line(path):
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} never came")


def test_cron_mails_what_a_hook_wrote_only_when_it_failed(host: Host, tree: Path, tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"
    configure(
        host,
        f"[sources.home]\npaths = ['{tree}']\n"
        + hook("before", "echo noise; echo more noise >&2")
        + hook("after", f"echo after; test ! -e {trouble}"),
    )
    ran = host.must("snapshot", "create", "--cron")
    assert (ran.out, ran.err) == ("", "")
    trouble.touch()
    ran = host.must("snapshot", "create", "--cron", code=3)
    assert ran.err == "vaultpy: hook after: failed: sh: exit code 1: after\n"


def test_a_hook_that_must_succeed_and_does_not_is_one_line(host: Host, tree: Path) -> None:
    configure(host, f"[sources.home]\npaths = ['{tree}']\n" + hook("before", "echo no such volume >&2; exit 5"))
    ran = host.must("snapshot", "create", "--cron", code=1)
    assert ran.err == "vaultpy: warning: source home: hook before: sh: exit code 5: no such volume\n"


def test_hooks_know_the_environment_and_what_happened(host: Host, tree: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    configure(
        host,
        f"[sources.home]\npaths = ['{tree}']\n"
        + hook("after", f'echo "$HOME $VAULTPY_SOURCE $VAULTPY_STATUS $VAULTPY_SNAPSHOT" > {said}'),
    )
    [made] = host.must("--json", "snapshot", "create").json
    assert said.read_text() == f"{host.home} home complete {made['snapshot']}\n"


@pytest.mark.parametrize(
    ("number", "code", "says"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_during_a_hook_ends_it_and_runs_the_last_ones(
    number: signal.Signals, code: int, says: str, host: Host, tree: Path, tmp_path: Path
) -> None:
    began, ended = tmp_path / "began", tmp_path / "ended"
    configure(
        host,
        f"[sources.home]\npaths = ['{tree}']\n"
        + hook("before", f"echo $$ > {began}; exec sleep 1000")
        + hook("after", f'echo "$VAULTPY_HOOK $VAULTPY_STATUS" >> {ended}')
        + hook("on_failure", f'echo "$VAULTPY_HOOK $VAULTPY_ERROR" >> {ended}'),
    )
    process = subprocess.Popen(
        [PROGRAM, "snapshot", "create"], env=host.environ(), stderr=subprocess.PIPE, start_new_session=True
    )
    wait_for(began)
    process.send_signal(number)
    assert process.communicate(timeout=60)[1].splitlines()[0] == f"vaultpy: {says}".encode()
    assert process.returncode == code
    assert not is_alive(int(began.read_text()))
    assert ended.read_text() == f"after failed\non_failure {says}\n"
