"""Running other people's programs: bounded, in a group of their own, and silent unless something is wrong."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from vaultpy.source import programs
from vaultpy.source.programs import Program, ProgramFailed, run_program

ENVIRONMENT = {"PATH": os.defpath, "GREETING": "hello"}


def read_all(program: Program) -> bytes:
    found, buffer = [], bytearray(1 << 16)
    while count := program.read(memoryview(buffer)):
        found.append(bytes(buffer[:count]))
    return b"".join(found)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_in(path: Path) -> int:
    for _ in range(500):
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError("the program never began")


def wait_until_gone(pid: int) -> bool:
    for _ in range(500):
        if not is_alive(pid):
            return True
        time.sleep(0.01)
    return False


def test_a_program_that_succeeds_says_nothing() -> None:
    run_program(["sh", "-c", "echo noise; echo more >&2"], ENVIRONMENT, 10)


def test_the_exit_code_and_the_last_that_was_said_are_told() -> None:
    with pytest.raises(ProgramFailed) as caught:
        run_program(["sh", "-c", "seq 10000; echo the end >&2; exit 7"], ENVIRONMENT, 10)
    assert caught.value.message.startswith("sh: exit code 7: ") and caught.value.message.endswith("10000\nthe end")
    assert len(caught.value.message) < programs.TAIL_BYTES + 50


def test_a_signal_that_ended_it_is_named() -> None:
    with pytest.raises(ProgramFailed, match=r"^sh: ended by SIGKILL$"):
        run_program(["sh", "-c", "kill -9 $$"], ENVIRONMENT, 10)


@pytest.mark.parametrize(
    ("words", "says"), [(["/nonexistent"], "no such file"), (["/etc/passwd"], "permission denied"), (["a\0b"], "null")]
)
def test_one_that_cannot_be_started_is_told(words: list[str], says: str) -> None:
    with pytest.raises(ProgramFailed, match=f"cannot be run: .*{says}"):
        run_program(words, ENVIRONMENT, 10)


def test_it_has_the_environment_that_was_given_and_no_other_and_no_input() -> None:
    with Program(["sh", "-c", "cat; echo $GREETING; env"], ENVIRONMENT, 10, keep_output=True) as program:
        said = read_all(program).decode().splitlines()
        program.finish()
    assert said[0] == "hello"
    assert {line.partition("=")[0] for line in said[1:]} <= {*ENVIRONMENT, "PWD", "OLDPWD", "SHLVL", "_"}


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 5_000_000])
def test_its_output_is_read_whole(size: int) -> None:
    with Program(["head", "-c", str(size), "/dev/zero"], ENVIRONMENT, 10, keep_output=True) as program:
        assert read_all(program) == bytes(size)
        program.finish()


def test_complaints_without_end_block_nothing_and_are_kept_at_their_end() -> None:
    script = (
        "i=0; while [ $i -lt 20 ]; do head -c 100000 /dev/zero | tr '\\0' x >&2; i=$((i+1)); done; echo out; exit 1"
    )
    with (
        pytest.raises(ProgramFailed, match=r"exit code 1: x{4096}$"),
        Program(["sh", "-c", script], ENVIRONMENT, 30, keep_output=True) as program,
    ):
        assert read_all(program) == b"out\n"
        program.finish()


def test_one_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"sleep 1000 & echo $! > {child}; echo so far; wait"
    with pytest.raises(ProgramFailed, match=r"^sh: not done after 1 s: so far$"):
        run_program(["sh", "-c", script], ENVIRONMENT, 1)
    assert wait_until_gone(pid_in(child))


def test_one_that_ignores_being_asked_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "GRACE_SECONDS", 0.1)
    own = tmp_path / "own"
    with pytest.raises(ProgramFailed, match="not done"):
        run_program(["sh", "-c", f"trap '' TERM; echo $$ > {own}; while :; do sleep 1; done"], ENVIRONMENT, 1)
    assert not is_alive(pid_in(own))


def test_one_that_can_end_in_peace_does() -> None:
    with pytest.raises(ProgramFailed, match=r"not done after 1 s: begun$"):
        run_program(["sh", "-c", "trap 'exit 0' TERM; echo begun; while :; do sleep 0.05; done"], ENVIRONMENT, 1)


def test_output_that_stops_flowing_ends_with_the_time(tmp_path: Path) -> None:
    own = tmp_path / "own"
    script = f"echo $$ > {own}; echo begun; exec sleep 1000"
    with (
        pytest.raises(ProgramFailed, match="not done after 1 s"),
        Program(["sh", "-c", script], ENVIRONMENT, 1, keep_output=True) as program,
    ):
        read_all(program)
    assert not is_alive(pid_in(own))


def test_one_that_closes_its_output_and_goes_on_is_waited_for() -> None:
    script = "import os, sys, time; os.close(1); os.close(2); time.sleep(0.5); sys.exit(3)"
    with (
        pytest.raises(ProgramFailed, match="exit code 3"),
        Program([sys.executable, "-c", script], ENVIRONMENT, 10, keep_output=True) as program,
    ):
        assert read_all(program) == b""
        program.finish()


def test_what_a_hook_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    """As a hook that starts a daemon does, which keeps the hook's output open."""
    child = tmp_path / "child"
    run_program(["sh", "-c", f"sleep 1000 & echo $! > {child}"], ENVIRONMENT, 5)
    pid = pid_in(child)
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_leaving_early_ends_it(tmp_path: Path) -> None:
    own = tmp_path / "own"
    with (
        pytest.raises(KeyboardInterrupt),
        Program(["sh", "-c", f"echo $$ > {own}; exec sleep 1000"], ENVIRONMENT, 100, keep_output=True),
    ):
        pid_in(own)
        raise KeyboardInterrupt
    assert not is_alive(pid_in(own))


def test_one_that_cannot_be_killed_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits for a network file system whose server is gone."""
    monkeypatch.setattr(programs, "GRACE_SECONDS", 0.1)
    program = Program(["sleep", "1000"], ENVIRONMENT, 1, keep_output=False)
    with monkeypatch.context() as patch, pytest.raises(ProgramFailed, match=r"^sleep: not done after 1 s$"), program:
        patch.setattr(programs.os, "killpg", lambda *_: None)
        program.finish()
    assert program._process.poll() is None
    program._process.kill()
    program._process.wait()
