"""What a snapshot could not take as it should, read out of its own export, without reading all that the export says."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vaultpy.errors import DamageError
from vaultpy.model import Problem, ProblemKind, SnapshotId

_BEGIN = b"INSERT INTO problems VALUES ("
_HEX = rb"X'((?:[0-9A-Fa-f]{2})*)'"
_LINE = re.compile(rb"INSERT INTO problems VALUES \(%s\);\n" % b",".join([_HEX] * 4))


def read_problems(lines: Iterable[bytes], snapshot: SnapshotId) -> list[Problem]:
    """The problems in the last export of a snapshot's chain; all lines are taken, so that the export is proven whole.

    Raises DamageError for a line of problems that is not one of the format's.
    """
    found = []
    for line in lines:
        if not line.startswith(_BEGIN):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise DamageError(f"export has a line that is not of its format: {line[:60]!r}")
        owner, path, kind, detail = (bytes.fromhex(value.decode()) for value in match.groups())
        if owner == snapshot.bytes:
            found.append(Problem(path, _kind(kind), detail.decode("utf-8", "replace")))
    return found


def _kind(text: bytes) -> ProblemKind:
    try:
        return ProblemKind(text.decode("utf-8", "replace"))
    except ValueError:
        raise DamageError("export has a problem of an unknown kind") from None
