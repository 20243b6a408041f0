"""Ignore files: patterns that lie in the tree itself and hold for their folder and what is below it, as .gitignore does.

The last pattern of the innermost file that matches decides.  What the configuration leaves out they cannot take back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from vaultpy.model import Problem, ProblemKind
from vaultpy.source.failures import explain
from vaultpy.source.filters import Decision, Filter, Verdict, compile_lines
from vaultpy.source.read import OPEN, open_unseen

SIZE_LIMIT = 1 << 20
"""Bytes of an ignore file that are read; a larger one is none."""


class Layer(NamedTuple):
    """What one ignore file says, and where it lies: the folder below the source path, and the file as it is shown."""

    filter: Filter
    folder: bytes
    file: str


def read_ignore_files(
    fd: int, names: Iterable[bytes], path: bytes, folder: bytes
) -> tuple[tuple[Layer, ...], list[Problem]]:
    """The ignore files of an open directory, and what is wrong with them.

    `path` is the directory's absolute path, `folder` the one below the source path.  A file that cannot be read, or a line
    that does not parse, leaves nothing out.  A link is not followed: it could make somebody else's file say what is kept.
    """
    layers: list[Layer] = []
    problems: list[Problem] = []
    for name in names:
        file = b"%b/%b" % (path.rstrip(b"/"), name)
        found, wrong = _compile(fd, name)
        problems += [Problem(file, ProblemKind.UNREADABLE, why) for why in wrong]
        if found is not None:
            layers.append(Layer(found, folder, os.fsdecode(file)))
    return tuple(layers), problems


def _compile(dir_fd: int, name: bytes) -> tuple[Filter | None, list[str]]:
    """The filter that an ignore file makes, if it is there and says anything, and what is wrong with it."""
    wrong: list[str] = []
    try:
        data = _read(dir_fd, name)
    except FileNotFoundError:
        return None, wrong
    except OSError as error:
        return None, [f"leaves nothing out: {explain(error)}"]
    if data is None:
        return None, [f"leaves nothing out: not a file of at most {SIZE_LIMIT} bytes"]
    return compile_lines(_lines(data), lambda number, why: wrong.append(f"line {number} is not used: {why}")), wrong


def verdict_within(configured: Verdict | None, layers: tuple[Layer, ...], folder: bytes) -> Verdict | None:
    """The verdict of the configuration's patterns and the ignore files (the outermost first) on what a folder holds."""
    if not layers:
        return configured
    innermost_first = [
        (layer.filter.within(below), layer.filter.decides(below), layer.file)
        for layer in reversed(layers)
        for below in (folder[len(layer.folder) + 1 if layer.folder else 0 :],)
    ]

    def verdict(name: str, is_directory: bool) -> Decision | None:
        decision = configured(name, is_directory) if configured is not None else None
        if decision is not None and decision.out:
            return decision
        for within, _, _ in innermost_first:
            if within(name, is_directory) is not None:
                break
        else:
            return decision
        for _, decides, file in innermost_first:
            found = decides(name, is_directory)
            if found is not None:
                return Decision(found.out, f"{found.reason} in {file}")
        return decision

    return verdict


def _read(dir_fd: int, name: bytes) -> bytes | None:
    """What is in an ignore file; None for one that is too large, or no regular file."""
    fd = open_unseen(name, OPEN, dir_fd)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > SIZE_LIMIT:
            return None
        data = b""
        while len(data) <= SIZE_LIMIT and (piece := os.read(fd, SIZE_LIMIT + 1 - len(data))):
            data += piece
        return data if len(data) <= SIZE_LIMIT else None
    finally:
        os.close(fd)


def _lines(data: bytes) -> list[str]:
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return [line.removesuffix("\r") for line in text.split("\n")]
