"""What a restore hands to those who write, and what comes back: plain tuples, because a million rows pass here, and because
the writer may be another process (`marshal` is the quickest way there and knows nothing else)."""

from __future__ import annotations

from typing import Any, NamedTuple

from vaultpy.source.place import Owner
from vaultpy.source.target import Identity

Row = tuple[Any, ...]
"""A PieceRow of index/needed.py."""


class OddFile(NamedTuple):
    """A file that is more than its row says; `linked`: others will be made second names of it; `atime` None: as mtime."""

    size: int
    xattrs: tuple[tuple[bytes, bytes], ...]
    holes: bytes | None
    linked: bool
    atime: int | None = None


class BegunFile(NamedTuple):
    """A file of several chunks that lies under a temporary name until all are written."""

    temporary: bytes
    made: Identity
    holes: bytes | None


class Share(NamedTuple):
    """Chunks of one blob, in the order in which it holds them, and what is to become of them.

    `more`: the next share goes on in this blob; `folders` are paths below the target by their ids; `owners` whose the files
    shall be (None: ours); `odd` and `begun` are OddFile and BegunFile tuples by the file's id.
    """

    blob: str
    blob_size: int
    more: bool
    rows: list[Row]
    folders: dict[int, bytes]
    owners: dict[int, Owner | None]
    odd: dict[int, tuple[Any, ...]]
    begun: dict[int, tuple[Any, ...]]


class Outcome(NamedTuple):
    """What became of a share: files placed and bytes written; `failed` names files and why; `missed` the kinds of metadata
    that were not taken, once a file; `made` which inodes linked files have; `parts` the begun files, once a chunk."""

    files: int
    bytes: int
    failed: list[tuple[int, str]]
    missed: list[str]
    made: list[tuple[int, Identity]]
    parts: list[int]
