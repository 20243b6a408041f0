"""Making what was done to a folder last: a file that is synced and whose name is not can be gone after a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def make_folders(folder: Path) -> None:
    """Make a folder, for its owner alone, and what of its parents is missing; return when their names are on the disk.

    Raises OSError, which its callers translate.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for one in missing:
        sync_folder(one.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names in the folder are on the disk.  Raises OSError, which its callers translate."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
