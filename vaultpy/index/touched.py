"""What the changes of a chain have to do with: of the whole export that they stand on, only this matters to them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vaultpy.index.plain import Plain

LIMIT = 200_000
"""Rows that may be remembered; some 20 MiB."""


class Touched:
    """What some lines name: hashes and UUIDs of any kind, paths that they add, directories and blobs that they remove."""

    def __init__(self) -> None:
        self._uuids: set[bytes] = set()
        self._hashes: set[bytes] = set()
        self._paths: set[bytes] = set()
        self._folders: set[bytes] = set()
        self._blobs: set[bytes] = set()

    @property
    def is_too_much(self) -> bool:
        return len(self._uuids) + len(self._hashes) + len(self._paths) > LIMIT

    def add(self, text: bytes) -> None:
        """Take in whole lines of changes."""
        for known, expression in (
            (self._uuids, _UUID),
            (self._hashes, _HASH),
            (self._paths, _PATH),
            (self._folders, _FOLDER),
            (self._blobs, _BLOB),
        ):
            known.update(expression.findall(text))

    def among(self, records: Plain) -> list[bool] | None:
        """Which of the records it names; None: none."""
        found: list[bool] | None = None
        for known, name in (
            (self._uuids, "id"),
            (self._hashes, "hash"),
            (self._hashes, "ref"),
            (self._paths, "path"),
            (self._folders, "folder"),
            (self._blobs, "blob"),
        ):
            values: Iterable[bytes | None] = records.all(name)
            if known and not known.isdisjoint(values):
                hits = [value in known for value in values]
                found = hits if found is None else [one or other for one, other in zip(found, hits, strict=True)]
        return found


_UUID = re.compile(rb"X'([0-9A-F]{32})'")
_HASH = re.compile(rb"X'([0-9A-F]{64})'")
_PATH = re.compile(rb"INSERT INTO files VALUES \(X'[^']{32}',(X'[^']{32}',X'[^']*')")
_FOLDER = re.compile(rb"DELETE FROM directories WHERE id = X'([^']{32})'")
_BLOB = re.compile(rb"DELETE FROM blobs WHERE id = X'([^']{32})'")
