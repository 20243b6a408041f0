"""A blob whose header was changed costs the files in it, and no other."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest
from machine import Machine

from vaultpy.store import names


@pytest.mark.parametrize("start", range(8))
def test_a_changed_header_of_a_blob_refuses_no_restore(machine: Machine, start: int) -> None:
    machine.snapshot()
    (machine.tree / "another").write_bytes(os.urandom(5000))
    first = machine.objects(names.BLOBS)
    machine.snapshot()
    [name] = machine.objects(names.BLOBS) - first
    data, modified = machine.memory.objects[name]
    for at in range(start, data.index(b"\n---") + 50, 8):
        spoiled = bytearray(data)
        spoiled[at] ^= 1
        machine.memory.objects[name] = bytes(spoiled), modified
        back = machine.restore_to(machine.folder / f"back-{uuid4()}")
        assert [path for path, _ in back.failed] == [bytes(machine.tree / "another")], f"byte {at} of {name}"
