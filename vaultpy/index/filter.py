"""Telling new chunks without asking the database: a fixed 8 MiB of bits, one bit a hash.

A first snapshot meets nothing but new chunks, and a lookup in a growing index costs more than anything else that is done
for a small file.  A bit that is not set proves that the index does not know the chunk; one that is set proves nothing.
"""

from __future__ import annotations

from vaultpy.index.db import Index
from vaultpy.model import ChunkHash

BITS = 26
"""64 Mi bits: with a million chunks, 1 in 130 new ones is looked up in vain, at the end 1 in 67."""

LOOKUPS_WORTH = 16
"""Filling the bits from an index of N chunks pays once about N / 16 hashes were asked for."""

EXTRA = 1 << 14
"""Hashes asked for before that which are kept as they are: a run with few changes needs no bits at all."""


class ChunkFilter:
    """Which chunks the index may know; filled only when enough is asked to be worth it."""

    def __init__(self, index: Index, chunks: int) -> None:
        self._index = index
        self._bits: bytearray | None = None
        self._early = bytearray()
        self._asked = 0
        self._worth = chunks // LOOKUPS_WORTH
        self._extra: list[ChunkHash] = []

    def may_know(self, hash: ChunkHash) -> bool:
        """False proves that the index has no row of the chunk and that this was never asked before; the chunk is about to
        have one, so the next time the answer is True."""
        bits = self._bits
        if bits is None:
            self._asked += 1
            if self._asked <= self._worth:
                self._extra.append(hash)
                if len(self._extra) >= EXTRA:
                    self._set_extra()
                return True
            bits = self._fill()
        at = int.from_bytes(hash[:4], "big") >> 32 - BITS
        byte, bit = at >> 3, 1 << (at & 7)
        if bits[byte] & bit:
            return True
        bits[byte] |= bit
        return False

    def _fill(self) -> bytearray:
        bits = self._bits = self._set_extra()
        for (hash,) in self._index.each("SELECT hash FROM chunks"):
            self._set(bits, hash)
        return bits

    def _set_extra(self) -> bytearray:
        """The bits of what was asked before they are filled."""
        bits = self._early = self._early or bytearray(1 << BITS - 3)
        for hash in self._extra:
            self._set(bits, hash)
        self._extra.clear()
        return bits

    @staticmethod
    def _set(bits: bytearray, hash: bytes) -> None:
        at = int.from_bytes(hash[:4], "big") >> 32 - BITS
        bits[at >> 3] |= 1 << (at & 7)
