"""Every way a run can end: the exit code, one line on standard error, and never a traceback."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Program = Callable[[str], list[str]]


@pytest.fixture
def hearing() -> Iterator[None]:
    """Children hear a hang-up, also where the tests themselves were told not to (nohup)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def ended(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )
    if "VAULTPY_DEBUG" not in environment:
        assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        ("VaultpyError", 1),
        ("UsageError", 2),
        ("ConfigError", 2),
        ("SourceError", 3),
        ("DamageError", 4),
        ("UntrustedSigner", 4),
        ("NoStore", 10),
        ("LockedError", 11),
        ("NoIdentity", 12),
    ],
)
def test_each_failure_is_one_line_its_hint_and_its_exit_code(program: Program, raised: str, code: int) -> None:
    done = ended(program(f"from vaultpy.errors import {raised}\nraise {raised}('thing: broken', hint='mend it')"))
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "vaultpy: thing: broken\n  mend it\n")


def test_what_a_message_quotes_cannot_steer_the_terminal(program: Program) -> None:
    done = ended(program("from vaultpy.errors import StoreError\nraise StoreError('\\x1b[2J\\nname', hint='\\u202eh')"))
    assert done.stderr == "vaultpy: \\x1b[2J\\x0aname\n  \\u202eh\n"


