"""Spoiling a store in a test, and verifying it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from machine import Machine

from vaultpy.events import ignore
from vaultpy.index.db import open_index
from vaultpy.ops.checking.verify import VerifyRequest, verify
from vaultpy.ops.reading.findings import Depth, Finding, Verified
from vaultpy.ops.reading.reader import Reader

ALL = (Depth.LISTED, Depth.HASHED, Depth.OPENED)
FETCHING = (Depth.HASHED, Depth.OPENED)


def check(machine: Machine, depth: Depth, *, reader: Reader | None = None, **request: Any) -> Verified:
    """Verify from another machine (or as `reader`), everything unless `request` says what."""
    request = request or {"every": True}
    return verify(reader or machine.reader(), VerifyRequest(depth=depth, **request), ignore)


def check_at_home(machine: Machine, depth: Depth, **request: Any) -> Verified:
    """Verify on the machine itself, which has its index and secrets."""
    with open_index(machine.vault.paths.index, read_only=True) as index:
        reader = replace(machine.reader(), config=machine.vault.config, host=machine.vault.host, index=index)
        return check(machine, depth, reader=reader, **request)


def only(verified: Verified) -> Finding:
    (finding,) = verified.findings
    assert verified.exit_code == 4
    return finding


def spoil(machine: Machine, name: str, data: bytes) -> None:
    machine.memory.objects[name] = data, machine.memory.objects[name][1]


def lose(machine: Machine, *lost: str) -> None:
    for name in lost:
        del machine.memory.objects[name]


def flip(machine: Machine, name: str, at: int) -> None:
    """Change one bit of an object; `at` may count from its end."""
    data = bytearray(machine.memory.objects[name][0])
    data[at] ^= 1
    spoil(machine, name, bytes(data))
