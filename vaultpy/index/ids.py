"""Row ids: a small integer on disk, a UUIDv7 wherever a person, an export or the store sees one.

A run (one attempt at a snapshot of one source) owns 2^32 ids.  Its prefix is the first 12 bytes of a UUIDv7 whose time is
the run's sequence number; the last 4 bytes count (RFC 9562, section 6.2: a dedicated counter).  42 random bits a run and
the millisecond keep runs of different hosts apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NewType

from vaultpy.model import uuid7

RowId = NewType("RowId", int)
"""`run << 32 | counter`: files and directories."""

COUNTER_BITS = 32
COUNTER_MASK = (1 << COUNTER_BITS) - 1
PREFIX_SIZE = 12


def make_prefix(seq: int, random: Callable[[int], bytes]) -> bytes:
    """The 12 leading bytes of every row UUID of the run with sequence number `seq`."""
    return uuid7(seq, random(10)).bytes[:PREFIX_SIZE]


def prefix_seq(prefix: bytes) -> int:
    """The sequence number (milliseconds) that a run's prefix, or any of its UUIDs, begins with."""
    return int.from_bytes(prefix[:6], "big")
