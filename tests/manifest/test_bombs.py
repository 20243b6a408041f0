"""What unfolds to more than it should is refused before it is unfolded."""

from __future__ import annotations

import os
import tracemalloc

import pytest
import zstandard

from vaultpy.age import X25519Identity, encrypt
from vaultpy.documents import FOLD_LIMIT, FOLD_SLACK, fold, unfold
from vaultpy.errors import DamageError
from vaultpy.export import read_export

MIB = 1 << 20


def bomb(byte: bytes, size: int) -> bytes:
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj(size=size)
    return b"".join([*(compressor.compress(byte * MIB) for _ in range(size // MIB)), compressor.flush()])


def test_a_document_that_unfolds_to_a_bomb_is_refused() -> None:
    with pytest.raises(DamageError, match="is a bomb"):
        unfold(bomb(b" ", 64 * MIB), "manifest", folded_limit=64 * MIB, raw_limit=512 * MIB)


@pytest.mark.parametrize(("room", "refused"), [(-1, True), (0, False), (1, False)])
def test_a_document_may_unfold_to_so_many_times_its_bytes(room: int, refused: bool) -> None:
    data = bytes(FOLD_SLACK + 40 * FOLD_LIMIT)
    folded = fold(data)
    limit = FOLD_LIMIT * len(folded) + FOLD_SLACK
    data = bytes(limit - room)
    again = fold(data)
    assert len(again) == len(folded), "a few zeros more fold to as much"
    if refused:
        with pytest.raises(DamageError, match="is a bomb"):
            unfold(again, "manifest", folded_limit=MIB, raw_limit=512 * MIB)
    else:
        assert unfold(again, "manifest", folded_limit=MIB, raw_limit=512 * MIB) == data


@pytest.mark.parametrize("byte", [b"\n", b"a"], ids=["newlines", "one line"])
def test_an_export_that_is_a_bomb_is_refused_in_little_memory(byte: bytes) -> None:
    identity = X25519Identity.generate(os.urandom)
    data = encrypt(bomb(byte, 256 * MIB), [identity.recipient()])
    tracemalloc.start()
    try:
        with pytest.raises(DamageError, match="line"):
            list(read_export([data], [identity]))
        assert tracemalloc.get_traced_memory()[1] < 64 * MIB
    finally:
        tracemalloc.stop()
