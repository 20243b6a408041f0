"""A disk with a cache that a power cut empties, as strictly as POSIX allows.

What was written to a file is on the disk once that file was synced; a name made, moved or removed in a folder, once that
folder was. Until then any part of it may be there: any of the writes, also cut at a sector, any of the names. Only a rename
is one thing. A journalling file system promises more; nothing here may need that.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512


@dataclass(slots=True)
class _File:
    """A file's bytes on the disk, and the changes since it was synced: offset and data, or a new size and None."""

    durable: bytes
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    times: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Naming:
    """A change of names, all of it or nothing: paths that come (with their file; None: a folder) and that go."""

    comes: Mapping[str, int | None]
    goes: tuple[str, ...]

    def folders(self) -> set[str]:
        return {os.path.dirname(path) for path in (*self.comes, *self.goes)}


class Disk:
    """Paths are text below a top folder; the top itself is there for ever."""

    def __init__(self) -> None:
        self._files: list[_File] = []
        self._durable: dict[str, int | None] = {}
        self._now: dict[str, int | None] = {}
        self._namings: list[_Naming] = []

    @staticmethod
    def load(top: Path, folders: tuple[str, ...]) -> Disk:
        """What lies in some folders of `top`, all of it on the disk."""
        disk = Disk()
        for folder in folders:
            for path in [top / folder, *sorted((top / folder).rglob("*"))]:
                name, status = str(path.relative_to(top)), path.lstat()
                disk._durable[name] = None if path.is_dir() else disk._add(path.read_bytes())
                if not path.is_dir():
                    disk._files[-1].times = (status.st_atime_ns, status.st_mtime_ns)
        disk._now = dict(disk._durable)
        return disk

    def knows(self, path: str) -> bool:
        return path in self._now

    def make_folder(self, path: str) -> None:
        self._change_names(_Naming({path: None}, ()))

    def make_file(self, path: str) -> None:
        self._change_names(_Naming({path: self._add(b"")}, ()))

    def link(self, old: str, new: str) -> None:
        self._change_names(_Naming({new: self._now[old]}, ()))

    def rename(self, old: str, new: str) -> None:
        moved = {path: file for path, file in self._now.items() if path == old or path.startswith(old + "/")}
        comes = {new + path.removeprefix(old): file for path, file in moved.items()}
        self._change_names(_Naming(comes, tuple(moved)))

    def remove(self, path: str) -> None:
        self._change_names(_Naming({}, (path,)))

    def write(self, path: str, offset: int, data: bytes) -> None:
        self._file(path).pending.append((offset, data))

    def truncate(self, path: str, size: int) -> None:
        self._file(path).pending.append((size, None))

    def size(self, path: str) -> int:
        return len(_apply(self._file(path).durable, self._file(path).pending))

    def sync(self, path: str) -> None:
        """Return when it is on the disk: a file's bytes, or the names in a folder."""
        number = self._now[path]
        if number is not None:
            file = self._files[number]
            file.durable, file.pending = _apply(file.durable, file.pending), []
            file.times = None
            return
        left = []
        for naming in self._namings:
            if path in naming.folders():
                _rename(self._durable, naming)
            else:
                left.append(naming)
        self._namings = left

    @property
    def is_calm(self) -> bool:
        """Whether a power cut would lose nothing now."""
        return not self._namings and not any(file.pending for file in self._files)

    def survivors(self, chance: random.Random | None) -> dict[str, tuple[bytes, tuple[int, int] | None] | None]:
        """What is there after a power cut: path and bytes (None: a folder). Without chance, nothing but what was synced."""
        names = dict(self._durable)
        for naming in self._namings:
            if chance is not None and chance.random() < 0.5:
                _rename(names, naming)
        contents = [_apply(file.durable, _some(file.pending, chance)) for file in self._files]
        whole = {path: number for path, number in names.items() if _is_reachable(path, names)}
        return {
            path: None if number is None else (contents[number], self._files[number].times)
            for path, number in whole.items()
        }

    def _add(self, data: bytes) -> int:
        self._files.append(_File(data))
        return len(self._files) - 1

    def _file(self, path: str) -> _File:
        number = self._now[path]
        assert number is not None, path
        return self._files[number]

    def _change_names(self, naming: _Naming) -> None:
        _rename(self._now, naming)
        self._namings.append(naming)


def _rename(names: dict[str, int | None], naming: _Naming) -> None:
    for path in naming.goes:
        names.pop(path, None)
    names.update(naming.comes)


def _apply(data: bytes, changes: list[tuple[int, bytes | None]]) -> bytes:
    if not changes:
        return data
    made = bytearray(data)
    for offset, written in changes:
        if written is None:
            del made[offset:]
            made.extend(bytes(offset - len(made)))
        else:
            made.extend(bytes(max(offset - len(made), 0)))
            made[offset : offset + len(written)] = written
    return bytes(made)


def _some(changes: list[tuple[int, bytes | None]], chance: random.Random | None) -> list[tuple[int, bytes | None]]:
    """Any of them, some cut at a sector."""
    if chance is None:
        return []
    found = []
    for offset, data in changes:
        luck = chance.random()
        if luck < 0.45:
            found.append((offset, data))
        elif luck < 0.6 and data is not None and len(data) > SECTOR:
            found.append((offset, data[: SECTOR * chance.randrange(1, len(data) // SECTOR + 1)]))
    return found


def _is_reachable(path: str, names: Mapping[str, int | None]) -> bool:
    parent = os.path.dirname(path)
    return not parent or (names.get(parent, 0) is None and _is_reachable(parent, names))
