"""Walking a tree in a test."""

from __future__ import annotations

from collections.abc import Iterator

from vaultpy.source.roots import plan_roots
from vaultpy.source.walk import Folder, WalkOptions, walk


def folders(*paths: bytes, **options: object) -> Iterator[Folder]:
    """The folders below the given paths, without those that lead to them."""
    settings = WalkOptions(**options)  # type: ignore[arg-type]
    roots = plan_roots(paths, one_file_system=settings.one_file_system)
    above = {path for path, _ in roots.ancestors}
    return (folder for folder in walk(roots, settings) if folder.path not in above)
