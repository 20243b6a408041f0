"""Files whose server forgets them while they are read (NFS): a note about each, and the others are read."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vaultpy.model import ProblemKind
from vaultpy.source.batch import BatchReader, Listed, Part


@pytest.mark.parametrize("size", [10, 3_000_000])
@pytest.mark.parametrize("look", [1, 2, 3, 4])
def test_a_file_that_goes_stale_at_any_look_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: int, size: int
) -> None:
    (tmp_path / "stale").write_bytes(bytes(size))
    found = os.stat(tmp_path / "stale")
    looks = 0

    def fstat(fd: int) -> os.stat_result:
        nonlocal looks
        looks += 1
        if looks >= look:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(fd)

    real, parts = os.fstat, list[Part]()
    # Listed with another size: it is not read by the shortest way alone.
    listed: Listed = (
        b"stale", size + 1, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev, found.st_uid,
    )  # fmt: skip
    reader = BatchReader(parts.append, clock=lambda: found.st_ctime_ns + 60_000_000_000)
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", fstat)
            reader.read(1, [(folder, [listed])])
    finally:
        os.close(folder)
    odd = parts[-1].odd[0]
    if looks < look:
        assert odd.problem is None and odd.size == size
    else:
        assert odd.problem is not None and odd.problem.kind == ProblemKind.VANISHED
        assert odd.dropped == sum(len(part.hashes) for part in parts)
