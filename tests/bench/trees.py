"""The trees that are backed up: made from what is on the machine, always in the same way, and changed between snapshots."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import sys
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SMALL_FILES, SMALL_BYTES, SMALL_MOST = 165_000, 2_900_000_000, 5_000_000
BIG_FILES, BIG_BYTES, BIG_LEAST, BIG_MOST = 200, 2_700_000_000, 5_000_000, 100_000_000
TINY_FILES, TINY_FOLDERS = 1_000_000, 2_000
ADDED_BYTES = 20_000_000
ONE_FILE_BYTES = 100_000

EXCLUDED = (
    *(
        ".cache",
        ".Trash",
        ".thumbnails",
        "node_modules",
        "lost+found",
        ".sass-cache",
        ".gradle",
        ".tox",
        ".nox",
        ".svn",
    ),
    *("*.tmp", "*.swp", "*.bak", "*.part", "*.crdownload", "*.iso", "*.vmdk", "*.qcow2", "core.*", "*~"),
)
"""What every program is told to leave out.  The trees hold nothing of it, so that all programs store the same."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder that is backed up: what it holds when it is new."""

    name: str
    path: Path
    files: int
    bytes: int


def build_tree(name: str, path: Path, scale: float) -> Tree:
    """Make the tree of that name (`small`, `big` or `tiny`) at `path`, which must not exist."""
    path.mkdir(parents=True)
    {"small": _build_small, "big": _build_big, "tiny": _build_tiny}[name](path, scale)
    return look_at(name, path)


def copy_tree(origin: Path, path: Path) -> Tree:
    """A copy of a folder, because a benchmark changes its trees."""
    shutil.copytree(origin, path, symlinks=True)
    return look_at(origin.name, path)


def look_at(name: str, path: Path) -> Tree:
    sizes = [status.st_size for _, status in regular_files(path)]
    return Tree(name, path, len(sizes), sum(sizes))


def change_tree(path: Path, seed: int) -> None:
    """Append 100 bytes to one file in a hundred, and put 20 MB of new bytes (less in a small tree) into one new file."""
    dice = random.Random(seed)
    files = sorted(file for file, _ in regular_files(path))
    for file in dice.sample(files, max(1, len(files) // 100)):
        with file.open("ab") as appended:
            appended.write(dice.randbytes(100))
    total = sum(status.st_size for _, status in regular_files(path))
    (path / "added.bin").write_bytes(dice.randbytes(min(ADDED_BYTES, total // 100)))


def one_file(path: Path) -> Path:
    """The file whose size is nearest to 100 kB."""
    nearest = min((abs(status.st_size - ONE_FILE_BYTES), file) for file, status in regular_files(path))
    return nearest[1]


def regular_files(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every regular file below a folder that may be read, folder by folder."""
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            with contextlib.suppress(OSError):
                status = file.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield file, status


def origins() -> list[Path]:
    """Folders that hold much of different kinds on a machine with the usual programs and compilers."""
    home = Path.home()
    places = (
        *(Path("/usr/lib"), Path("/usr/share"), Path("/usr/include"), Path("/usr/local"), Path("/usr/bin")),
        *(Path(sys.base_prefix), Path(sys.prefix), home / ".rustup", home / ".cargo/registry", home / "go/pkg/mod"),
    )
    real = dict.fromkeys(place.resolve() for place in places if place.is_dir())
    return [one for one in real if not any(one != other and one.is_relative_to(other) for other in real)]


def _build_small(path: Path, scale: float) -> None:
    """Whole folders, chosen at random but always alike, until there are enough files or bytes."""
    files = total = 0
    for folder in _shuffled_folders():
        for file in _files_of(folder, 0, SMALL_MOST):
            if files >= SMALL_FILES * scale or total >= SMALL_BYTES * scale:
                return
            if _copy(file, path / file.relative_to("/")):
                files += 1
                total += file.lstat().st_size


def _build_big(path: Path, scale: float) -> None:
    """Libraries, programs and archives as they are; then tar files of folders, every third compressed."""
    files = total = 0
    folders = _shuffled_folders()
    for file in (file for folder in folders for file in _files_of(folder, BIG_LEAST, BIG_MOST)):
        if files >= BIG_FILES * scale * 0.75 or total >= BIG_BYTES * scale * 0.75:
            break
        if _copy(file, path / file.relative_to("/")):
            files += 1
            total += file.lstat().st_size
    waiting = iter(folders)
    size = max(BIG_LEAST, int((BIG_BYTES * scale - total) / max(1, BIG_FILES * scale - files)))
    number = 0
    while total < BIG_BYTES * scale:
        made = path / f"archive{number:03}.tar{'.gz' if number % 3 == 2 else ''}"
        if not _make_archive(made, waiting, size):
            return
        total += made.stat().st_size
        number += 1


def _make_archive(made: Path, folders: Iterator[Path], size: int) -> bool:
    """A tar file of the next folders, of about `size` bytes before it is compressed; whether there were any left."""
    total = 0
    zipped = made.suffix == ".gz"
    with made.open("wb") as file, tarfile.open(fileobj=file, mode="w:gz" if zipped else "w") as archive:
        for folder in folders:
            for packed in _files_of(folder, 0, SMALL_MOST):
                with contextlib.suppress(OSError):
                    archive.add(packed, recursive=False)
                    total += packed.stat().st_size
            if total >= size:
                return True
    return total > 0


def _build_tiny(path: Path, scale: float) -> None:
    """Files of 50 to 500 bytes of words, in folders of 500."""
    dice = random.Random(1)
    words = make_words(dice, 3000)
    count = int(TINY_FILES * scale)
    for first in range(0, count, TINY_FILES // TINY_FOLDERS):
        folder = path / f"folder{first // (TINY_FILES // TINY_FOLDERS):05}"
        folder.mkdir()
        for number in range(first, min(count, first + TINY_FILES // TINY_FOLDERS)):
            text = b" ".join(dice.choices(words, k=80))[: dice.randint(50, 500)]
            (folder / f"file{number}.txt").write_bytes(text)


def make_words(dice: random.Random, count: int) -> list[bytes]:
    letters = b"eeeeaaaooiinnttrrsslldcumpgbvhfyq"
    return [bytes(dice.choices(letters, k=dice.randint(2, 9))) for _ in range(count)]


def _shuffled_folders() -> list[Path]:
    folders = sorted(Path(folder) for origin in origins() for folder, _, _ in os.walk(origin))
    random.Random(1).shuffle(folders)
    return folders


def _files_of(folder: Path, least: int, most: int) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder)):
            file = folder / name
            status = file.lstat()
            if stat.S_ISREG(status.st_mode) and least <= status.st_size <= most and not is_excluded(file.parts):
                yield file


def is_excluded(parts: Iterable[str]) -> bool:
    """Whether a pattern of EXCLUDED fits a part of a path."""
    names = {one for one in EXCLUDED if "*" not in one}
    starts = tuple(one[:-1] for one in EXCLUDED if one.endswith("*"))
    ends = tuple(one[1:] for one in EXCLUDED if one.startswith("*"))
    return any(part in names or part.startswith(starts) or part.endswith(ends) for part in parts)


def _copy(file: Path, to: Path) -> bool:
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, to)
    except OSError:
        return False
    return True
