"""What a command does to a disk, in order: its system calls by strace, replayed on a `Disk`."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from disk import Disk
from stage import Stage
from syscalls import run_traced

CALLS = (
    "open,openat,write,pwrite64,writev,pwritev,ftruncate,fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlink,"
    "unlinkat,mkdir,mkdirat,rmdir"
)

_LINE = re.compile(
    r"^(?P<began>\d+\.\d+) (?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+).*?(?:<(?P<took>\d+\.\d+)>)?$"
)
_FD = re.compile(r"^(?:\d+|AT_FDCWD)<(?P<path>[^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Step:
    """One call that changed or synced something: what it is called, and what it does to a disk."""

    name: str
    at: float
    apply: Callable[[Disk], None]


def record(stage: Stage) -> list[Step]:
    """The steps of the stage's command, which must succeed, within the vault's home and store."""
    with tempfile.TemporaryDirectory(dir=stage.vault.folder) as folder:
        log = Path(folder) / "log"
        options = ["-ff", "-ttt", "-T", "-xx", "-y", "-s", "16000000", "-e", f"trace={CALLS}", "-o", str(log)]
        ran = run_traced(stage, options)
        assert ran.code == 0, ran
        top = str(stage.vault.folder)
        steps = [step for path in Path(folder).glob("log.*") for step in _read(path, top)]
    return sorted(steps, key=lambda one: one.at)


def _read(path: Path, top: str) -> Iterator[Step]:
    with path.open() as lines:
        positions: dict[str, int] = {}
        for line in lines:
            match = _LINE.match(line.rstrip("\n"))
            if match is not None and int(match["result"]) >= 0:
                yield from _Parsed(match, top).steps(positions)


class _Parsed:
    """A line of strace's."""

    def __init__(self, match: re.Match[str], top: str) -> None:
        self._call, self._arguments, self._result = match["call"], match["arguments"], int(match["result"])
        self._whole, self._top = match[0], top
        began, took = float(match["began"]), float(match["took"] or 0)
        # A sync promises something once it has returned; all else may be there as soon as it was asked for.
        self._at = began + took if self._call in ("fsync", "fdatasync") else began

    def steps(self, positions: dict[str, int]) -> Iterator[Step]:
        """`positions`: where plain writes go on, by path."""
        paths = self._paths()
        if not paths or not all(path.startswith(("home", "store")) for path in paths):
            return
        if _is_nameless(paths[0]):
            return  # nothing of it is there after a power cut, whatever was written
        apply = self._effect(paths, positions)
        if apply is not None:
            yield Step(f"{self._call} {_shown(paths[-1])}", self._at, apply)

    def _effect(self, paths: list[str], positions: dict[str, int]) -> Callable[[Disk], None] | None:
        first, last = paths[0], paths[-1]
        match self._call:
            case "open" | "openat":
                positions[first] = 0
                return _opening(first, self._arguments)
            case "write":
                data, offset = self._data(), positions.get(first, 0)
                positions[first] = offset + len(data)
                return lambda disk: disk.write(first, offset, data)
            case "pwrite64":
                data, offset = self._data(), int(self._arguments.rpartition(", ")[2])
                return lambda disk: disk.write(first, offset, data)
            case "ftruncate":
                size = int(self._arguments.rpartition(", ")[2])
                return lambda disk: disk.truncate(first, size)
            case "fsync" | "fdatasync":
                return lambda disk: disk.sync(first)
            case "link" | "linkat":
                return lambda disk: disk.link(first, last)
            case "rename" | "renameat" | "renameat2":
                return lambda disk: disk.rename(first, last)
            case "unlink" | "unlinkat" | "rmdir":
                return lambda disk: disk.remove(first)
            case "mkdir" | "mkdirat":
                return lambda disk: disk.make_folder(first)
            case _:
                raise AssertionError(f"nothing is known about {self._whole[:200]}")

    def _paths(self) -> list[str]:
        """The paths that the call is about, below the vault's folder; a path elsewhere as it is."""
        if self._call in ("write", "pwrite64", "ftruncate", "fsync", "fdatasync", "writev", "pwritev"):
            match = _FD.match(self._arguments)
            return [self._below(_decode(match["path"]))] if match else []
        return [self._below(_decode(text)) for text in _TEXT.findall(self._arguments)]

    def _below(self, path: str) -> str:
        return path.removeprefix(self._top + "/") if path.startswith(self._top) else path

    def _data(self) -> bytes:
        [text] = _TEXT.findall(self._arguments)
        return bytes.fromhex(text.replace("\\x", ""))[: self._result]


def _is_nameless(path: str) -> bool:
    """Whether it is a file that was made without a name (O_TMPFILE), or that has lost its last one."""
    return path.rpartition("/")[2].startswith("#") or path.endswith(" (deleted)")


def _opening(path: str, arguments: str) -> Callable[[Disk], None] | None:
    if "O_TMPFILE" in arguments or ("O_CREAT" not in arguments and "O_TRUNC" not in arguments):
        return None

    def open_(disk: Disk) -> None:
        if not disk.knows(path):
            disk.make_file(path)
        elif "O_TRUNC" in arguments:
            disk.truncate(path, 0)

    return open_


def _decode(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode(errors="surrogateescape") if text.startswith("\\x") else text


def _shown(path: str) -> str:
    """A path without what chance gave it."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32,}|(?<=blobs/)../..", "*", path)
