"""A vault small enough to be tried thousands of times: a folder with a store, a host, and trees to back up.

Every command is the program itself (`vaultpy.cli.main.main`) in a forked child, whose code, output and use of memory are
kept; a child may be armed before it begins: to die, to fail, to be watched.  All of it lies at one place, because an index
knows its source by its path: `freeze` copies what can change (store, state, configuration), `thaw` brings it back.  Half
of the source is stable, the other half is one of several kept moments.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recoverer import DIRECTORY, FILE, SYMLINK, Thing, Tree

import vaultpy

ORPHANS_END = 10.0
"""Seconds within which a worker process notices that whom it worked for has died."""

_PR_SET_CHILD_SUBREAPER = 36

Arm = Callable[[], Callable[[], None] | None]
"""Called in the child before the program begins; what it returns is called when that has ended, if it gets there."""

OnFork = Callable[[int], None]
"""Called with a child's process id as soon as there is one."""

SOURCE = "quillfeather"
"""A source name that is found nowhere by chance: I13 looks for it in what anybody can read."""

DEAD = -int(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Ran:
    """One command: its exit code (negative: the signal that ended it), what it said, seconds, KiB of memory at
    most, beyond those of whoever forked it, how many of its processes outlived it, and `work`: seconds of processors'
    time, that of its processes with it, which a busy machine makes no longer."""

    argv: tuple[str, ...]
    code: int
    out: str = field(repr=False)
    err: str = field(repr=False)
    seconds: float = 0.0
    memory: int = 0
    orphans: int = 0
    work: float = 0.0

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A copy of what commands can change."""

    folder: Path


class SmallVault:
    """One host, one store in a folder, one source.  `folder` must not exist; it is for this vault alone."""

    def __init__(self, folder: Path, *, store_url: str | None = None, grace: str = "24h") -> None:
        self.folder = folder
        self.store = folder / "store"
        self.home = folder / "home"
        self.config = self.home / "config.toml"
        self.identity = folder / "identity.txt"
        self.tree = folder / "marmalade"
        self.outside = folder / "outside"
        self.target = folder / "target"
        self.trees: dict[str, Tree] = {}
        self.environment: dict[str, str] = {}
        self.arm: Arm | None = None  # for every command that `run` runs
        self._url = store_url or f"file://{self.store}"
        self._grace = grace
        self._frozen = 0
        self._moment: str | None = None
        self._moving = self.tree / "moving"
        for made in (folder, self.home, self.outside, folder / "tmp", folder / "moments", self.tree / "stable"):
            made.mkdir(parents=True)
        fill(self.tree / "stable", seed=0)
        (self.outside / "canary").write_bytes(b"nobody may touch this")

    @property
    def state(self) -> Path:
        [folder] = (self.home / "state" / "vaultpy").iterdir()
        return folder

    @property
    def index(self) -> Path:
        return self.state / "index.sqlite"

    @property
    def signer(self) -> str:
        [line] = [one for one in self.identity.read_text().splitlines() if one.startswith("# signer: ")]
        return line.removeprefix("# signer: ")

    def init(self, blob_size: str = "256KiB") -> None:
        """The store, the host, the identity; blobs as small as they may be, so that there are several."""
        self.must("init", "--store", self._url, "--new-identity", str(self.identity), "--grace", self._grace)
        self._configure(blob_size)

    def join(self, other: SmallVault, blob_size: str = "256KiB") -> str:
        """Another host over another vault's store, for the same identity; returns its signer."""
        self.store, self._url = other.store, other._url
        made = self.must("--json", "init", "--store", self._url, "--recipient", other.recipient).json
        shutil.copy2(other.identity, self.identity)
        self._configure(blob_size)
        return str(made["signer"])

    @property
    def recipient(self) -> str:
        [line] = [one for one in self.identity.read_text().splitlines() if "public key" in one]
        return line.split()[-1]

    def _configure(self, blob_size: str) -> None:
        text = f'blob_size = "{blob_size}"\n' + self.config.read_text()
        source = f'\n[sources.{SOURCE}]\npaths = ["{self.tree}"]\n'
        self.config.write_text(text + source)

    def put_tree(self, moment: str) -> None:
        """Let the source be as it was at a moment: what moves comes and goes by a rename, so its inodes stay."""
        if moment != self._moment:
            if self._moment is not None:
                self._moving.rename(self.folder / "moments" / self._moment)
            (self.folder / "moments" / moment).rename(self._moving)
            self._moment = moment
            os.utime(self.tree, ns=(0, 1_700_000_000_000_000_001))

    def keep_tree(self, moment: str, *, of: str | None = None) -> Path:
        """A new moment: a copy of another one, or empty; returns what moves of it, to be filled or changed."""
        place = self.folder / "moments" / moment
        if of is None:
            place.mkdir()
        else:
            self.put_tree(of)
            shutil.copytree(self._moving, place, symlinks=True)
        return place

    def look_at_tree(self, moment: str) -> Tree:
        """Remember what a moment's tree holds, under the paths that it has as a source."""
        self.put_tree(moment)
        self.trees[moment] = look(self.tree)
        return self.trees[moment]

    def run(self, *argv: str, arm: Arm | None = None, on_fork: OnFork | None = None, config: Path | None = None) -> Ran:
        """One command in a child of its own; with this host's configuration, unless another is named."""
        words = ("--config", str(config or self.config), *argv)
        return run_forked(words, self._environ(), self.folder / "tmp", both(self.arm, arm), on_fork)

    def must(self, *argv: str, code: int = 0) -> Ran:
        ran = self.run(*argv)
        assert ran.code == code, f"{argv}: exit {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def create(self, *more: str, arm: Arm | None = None) -> Ran:
        return self.run("--json", "snapshot", "create", *more, arm=arm)

    def restore(self, snapshot: str, target: Path, *more: str, arm: Arm | None = None) -> Ran:
        """As on another machine: with the store's URL and the identity alone."""
        words = ("--json", "snapshot", "restore", snapshot, str(target), "--store", self._url)
        argv = (*words, "--identity", str(self.identity), *more)
        return run_forked(argv, self._environ(), self.folder / "tmp", arm)

    def age(self, seconds: float) -> None:
        """Let time pass for the store: its objects, and what it left unfinished, become older."""
        for path in self.store.rglob("*"):
            if not path.is_dir():
                status = path.stat()
                back = int(seconds * 1e9)
                os.utime(path, ns=(status.st_atime_ns - back, status.st_mtime_ns - back))

    def freeze(self) -> Frozen:
        self._frozen += 1
        kept = self.folder / f"frozen-{self._frozen}"
        kept.mkdir()
        for name in ("home", "store"):
            if (self.folder / name).exists():
                shutil.copytree(self.folder / name, kept / name, symlinks=True)
        return Frozen(kept)

    def thaw(self, frozen: Frozen) -> None:
        for name in ("home", "store", "target", "tmp"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            if (frozen.folder / name).exists():
                shutil.copytree(frozen.folder / name, self.folder / name, symlinks=True)
        (self.folder / "tmp").mkdir(exist_ok=True)

    def objects(self) -> dict[str, Path]:
        """What a listing of the store shows."""
        found = (path for path in self.store.rglob("*") if path.is_file() and ".vaultpy-tmp" not in path.parts)
        return {str(path.relative_to(self.store)): path for path in found}

    def secrets(self) -> list[bytes]:
        """What nobody may find in clear objects or messages."""
        own = json.loads(next(self.state.glob("host.json")).read_text())
        identity = [one for one in self.identity.read_text().splitlines() if one.startswith("AGE-SECRET-KEY")]
        public = [one.split()[-1] for one in self.identity.read_text().splitlines() if "public key" in one]
        return [one.encode() for one in (*identity, *public, own["index_key"], own["signing_key"].split("\n")[-3])]

    def names(self) -> list[bytes]:
        """Names and paths that only encrypted objects may hold."""
        long_enough = [os.uname().nodename.encode()] if len(os.uname().nodename) > 6 else []  # `vm` is found everywhere
        return [SOURCE.encode(), os.fsencode(self.tree), b"marmalade", *long_enough]

    def _environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "VAULTPY_", "AWS_"))}
        own = {"HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state"), "TMPDIR": str(self.folder / "tmp")}
        return kept | own | self.environment


