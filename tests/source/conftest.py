"""Trees to walk, and a way to be somebody who is not root."""

from __future__ import annotations

import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator

import pytest

NOBODY = 65534


@pytest.fixture
def tree(tmp_path: os.PathLike[str]) -> Iterator[bytes]:
    """An empty folder to fill, as a path of bytes."""
    path = os.path.join(os.fsencode(tmp_path), b"tree")
    os.mkdir(path)
    yield path
    subprocess.run(["rm", "-rf", path], check=True)  # pytest's own clean-up recurses, and a tree may be deep


@pytest.fixture
def public_tree() -> Iterator[bytes]:
    """An empty folder that everybody gets to (pytest's own are closed to others), as a path of bytes."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield os.fsencode(path)


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], None]], None]:
    """Runs a function in a child process without root's rights; its failure is the test's."""
    if os.geteuid() != 0:
        return lambda action: action()

    def run(action: Callable[[], None]) -> None:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                action()
                status = 0
            except BaseException:  # noqa: BLE001  (the child must not go on as a second pytest)
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    return run
