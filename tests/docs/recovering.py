"""A vault of odd files with several snapshots, and docs/recovery.md's script with the programs that it names."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from vaultpy.model import BlobHash
from vaultpy.store.names import blob_name

NEEDED = ("age", "zstd", "sqlite3", "ssh-keygen", "sha256sum")
POSIX = ("awk", "cat", "cut", "dd", "grep", "head", "ln", "mkdir", "mv", "od", "rm", "sed", "sort", "tail", "tr", "wc")
CODERS = ("base64", "b3sum")

with_programs = pytest.mark.skipif(
    any(shutil.which(name) is None for name in NEEDED),
    reason=f"not installed: {', '.join(name for name in NEEDED if shutil.which(name) is None)}",
)

Tree = dict[bytes, bytes | tuple[bytes] | None]
"""Paths below a folder: a file's bytes, None for a directory, a link's target in a tuple."""


@dataclass(frozen=True)
class Sample:
    """A vault with several snapshots: ids, oldest first, and what the source held at each."""

    folder: Path
    source: Path
    snapshots: tuple[str, ...]
    trees: tuple[Tree, ...]

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def identity(self) -> Path:
        return self.folder / "identity.txt"

    @property
    def signer(self) -> str:
        found = re.search(r"^# signer: (.+)$", self.identity.read_text(), re.MULTILINE)
        assert found is not None
        return found[1]


def read_tree(root: Path) -> Tree:
    found: Tree = {}
    for folder, below, names in os.walk(os.fsencode(root)):
        for name in [*below, *names]:
            path = os.path.join(folder, name)
            key = os.path.relpath(path, os.fsencode(root))
            if os.path.islink(path):
                found[key] = (os.readlink(path),)
            else:
                found[key] = None if os.path.isdir(path) else Path(os.fsdecode(path)).read_bytes()
    return found


def noise(seed: bytes, size: int) -> bytes:
    return hashlib.shake_128(seed).digest(size)


NAMES = (
    b"plain",
    b" ",
    b"-rf",
    b"--help",
    b"new\nline",
    b"ends with newline\n",
    b"quotes'\"`$(touch x)",
    b"%s%d\\n\\0101\\c",
    b"*?[a]",
    b"~",
    b"a;b|c&d>e",
    bytes(one for one in range(1, 128) if one != 0x2F),
    bytes(range(128, 256)),
    b"x" * 255,
)


def make_first(root: bytes) -> None:
    for number, name in enumerate(NAMES):
        write(os.path.join(root, name), b"content %d" % number)
        os.makedirs(os.path.join(root, b"folders", name, name))
        write(os.path.join(root, b"folders", name, b"-", b"f"), name)
    for number in range(150):
        write(os.path.join(root, b"many", b"%d" % number), b"%d" % number)
    write(os.path.join(root, b"empty"), b"")
    os.mkdir(os.path.join(root, b"empty folder"))
    write(os.path.join(root, b"large"), noise(b"large", 3_000_000))
    write(os.path.join(root, b"folders", b"same large"), noise(b"large", 3_000_000))
    write(os.path.join(root, b"zeros"), bytes(5_000_000))
    os.link(os.path.join(root, b"plain"), os.path.join(root, b"hard link"))
    for name, (size, blocks) in SPARSE.items():
        write_sparse(os.path.join(root, b"sparse", name), size, blocks)
    for number, target in enumerate((b"plain", b"../../outside", b"-f", b"line\n", b"/nowhere")):
        os.symlink(target, os.path.join(root, b"link %d" % number))


def change_some(root: bytes) -> None:
    write(os.path.join(root, b"plain"), b"changed")
    write(os.path.join(root, b"large"), b"in front" + noise(b"large", 3_000_000))
    write(os.path.join(root, b"new", b"file"), noise(b"new", 300_000))
    os.remove(os.path.join(root, b"new\nline"))
    shutil.rmtree(os.path.join(root, b"folders", b"-rf"))
    os.remove(os.path.join(root, b"zeros"))
    os.mkdir(os.path.join(root, b"zeros"))


def change_more(root: bytes) -> None:
    os.rename(os.path.join(root, b"folders", b"*?[a]"), os.path.join(root, b"moved"))
    write(os.path.join(root, b"new\nline"), b"back")
    write(os.path.join(root, b"empty"), b"no more")


SPARSE: dict[bytes, tuple[int, Sequence[int]]] = {
    b"one hole": (5_000_000, ()),
    b"\n at both ends": (1_000_001, (40, 41, 100)),
    b"between": (81 * 4096, (0, 80)),
    b"many chunks": (20_000_000, range(300, 2000)),
    b"many holes": (600 * 4096, range(0, 600, 2)),
}
"""Sizes, and the blocks of 4,096 bytes that hold something."""


def write_sparse(path: bytes, size: int, blocks: Sequence[int]) -> None:
    write(path, b"")
    with open(path, "r+b") as file:
        file.truncate(size)
        for block in blocks:
            file.seek(block * 4096)
            file.write(noise(b"%d" % block, 4096))


def write(path: bytes, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def make_sample(folder: Path) -> Sample:
    source = folder / "source"
    source.mkdir()
    run = _program(folder)
    run("init", "--store", f"file://{folder}/store", "--new-identity", folder / "identity.txt")
    snapshots: list[str] = []
    trees = []
    for change in (make_first, change_some, change_more):
        change(os.fsencode(source))
        if not snapshots:
            # What is read within two seconds of its change is read again next time: no export would be a small one.
            time.sleep(2.1)
        run("snapshot", "create", "--path", source, "--name", "sample")
        made = {path.parent.name for path in folder.glob("store/metadata/*/manifest.json.zst")}
        snapshots += made - set(snapshots)
        trees.append(read_tree(source))
    return Sample(folder, source, tuple(snapshots), tuple(trees))


def _program(folder: Path) -> Callable[..., None]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_STATE_HOME": str(folder / "state"),
    }

    def run(*arguments: str | Path) -> None:
        code = "import sys; from vaultpy.cli.main import main; sys.exit(main())"
        subprocess.run([sys.executable, "-c", code, *arguments], env=environment, check=True, capture_output=True)

    return run


@dataclass(frozen=True)
class Recovery:
    """Runs the script with nothing on PATH but the programs that it names."""

    script: Path
    folder: Path

    def run(self, *arguments: str | Path, programs: Sequence[str] = CODERS) -> subprocess.CompletedProcess[str]:
        path = self.folder / f"bin {' '.join(programs)}"
        path.mkdir(exist_ok=True)
        for name in (*NEEDED, *POSIX, *programs):
            found = shutil.which(name)
            if found is not None and not (path / name).exists():
                (path / name).symlink_to(found)
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        shell = shutil.which("dash") or "/bin/sh"
        done = subprocess.run(
            [shell, self.script, *arguments],
            env={"PATH": str(path), "TMPDIR": str(scratch), "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            errors="backslashreplace",
            cwd=self.folder,
        )
        assert not list(scratch.iterdir()), "the store key must not stay behind"
        return done


def restored(sample: Sample, target: Path) -> Tree:
    return read_tree(target / sample.source.relative_to("/"))


def manifest_of(sample: Sample, number: int) -> Path:
    return sample.store / "metadata" / sample.snapshots[number] / "manifest.json.zst"


def blob_path(sample: Sample, hash: BlobHash) -> Path:
    return sample.store / blob_name(hash)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def open_key(sample: Sample, key_id: str) -> Path:
    path = sample.folder / "key.txt"
    form = sample.store / "keys" / key_id / "0.age"
    subprocess.run(["age", "-d", "-i", sample.identity, "-o", path, form], check=True)
    return path
