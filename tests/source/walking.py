"""Walking a tree in a test."""

from __future__ import annotations

import os
from collections.abc import Iterator

from vaultpy.model import ProblemKind
from vaultpy.source.roots import plan_roots
from vaultpy.source.walk import Folder, WalkOptions, walk


def folders(*paths: bytes, **options: object) -> Iterator[Folder]:
    """The folders below the given paths, without those that lead to them."""
    settings = WalkOptions(**options)  # type: ignore[arg-type]
    roots = plan_roots(paths, one_file_system=settings.one_file_system)
    above = {path for path, _ in roots.ancestors}
    return (folder for folder in walk(roots, settings) if folder.path not in above)


def touch(path: bytes, content: bytes = b"") -> None:
    with open(path, "wb") as file:
        file.write(content)


def names(folder: Folder) -> list[bytes]:
    return [name for name, _ in folder.entries]


def problems(found: Iterator[Folder]) -> list[tuple[bytes, ProblemKind]]:
    return [(problem.path, problem.kind) for folder in found for problem in folder.problems]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def make_deep(tree: bytes, levels: int, name: bytes, beside: bytes | None = None) -> None:
    """Directories inside each other, a file or a second directory beside each."""
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(levels):
        if beside is None:
            os.close(os.open(b"file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        else:
            os.mkdir(beside, dir_fd=fd)
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
