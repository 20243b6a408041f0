"""Changes files at full speed, and keeps a log of every state that each of them had.  Run as a program by the storm.

    python writers.py FOLDER SEED LOG STOP

Works in FOLDER until STOP exists, then writes LOG: the digests of the states of every name, pickled.  A name never stands
for two files at once, whatever folder it is in.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import random
import sys
from collections.abc import Callable
from pathlib import Path

FILES = 12
FOLDERS = 3
LARGE = 1_500_000


def digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


class Writer:
    """Files of some names in a few folders that are renamed, too."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._folder, self._seed = folder, seed
        self._contents: dict[Path, bytes] = {}
        self.states: dict[str, set[bytes]] = {}
        for number in range(FOLDERS):
            (folder / f"folder {number}").mkdir(parents=True)

    def step(self) -> None:
        """Do one thing to one file."""
        number = self._random.randrange(FILES)
        name = self._folder / f"folder {number % FOLDERS}" / f"{self._seed} {number}"
        actions: list[Callable[[Path], None]] = [self._write, self._replace, self._append, self._overwrite, self._cut]
        if name not in self._contents:
            self._write(name)
        elif self._random.random() < 0.15:
            self._random.choice([self._delete, self._rename])(name)
        else:
            self._random.choice(actions)(name)
        if self._random.random() < 0.01:
            self._move_folder()

    def _note(self, name: Path, content: bytes) -> None:
        # Before the system call: nobody can see a state that is not in the log.
        self.states.setdefault(name.name, set()).add(digest(content))
        self._contents[name] = content

    def _some(self) -> bytes:
        size = self._random.choice([0, 1, 100, 4096, 20_000, 50_000, LARGE, LARGE])
        return self._random.randbytes(size)

    def _write(self, name: Path) -> None:
        self._note(name, b"")
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        content = self._some()
        self._note(name, content)
        os.write(fd, content)
        os.close(fd)

    def _replace(self, name: Path) -> None:
        new = name.with_name(f"{name.name} new")
        self._write(new)
        content = self._contents.pop(new)
        self._note(name, content)
        new.rename(name)

    def _append(self, name: Path) -> None:
        more = self._some()
        self._note(name, self._contents[name] + more)
        with name.open("ab", buffering=0) as file:
            file.write(more)

    def _overwrite(self, name: Path) -> None:
        content, more = self._contents[name], self._some()
        place = self._random.randrange(len(content) + 1)
        self._note(name, content[:place] + more + content[place + len(more) :])
        fd = os.open(name, os.O_WRONLY)
        os.pwrite(fd, more, place)
        os.close(fd)

    def _cut(self, name: Path) -> None:
        content = self._contents[name]
        size = self._random.randrange(len(content) + 5000)
        self._note(name, content[:size] + bytes(max(size - len(content), 0)))
        os.truncate(name, size)

    def _delete(self, name: Path) -> None:
        del self._contents[name]
        name.unlink()

    def _rename(self, name: Path) -> None:
        number = self._random.randrange(FILES)
        other = self._folder / f"folder {number % FOLDERS}" / f"{self._seed} {number}"
        if other != name:
            self._note(other, self._contents.pop(name))
            name.rename(other)

    def _move_folder(self) -> None:
        folder = self._folder / "folder 0"
        folder.rename(self._folder / "elsewhere")
        (self._folder / "elsewhere").rename(folder)


def main(folder: str, seed: str, log: str, stop: str) -> None:
    writer = Writer(Path(folder), int(seed))
    while not os.path.exists(stop):
        for _ in range(20):
            writer.step()
    with contextlib.closing(open(log, "wb")) as file:
        pickle.dump(writer.states, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
