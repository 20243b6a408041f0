"""A server that never answers, and a person who has seen enough: every long command ends in seconds, and leaves nobody."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import PROGRAM, Host
from s3server import Server

ENOUGH = 20
"""Seconds: far more than the four that tidying up may take, and less than any wait of a store's."""


@pytest.fixture
def black_hole(s3_server: Server) -> Iterator[tuple[str, threading.Event]]:
    """An endpoint that passes everything on to a real server, until the event is set: then nothing comes back."""
    target = s3_server.endpoint.removeprefix("http://").split(":")
    closed = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    done = threading.Event()
    sockets: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                while closed.is_set() and not done.is_set():
                    time.sleep(0.05)
                sink.sendall(data)
        except OSError:
            pass

    def serve() -> None:
        while not done.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            server = socket.create_connection((target[0], int(target[1])))
            sockets.extend((client, server))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", closed
    done.set()
    thread.join()
    for one in (*sockets, listener):
        one.close()


def begin(host: Host, *arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [PROGRAM, *arguments],
        env=host.environ(),
        cwd=host.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes], number: int) -> tuple[float, str]:
    """Send a signal to the whole group, as a terminal does; seconds until the end, and what was said."""
    began = time.monotonic()
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=120)
    return time.monotonic() - began, err.decode()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["create", "verify", "restore", "prune"])
def test_a_store_that_does_not_answer_holds_up_nobody_who_wants_to_stop(
    tmp_path: Path,
    s3_server: Server,
    black_hole: tuple[str, threading.Event],
    command: str,
    number: int,
    code: int,
) -> None:
    endpoint, closed = black_hole
    store = f"s3://{s3_server.make_bucket()}/p?endpoint={endpoint}"
    home = tmp_path / "home"
    home.mkdir()
    host = Host(home, store, s3_server.environment)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(os.urandom(3_000_000))
    host.init()
    host.create(tree)
    (tree / "other").write_bytes(os.urandom(3_000_000))
    arguments = {
        "create": ("snapshot", "create", "--path", tree, "--name", "home"),
        "verify": ("snapshot", "verify", "--blobs"),
        "restore": ("snapshot", "restore", "latest", tmp_path / "back", "--identity", host.identity),
        "prune": ("store", "prune"),
    }[command]
    closed.set()
    process = begin(host, *arguments)
    time.sleep(3)  # until it waits for an answer
    assert process.poll() is None
    seconds, err = stop(process, number)
    assert process.returncode == code, err
    assert seconds < ENOUGH
    assert "Traceback" not in err
    assert err.startswith(f"vaultpy: {'interrupted' if code == 130 else 'terminated'}\n  ")
    assert not group_lives(process.pid)
    closed.clear()
    host.create(tree)


def group_lives(group: int) -> bool:
    """Whether any process of the group is left, a moment later."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("command", ["create", "restore"])
def test_a_terminal_interrupts_every_process_of_a_run_and_none_complains(tmp_path: Path, command: str) -> None:
    """Workers are interrupted with the run that began them; only the run has something to say."""
    home = tmp_path / "home"
    home.mkdir()
    host = Host(home, f"file://{tmp_path}/store")
    host.init()
    tree = tmp_path / "tree"
    for folder in range(40):
        (tree / f"folder{folder}").mkdir(parents=True)
        for number in range(100):
            (tree / f"folder{folder}" / f"file{number}").write_bytes(os.urandom(20_000))
    arguments: tuple[str | Path, ...] = ("snapshot", "create", "--path", tree, "--name", "home")
    if command == "restore":
        host.create(tree)
        arguments = ("snapshot", "restore", "latest", tmp_path / "back", "--identity", host.identity)
    process = begin(host, *arguments)
    time.sleep(1.2)
    if process.poll() is None:
        _, err = stop(process, signal.SIGINT)
        assert process.returncode in (0, 130)
        assert "Traceback" not in err, err
        assert len(err.splitlines()) <= 2, err
    process.communicate()
    assert not group_lives(process.pid)
