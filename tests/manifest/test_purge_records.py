"""Purge records: round trip, damage, bounds."""

from __future__ import annotations

import json
import uuid

import pytest
import zstandard
from hypothesis import given, settings
from manifests import folded, records, unfolded

from vaultpy.errors import DamageError, StoreFormatError
from vaultpy.model import BlobHash, ExportId, SnapshotId
from vaultpy.purges import FOLDED_LIMIT, RAW_LIMIT, PurgeRecord, decode_record, encode_record

SMALL = PurgeRecord(
    (SnapshotId(uuid.UUID(int=1)),), (BlobHash(bytes(32)), BlobHash(b"\1" * 32)), (ExportId(uuid.UUID(int=2)),)
)


@given(records)
@settings(max_examples=60, deadline=None)
def test_what_is_recorded_is_read_in_order_and_once(record: PurgeRecord) -> None:
    assert decode_record(encode_record(record)) == PurgeRecord(
        tuple(sorted(set(record.snapshots))), tuple(sorted(set(record.blobs))), tuple(sorted(set(record.exports)))
    )


def test_the_bytes_are_as_the_format_says() -> None:
    assert unfolded(encode_record(SMALL)).decode() == (
        '{"format":1,"snapshots":["00000000-0000-0000-0000-000000000001"],"blobs":["'
        + "00" * 32
        + '","'
        + "01" * 32
        + '"],'
        '"exports":["00000000-0000-0000-0000-000000000002"]}'
    )


def test_every_flipped_bit_is_damage_or_changes_nothing() -> None:
    """The frame's checksum guards against chance; a record is a hint, so nothing has to guard it against intent."""
    data = encode_record(SMALL)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert decode_record(bytes(changed)) == SMALL
        except DamageError:
            continue


@pytest.mark.parametrize(
    "change",
    [
        {"snapshots": None},
        {"snapshots": ["00000000-0000-0000-0000-00000000000A"]},
        {"snapshots": ["00000000-0000-0000-0000-000000000001"] * 2},
        {"blobs": ["01" * 32, "00" * 32]},
        {"blobs": ["0A" * 32]},
        {"blobs": ["00" * 31]},
        {"blobs": {}},
        {"exports": [1]},
    ],
    ids=repr,
)
def test_only_the_canonical_form_is_taken(change: dict[str, object]) -> None:
    fields = json.loads(unfolded(encode_record(SMALL)))
    assert decode_record(folded(json.dumps(fields).encode())) == SMALL
    with pytest.raises(DamageError, match=f"purge record.*{next(iter(change))}"):
        decode_record(folded(json.dumps(fields | change).encode()))


def test_a_newer_format_is_refused_by_name() -> None:
    with pytest.raises(StoreFormatError, match="purge record is of format 2"):
        decode_record(folded(b'{"format":2}'))


def test_a_decompression_bomb_is_refused_before_it_unfolds() -> None:
    bomb = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(bytes(RAW_LIMIT + 1))
    with pytest.raises(DamageError, match=f"at most {RAW_LIMIT} bytes"):
        decode_record(bomb)


def test_an_object_over_the_limit_is_not_looked_into() -> None:
    with pytest.raises(DamageError, match="at most are allowed"):
        decode_record(bytes(FOLDED_LIMIT + 1))
