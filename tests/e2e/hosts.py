"""The installed program, run as on machines of their own; and comparing trees without any of its code."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("vaultpy")


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Host:
    """A machine that has a home of its own, and nothing in it."""

    home: Path
    store: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Path:
        return self.home / "identity.txt"

    @property
    def config(self) -> Path:
        return self.home / ".config" / "vaultpy" / "config.toml"

    @property
    def state(self) -> Path:
        [folder] = (self.home / "state" / "vaultpy").iterdir()
        return folder

    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "VAULTPY_"))}
        own = {"HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state"), "PYTHONDONTWRITEBYTECODE": "1"}
        return kept | own | self.environment

    def run(self, *arguments: str | Path, program: tuple[str, ...] = ()) -> Ran:
        """One command, whatever comes of it."""
        command = [*program, str(PROGRAM), *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, env=self.environ(), cwd=self.home)
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def must(self, *arguments: str | Path, code: int = 0) -> Ran:
        """One command that has to end like that."""
        ran = self.run(*arguments)
        assert ran.code == code, f"{arguments}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def init(self) -> None:
        self.must("init", "--store", self.store, "--new-identity", self.identity)

    def create(self, *paths: Path, name: str = "home", code: int = 0) -> Any:
        """A snapshot of some paths; what the command says about it."""
        given = [word for path in paths for word in ("--path", path)]
        [made] = self.must("--json", "snapshot", "create", *given, "--name", name, code=code).json
        return made

    def restore(self, target: Path, *arguments: str | Path, code: int = 0) -> Ran:
        """As on a machine with nothing but the store's URL and the identity."""
        elsewhere = Host(self.home / f"elsewhere-{target.name}", self.store, self.environment)
        elsewhere.home.mkdir()
        ran = elsewhere.must(
            "snapshot", "restore", "latest", target, *arguments, "--store", self.store, "--identity", self.identity,
            code=code,
        )  # fmt: skip
        assert [one.name for one in elsewhere.home.iterdir()] == [], "a restore leaves nothing behind"
        return ran


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is: its URL, and what reaching it needs in the environment."""

    url: str
    environment: dict[str, str]


MakePlace = Callable[[str], Place]


def make_host(folder: Path, store: str, environment: dict[str, str] | None = None) -> Host:
    folder.mkdir(parents=True, exist_ok=True)
    return Host(folder, store, environment or {})


def objects(folder: Path) -> dict[str, int]:
    """Name and size of every object of a store, or bucket, that is a folder."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and ".vaultpy-tmp" not in path.parts
    }


def weight(folder: Path) -> int:
    return sum(objects(folder).values())


def walk(top: Path) -> list[bytes]:
    """Every path below a folder, itself among them, relative to it; no name needs to be text."""
    found, waiting = [b"."], [os.fsencode(top)]
    while waiting:
        folder = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                found.append(os.path.relpath(entry.path, os.fsencode(top)))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return sorted(found)


def describe(top: Path, unprivileged: bool = True) -> dict[bytes, tuple[object, ...]]:
    """All that a backup has to bring back, by path.  `unprivileged`: without setuid and setgid of files."""
    found: dict[bytes, tuple[object, ...]] = {}
    groups: dict[tuple[int, int], list[bytes]] = defaultdict(list)
    for path in walk(top):
        full = os.path.join(os.fsencode(top), path)
        status = os.lstat(full)
        mode = status.st_mode
        if unprivileged and not stat.S_ISDIR(mode):
            mode &= ~(stat.S_ISUID | stat.S_ISGID)
        if status.st_nlink > 1 and not stat.S_ISDIR(mode):
            groups[status.st_dev, status.st_ino].append(path)
        found[path] = (mode, status.st_uid, status.st_gid, status.st_mtime_ns, _xattrs(full), _content(full, status))
    for paths in groups.values():
        for path in paths:
            found[path] = (*found[path], tuple(paths))
    return found


def _xattrs(path: bytes) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _content(path: bytes, status: os.stat_result) -> object:
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return status.st_rdev
    return None


def rsync_differences(one: Path, other: Path, *options: str) -> str | None:
    """What rsync would change to make the second what the first is; None where there is no rsync."""
    rsync = shutil.which("rsync")
    if rsync is None:
        return None
    command = [rsync, "-aHAXnci", "--modify-window=-1", "--delete", *options, f"{one}/", f"{other}/"]
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="backslashreplace").stdout