def run_forked(
    argv: tuple[str, ...],
    environment: dict[str, str],
    folder: Path,
    arm: Arm | None = None,
    on_fork: OnFork | None = None,
) -> Ran:
    """The program in a forked child, its standard output and error in files of `folder`."""
    out, err = folder / f"out-{os.getpid()}", folder / f"err-{os.getpid()}"
    for path in (out, err):
        path.write_bytes(b"")  # a child that dies at once says nothing
    began, ours = time.monotonic(), resident()
    pid = os.fork()
    if pid == 0:
        _be_program(argv, environment, out, err, arm)
    if on_fork is not None:
        on_fork(pid)
    _, status, usage = os.wait4(pid, 0)
    left = _orphans_left(ORPHANS_END)
    ran = Ran(
        argv,
        os.waitstatus_to_exitcode(status),
        out.read_text(errors="replace"),
        err.read_text(errors="replace"),
        time.monotonic() - began,
        max(usage.ru_maxrss - ours, 0),
        left,
        usage.ru_utime + usage.ru_stime,
    )
    out.unlink()
    err.unlink()
    return ran


def adopt_orphans() -> None:
    """Become the parent of processes whose own has died, so that none outlives its command unseen."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _orphans_left(seconds: float) -> int:
    """How many adopted processes are still there after so long; they are ended."""
    until = time.monotonic() + seconds
    while (orphans := _adopted()) and time.monotonic() < until:
        time.sleep(0.01)
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return len(orphans)


def _adopted() -> list[int]:
    """Children that run worker processes of vaultpy's: those whose program was handed over by `-c`."""
    found = []
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        with contextlib.suppress(OSError):
            if b"\0-c\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
            elif Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
    return found