@pytest.mark.parametrize(
    "raised", ["ValueError('odd')", "FileNotFoundError(2, 'No such file')", "RuntimeError('odd')", "RecursionError"]
)
def test_a_mistake_of_ours_is_one_line_and_a_private_report(program: Program, tmp_path: Path, raised: str) -> None:
    done = ended(program(f"secret = 'VALUE'\nraise {raised}"), TMPDIR=str(tmp_path))
    assert done.returncode == 1
    message, advice = done.stderr.splitlines()
    assert message.startswith(f"vaultpy: internal error: {raised.partition('(')[0]}")
    report = Path(advice.rpartition(" ")[2])
    assert report.parent == tmp_path
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert "Traceback" in report.read_text()
    assert "VALUE" not in report.read_text()


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("OSError(28, 'No space left')", "no space left on device"),
        ("OSError(5, 'Input/output error', '/a/module.py')", "/a/module.py: input/output error"),
        ("OSError(24, 'Too many', b'/a\\x1b')", "/a\\x1b: too many open files"),
        ("MemoryError()", "out of memory"),
        ('RuntimeError("can\'t start new thread")', "no thread can be started"),
    ],
)
def test_what_the_machine_fails_at_is_no_mistake_of_ours(
    program: Program, tmp_path: Path, raised: str, said: str
) -> None:
    done = ended(program(f"raise {raised}"), TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"vaultpy: {said}"
    assert not list(tmp_path.glob("vaultpy-report*"))


def test_a_report_that_cannot_be_written_is_said(program: Program, tmp_path: Path) -> None:
    body = "import tempfile\ntempfile.tempdir = '/no/such/folder'\nraise ValueError('odd')"
    done = ended(program(body))
    assert done.returncode == 1
    assert done.stderr.startswith("vaultpy: internal error: ValueError: odd\n  no report could be written")


def test_debug_shows_the_traceback_and_writes_no_report(program: Program, tmp_path: Path) -> None:
    done = ended(program("raise ValueError('odd')"), VAULTPY_DEBUG="1", TMPDIR=str(tmp_path))
    assert "Traceback" in done.stderr
    assert not list(tmp_path.glob("vaultpy-report*"))


def test_a_thread_that_dies_shows_no_traceback(program: Program, tmp_path: Path) -> None:
    body = "thread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()\nreturn 5"
    done = ended(program(body), TMPDIR=str(tmp_path))
    assert done.returncode == 5
    assert done.stderr.startswith("vaultpy: internal error: ZeroDivisionError")


@pytest.mark.usefixtures("hearing")
@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGHUP, 129, "hung up"), (signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_the_run_cleanly(program: Program, number: signal.Signals, code: int, says: str) -> None:
    body = "try:\n    print('ready', flush=True)\n    time.sleep(60)\nfinally:\n    print('tidied')"
    with subprocess.Popen(
        program(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        out, err = running.communicate(timeout=30)
    assert running.returncode == code
    assert out == "tidied\n"
    assert err.strip() == f"vaultpy: {says}"


def test_a_second_sigterm_ends_the_clean_up_at_once(program: Program) -> None:
    body = """
try:
    print('ready', flush=True)
    time.sleep(60)
finally:
    print('tidying', flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(program(body), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        for line in ("ready\n", "tidying\n"):
            assert running.stdout.readline() == line
            running.terminate()
        assert running.wait(30) == 143


@pytest.mark.usefixtures("hearing")
def test_a_terminal_that_hangs_up_twice_does_not_end_the_clean_up(program: Program) -> None:
    """The shell says it to its jobs, and then the kernel to whoever is in the foreground."""
    body = """
try:
    print('ready', flush=True)
    time.sleep(60)
finally:
    print('tidying', flush=True)
    time.sleep(0.5)
    print('tidied', flush=True)
"""
    with subprocess.Popen(program(body), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        for line in ("ready\n", "tidying\n"):
            assert running.stdout.readline() == line
            running.send_signal(signal.SIGHUP)
        assert running.stdout.readline() == "tidied\n"
        assert running.wait(30) == 129


def test_a_hang_up_that_is_ignored_stays_ignored(program: Program) -> None:
    """As nohup has it."""
    command = ["nohup", *program("print('ready', flush=True)\nsys.stdin.read()\nprint('done')")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGHUP)
        out, _ = running.communicate(timeout=30)
    assert (running.returncode, out) == (0, "done\n")


NOISY = """
import os
from vaultpy.cli.output import Mode, Output
from vaultpy.events import Noticed, StepAdvanced, StepBegan
output = Output(Mode(), sys.stdout, sys.stderr)
with output.following() as on_event:
    on_event(StepBegan('step'))
    os.write(1, b'ready\\n')  # past the bar, which takes over standard output
    sys.stdin.read()
    for number in range(200):
        on_event(StepAdvanced(number, number))
        on_event(Noticed(f'note {number}'))
        time.sleep(0.005)
print('went on')
"""


def test_a_terminal_that_is_gone_ends_no_run(program: Program, tmp_path: Path) -> None:
    """The bar and the messages go nowhere, and no report is written of it."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        program(NOISY),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm"},
    ) as running:
        os.close(theirs)
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        os.close(ours)
        out, _ = running.communicate(timeout=60)
    assert (running.returncode, out) == (0, "went on\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gone", ["/dev/full", "pipe"])
def test_a_standard_error_that_takes_nothing_ends_no_run(program: Program, gone: str) -> None:
    if gone == "pipe":
        reads, writes = os.pipe()
        os.close(reads)
    else:
        writes = os.open(gone, os.O_WRONLY)
    done = subprocess.run(program(NOISY), input="", stdout=subprocess.PIPE, stderr=writes, text=True, check=False)
    os.close(writes)
    assert (done.returncode, done.stdout) == (0, "ready\nwent on\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_stream_that_was_closed_from_the_start_ends_no_run(
    program: Program, tmp_path: Path, closed: str
) -> None:
    """Nor does what is said go into a file that was opened meanwhile, and got the number of the stream."""
    body = f"""
kept = open({str(tmp_path / "kept")!r}, "w")
for number in range(9):
    print("said"); print("told", file=sys.stderr, flush=True)
kept.write("whole"); kept.close()
if sys.stdin.isatty() or sys.stdin.read():
    return 9
from vaultpy.errors import DamageError
raise DamageError("thing: broken")"""
    command = ["sh", "-c", f'exec "$@" {closed}', "_", *program(body)]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert done.stdout == ("" if ">&-" in closed.split() else "said\n" * 9)
    assert done.stderr == ("" if "2>&-" in closed else "told\n" * 9 + "vaultpy: thing: broken\n")
    assert (tmp_path / "kept").read_text() == "whole"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_cannot_tidy_up_within_seconds_is_cut_off(
    program: Program, number: signal.Signals, code: int
) -> None:
    """A thread that waits for a server, say; Python itself would wait for it, too."""
    body = """
thread = threading.Thread(target=time.sleep, args=(120,))
thread.start()
print('ready', flush=True)
thread.join()
"""
    with subprocess.Popen(program(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        _, err = running.communicate(timeout=60)
    assert running.returncode == code
    assert "Traceback" not in err


def test_a_run_with_hooks_is_given_the_time_that_tidying_up_takes(program: Program) -> None:
    body = """
from vaultpy.cli.stopping import SECONDS, tidy_patiently
tidy_patiently()
try:
    print('ready', flush=True)
    time.sleep(60)
finally:
    time.sleep(SECONDS + 1)
    print('tidied')
"""
    with subprocess.Popen(program(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        out, _ = running.communicate(timeout=60)
    assert (running.returncode, out) == (143, "tidied\n")


def test_a_library_that_catches_every_exception_does_not_swallow_a_signal(program: Program) -> None:
    """botocore makes of whatever is raised in a request a fault, and that would be tried again."""
    body = """
print('ready', flush=True)
for _ in range(60):
    try:
        time.sleep(1)
    except Exception:
        pass
"""
    with subprocess.Popen(program(body), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "ready\n"
        running.terminate()
        assert running.wait(30) == 143


def test_a_broken_pipe_while_writing_is_silent(program: Program) -> None:
    body = "for _ in range(100000):\n    print('x' * 100)\nreturn 0"
    with subprocess.Popen(program(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 1


def test_a_full_disk_behind_standard_output_is_named(home: Path) -> None:
    config = home / "config.toml"
    config.write_text(
        'keeper = true\nstore = "file:///s"\nstore_id = "0192e4a1-7c5b-7d10-9c3e-5f1a2b3c4d5e"\nstate = "/s"\n'
    )
    code = "import sys; from vaultpy.cli.main import main; sys.exit(main())"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "config", "show", "--config", str(config)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "vaultpy: standard output: no space left on device\n")


@pytest.mark.parametrize("how", [("cat", "latest", "tree/file"), ("restore", "latest", "--to-tar", "-")])
def test_a_full_disk_behind_a_stream_of_bytes_is_named(vaultpy: Any, home: Path, how: tuple[str, ...]) -> None:
    (home / "tree").mkdir()
    (home / "tree" / "file").write_bytes(bytes(100_000))
    identity = home / "identity.txt"
    assert vaultpy("init", "--store", (home / "store").as_uri(), "--new-identity", identity).code == 0
    assert vaultpy("snapshot", "create", "--path", home / "tree", "--name", "tree").code == 0
    code = "import sys; from vaultpy.cli.main import main; sys.exit(main())"
    words = [str(home / word) if "/" in word else word for word in how]
    command = [sys.executable, "-c", code, "snapshot", *words, "--identity", str(identity)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "vaultpy: standard output: no space left on device\n")


def test_usage_errors_exit_2_and_name_the_help(vaultpy: Any) -> None:
    for arguments, says, command in [
        ((), "missing command", "vaultpy"),
        (("snapshots",), "no such command 'snapshots'", "vaultpy"),
        (("snapshot", "lst"), "no such command 'lst'", "vaultpy snapshot"),
        (("snapshot", "ls"), "missing argument 'SNAPSHOT'", "vaultpy snapshot ls"),
        (("snapshot", "list", "--max-age", "5m"), "duration '5m': not a duration", "vaultpy snapshot list"),
        (("snapshot", "list", "--bogus"), "no such option", "vaultpy snapshot list"),
    ]:
        ran = vaultpy(*arguments)
        assert ran.code == 2
        assert re.fullmatch(rf"vaultpy: .*{re.escape(says)}.*\n  try `{command} --help`\n", ran.err)
