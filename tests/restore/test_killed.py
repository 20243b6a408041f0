"""A restore killed at any moment leaves no half file under its name, and the next one ends as if nothing had been."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from machine import look

from vaultpy.ops.reading.catalog import read_catalog
from vaultpy.ops.reading.reader import open_reader
from vaultpy.ops.restoring.restore import RestoreOptions
from vaultpy.ops.restoring.restore import restore as restore_snapshot
from vaultpy.store.counting import CountingStore

START = f"import sys; sys.path[:] = {sys.path!r}; from vaultpy.cli.main import main; sys.exit(main())"


class Home:
    """A host with a store on disk, used by its command line."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tree, self.store = folder, folder / "tree", folder / "store"
        places = {"HOME": folder, "XDG_CONFIG_HOME": folder / "c", "XDG_STATE_HOME": folder / "s"}
        self.environment = {**os.environ, **{name: str(path) for name, path in places.items()}}

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-c", START, *map(str, arguments)]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *arguments: str | Path) -> bytes:
        process = self.start(*arguments)
        out, err = process.communicate()
        assert process.returncode == 0, err
        return out


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("killed"))
    for number in range(4_500):  # enough for processes that write
        path = made.tree / f"folder{number % 40}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d " % number * (number % 97 + 1))
    for number in range(24):
        (made.tree / f"middling{number}").write_bytes(os.urandom(500_000))
    (made.tree / "large0").write_bytes(os.urandom(6 << 20))
    os.link(made.tree / "large0", made.tree / "folder0/second name")
    made.run("init", "--store", f"file://{made.store}", "--new-identity", made.folder / "id", "--quiet")
    made.run("snapshot", "create", "--path", made.tree, "--name", "home", "--quiet")
    return made


def restore(home: Home, target: Path) -> list[str | Path]:
    return ["snapshot", "restore", "latest", target, "--identity", home.folder / "id", "--quiet"]


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.long)])
def test_a_restore_killed_at_random_moments_ends_identical(home: Home, tmp_path: Path, kills: int) -> None:
    whole = look(home.tree)
    began = time.monotonic()
    home.run(*restore(home, tmp_path / "timed"))
    took = time.monotonic() - began
    shutil.rmtree(tmp_path / "timed")
    moments = random.Random(kills)
    target, back = tmp_path / "target", tmp_path / "target" / home.tree.relative_to("/")
    for left in reversed(range(kills)):
        process = home.start(*restore(home, target))
        time.sleep(moments.uniform(0.2, 1.0) * took)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        check_whole(back, whole)
        if moments.random() < 0.3 and left > 2:
            shutil.rmtree(target, ignore_errors=True)
    there = present(back)
    fetched_again = fetched(home, target)
    assert look(back) == whole
    all_of_it = fetched(home, tmp_path / "new")
    sys.stdout.write(f"\n{there} bytes were there, {fetched_again} of {all_of_it} were fetched\n")  # shown with -s
    # Chance cannot be squeezed: of what was there, five hundredths may come again at most.
    assert fetched_again <= all_of_it - 0.95 * there
    assert (back / "large0").stat().st_ino == (back / "folder0/second name").stat().st_ino


def present(back: Path) -> int:
    """Bytes of chance that are there under their names."""
    return sum(path.stat().st_size for path in back.glob("[lm]*"))


def fetched(home: Home, target: Path) -> int:
    """Bytes of blobs that a restore fetches, as it goes on to its end."""
    with open_reader(f"file://{home.store}", identity_files=[home.folder / "id"]) as reader:
        store = CountingStore(reader.at.store)
        entry = read_catalog(reader).entries[-1]
        reader = replace(reader, at=replace(reader.at, store=store))
        back = restore_snapshot(reader, entry, os.fsencode(target), RestoreOptions(processes=0), lambda event: None)
        assert back.failed == ()
        return store.count("get").bytes


def check_whole(back: Path, whole: dict[str, tuple[object, ...]]) -> None:
    """Whatever has a name of the snapshot's is what the snapshot has, all of it."""
    for path in back.rglob("*") if back.exists() else ():
        if not path.is_dir() and not path.name.startswith(".vaultpy-"):
            assert path.read_bytes() == whole[str(path.relative_to(back))][4], path