def resident() -> int:
    """KiB of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def both(first: Arm | None, second: Arm | None) -> Arm:
    """Arms a child by one after the other."""

    def arm() -> Callable[[], None]:
        finishes = [one() for one in (first, second) if one is not None]
        return lambda: [finish() for finish in finishes if finish is not None] and None

    return arm


def _be_program(argv: tuple[str, ...], environment: dict[str, str], out: Path, err: Path, arm: Arm | None) -> None:
    code = 70
    try:
        os.environ.clear()
        os.environ.update(environment)
        import tempfile

        # Else Python first tries the folder, by a file of its own, which is not ours to remove.
        tempfile.tempdir = environment.get("TMPDIR")
        for path, number in ((out, 1), (err, 2)):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(fd, number)
            os.close(fd)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        from vaultpy.cli.main import main

        finish = arm() if arm is not None else None
        code = main(argv)
        if finish is not None:
            finish()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  shown on the child's standard error
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def warm_up() -> None:
    """Import once what every child would import: all of vaultpy but what talks to servers."""
    top = Path(vaultpy.__file__).parent
    for path in sorted(top.rglob("*.py")):
        module = ".".join(("vaultpy", *path.relative_to(top).with_suffix("").parts))
        if not module.startswith("vaultpy.store.s3"):
            importlib.import_module(module.removesuffix(".__init__"))


def fill(place: Path, seed: int = 1) -> None:
    """A tree with something of each kind: several blobs of content, small files, an empty one, links, odd names."""
    words = random.Random(seed)
    (place / "letters").mkdir()
    (place / "nothing in it").mkdir()
    for number in range(5):
        (place / "letters" / f"letter{number}").write_bytes(words.randbytes(7_000 + number))
    for number in range(2):
        (place / f"picture{number}").write_bytes(words.randbytes(300_000))
    (place / "long").write_bytes(words.randbytes(1_500_000))
    (place / "empty").write_bytes(b"")
    (place / "link").symlink_to("letters/letter0")
    os.link(place / "picture0", place / "same picture")
    with open(os.fsencode(place) + b"/od\xffd\n\x1b[31m", "wb") as odd:
        odd.write(b"a name that is not text")
    os.chmod(place / "letters" / "letter1", 0o600)
    os.utime(place / "letters" / "letter2", ns=(0, -5_000_000_001))


def change(place: Path, seed: int = 2) -> None:
    """A change of every kind, by making things anew."""
    words = random.Random(seed)
    (place / "letters" / "letter0").unlink()
    (place / "letters" / "letter3").write_bytes(words.randbytes(9_000))
    (place / "picture1").write_bytes(words.randbytes(310_000))
    (place / "new picture").write_bytes(words.randbytes(290_000))
    (place / "empty").unlink()
    (place / "empty").mkdir()
    (place / "empty" / "not any more").write_bytes(words.randbytes(3_000))
    (place / "long").rename(place / "renamed")


def look(top: Path) -> Tree:
    """What lies at and below a path, by absolute path, as the recoverer sees it."""
    return {path: _thing(path) for path in _walk(os.fsencode(top))}


def below(tree: Tree, top: Path) -> Tree:
    """The part of a tree that lies at and below a path: what is above belongs to the whole machine."""
    start = os.fsencode(top)
    return {path: thing for path, thing in tree.items() if path == start or path.startswith(start + b"/")}


def moved(tree: Tree, away: Path) -> Tree:
    """The same paths without the folder that they were restored below."""
    start = os.fsencode(away)
    return {path.removeprefix(start): thing for path, thing in tree.items()}


def _walk(path: bytes) -> Iterator[bytes]:
    yield path
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            else:
                yield entry.path


def _thing(path: bytes) -> Thing:
    status = os.lstat(path)
    kind, content, target = DIRECTORY, None, None
    if os.path.islink(path):
        kind, target = SYMLINK, os.readlink(path)
    elif os.path.isfile(path):
        kind = FILE
        with open(path, "rb") as file:
            content = file.read()
    mode = status.st_mode & 0o7777
    return Thing(kind, mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, target)


@contextlib.contextmanager
def scratch(base: Path, name: str) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = base / name
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
