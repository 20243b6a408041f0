"""Manifests: what goes in comes out, and nothing else than what `encode` writes is taken."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from manifests import MILLISECOND, folded, manifests, small_manifest, unfolded

from vaultpy import manifest as room
from vaultpy.errors import DamageError, StoreFormatError
from vaultpy.manifest import Manifest, decode, encode, hash_bytes
from vaultpy.model import BlobHash, BlobRef, SnapshotState
from vaultpy.signature import SigningKey


@pytest.fixture(scope="module")
def small() -> Manifest:
    return small_manifest(SigningKey.generate())


@given(manifests)
@settings(max_examples=60, deadline=None)
def test_what_is_encoded_is_decoded(manifest: Manifest) -> None:
    assert decode(encode(manifest)) == manifest


def test_times_are_cut_to_the_millisecond(small: Manifest) -> None:
    read = decode(encode(replace(small, started=-1, completed=1_999_999)))
    assert (read.started, read.completed) == (-MILLISECOND, MILLISECOND)


def test_times_are_rfc_3339_in_utc(small: Manifest) -> None:
    assert fields_of(small)["started"] == "2026-01-01T00:00:00.000Z"


def test_the_object_is_one_frame_with_size_and_checksum(small: Manifest) -> None:
    data = encode(small)
    header = zstandard.get_frame_parameters(data)
    assert header.content_size == len(unfolded(data))
    assert header.has_checksum


def test_fields_that_are_not_known_are_passed_over(small: Manifest) -> None:
    assert decode(folded(json.dumps({**fields_of(small), "later": {"x": [1.5, None]}}).encode())) == small


def test_a_partial_manifest_needs_no_export_and_a_complete_one_does(small: Manifest) -> None:
    partial = replace(small, state=SnapshotState.PARTIAL, exports=())
    assert decode(encode(partial)) == partial
    with pytest.raises(DamageError, match="names no export"):
        encode(replace(small, exports=()))


def test_a_newer_format_is_refused_by_name(small: Manifest) -> None:
    # A newer format may have changed every other field.
    with pytest.raises(StoreFormatError, match="manifest is of format 2") as caught:
        decode(folded(b'{"format":2}'))
    assert caught.value.hint == "use a newer vaultpy"


def test_blobs_out_of_order_are_not_written(small: Manifest) -> None:
    low, high = BlobRef(BlobHash(bytes(32)), 1), BlobRef(BlobHash(b"\1" * 32), 1)
    encode(replace(small, blobs=(low, high)))
    for wrong in ((high, low), (low, low)):
        with pytest.raises(DamageError, match="ascending"):
            encode(replace(small, blobs=wrong))


def fields_of(manifest: Manifest) -> dict[str, Any]:
    return json.loads(unfolded(encode(manifest)))


FIELDS = sorted(room._fields(small_manifest(SigningKey.generate())))


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_named(small: Manifest, name: str) -> None:
    fields = fields_of(small)
    del fields[name]
    with pytest.raises(DamageError, match=f"manifest has no {name}"):
        decode(folded(json.dumps(fields).encode()))


WRONG_KINDS = [None, True, -1, 2**63, 1.0, "", "x", [], ["x"], [None], {}, [[]], [["x", 1]], [{}], "\ud800"]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("wrong", WRONG_KINDS, ids=repr)
def test_a_value_of_the_wrong_kind_is_damage_or_a_meaning_of_its_own(small: Manifest, name: str, wrong: object) -> None:
    fields = fields_of(small) | {name: wrong}
    try:
        read = decode(folded(json.dumps(fields).encode()))
    except DamageError as error:
        assert name in str(error) or "complete snapshot" in str(error)
    else:
        # What is taken must be what would be written: nothing is bent into shape.
        assert fields_of(read)[name] == wrong


def upper_hex(fields: dict[str, Any]) -> None:
    fields["blobs"][0][0] = fields["blobs"][0][0].upper()


def short_hex(fields: dict[str, Any]) -> None:
    fields["store_config"] = fields["store_config"][2:]


def hex_with_newline(fields: dict[str, Any]) -> None:
    fields["exports"][0]["blake3"] += "\n"


def upper_uuid(fields: dict[str, Any]) -> None:
    fields["host"] = fields["host"].upper()


def braced_uuid(fields: dict[str, Any]) -> None:
    fields["store"] = "{" + fields["store"] + "}"


def base64_with_stray_bits(fields: dict[str, Any]) -> None:
    fields["about"] = "AB=="


def base64_without_padding(fields: dict[str, Any]) -> None:
    fields["wrapped_keys"] = ["AA"]


def base64_with_newline(fields: dict[str, Any]) -> None:
    fields["about"] += "\n"


def size_as_text(fields: dict[str, Any]) -> None:
    fields["blobs"][0][1] = "1"


def size_true(fields: dict[str, Any]) -> None:
    fields["exports"][0]["size"] = True


def blob_of_three(fields: dict[str, Any]) -> None:
    fields["blobs"][0].append(1)


def blob_twice(fields: dict[str, Any]) -> None:
    fields["blobs"] *= 2


def export_twice(fields: dict[str, Any]) -> None:
    fields["exports"] *= 2


def time_with_offset(fields: dict[str, Any]) -> None:
    fields["started"] = "2026-01-01T00:00:00.000+00:00"


def time_without_zone(fields: dict[str, Any]) -> None:
    fields["started"] = "2026-01-01T00:00:00.000"


def time_in_seconds(fields: dict[str, Any]) -> None:
    fields["started"] = "2026-01-01T00:00:00Z"


def time_past_64_bits(fields: dict[str, Any]) -> None:
    fields["completed"] = "2262-04-12T00:00:00.000Z"


def time_of_no_day(fields: dict[str, Any]) -> None:
    fields["completed"] = "2026-02-30T00:00:00.000Z"


def format_zero(fields: dict[str, Any]) -> None:
    fields["format"] = 0


@pytest.mark.parametrize(
    "change",
    [
        upper_hex,
        short_hex,
        hex_with_newline,
        upper_uuid,
        braced_uuid,
        base64_with_stray_bits,
        base64_without_padding,
        base64_with_newline,
        size_as_text,
        size_true,
        blob_of_three,
        blob_twice,
        export_twice,
        time_with_offset,
        time_without_zone,
        time_in_seconds,
        time_past_64_bits,
        time_of_no_day,
        format_zero,
    ],
    ids=lambda change: change.__name__,
)
def test_only_the_canonical_form_is_taken(small: Manifest, change: Callable[[dict[str, Any]], None]) -> None:
    fields = fields_of(small)
    assert decode(folded(json.dumps(fields).encode())) == small
    change(fields)
    with pytest.raises(DamageError):
        decode(folded(json.dumps(fields).encode()))


@pytest.mark.parametrize(
    "more",
    [
        b',"pinned":false',
        b',"x":NaN',
        b',"x":-Infinity',
        b',"x":{"y":1,"y":2}',
        b',"x":' + b"9" * 5000,
        b',"x":' + b"[" * 100_000,
        b',"x":"\xff"',
        b"}{",
        b",",
    ],
    ids=lambda more: repr(more[:24]),
)
def test_what_is_not_one_strict_json_object_is_damage(small: Manifest, more: bytes) -> None:
    raw = unfolded(encode(small))
    assert decode(folded(raw)) == small
    with pytest.raises(DamageError, match="manifest is not the JSON it should be"):
        decode(folded(raw[:-1] + more + raw[-1:]))


def test_json_in_another_encoding_is_damage(small: Manifest) -> None:
    text = unfolded(encode(small)).decode()
    for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
        with pytest.raises(DamageError, match="manifest is not the JSON it should be"):
            decode(folded(text.encode(encoding)))


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"1", b"{}", b'{"format":"1"}', b'{"format":true}'])
def test_what_is_no_manifest_at_all_is_damage(raw: bytes) -> None:
    with pytest.raises(DamageError, match="manifest"):
        decode(folded(raw))


def test_what_follows_the_frame_or_is_missing_from_it_is_damage(small: Manifest) -> None:
    data = encode(small)
    skippable = (0x184D2A50).to_bytes(4, "little") + bytes(4)
    for wrong in (b"", data[:-1], data + b"\0", data + data, data + skippable, skippable + data, skippable):
        with pytest.raises(DamageError):
            decode(wrong)


def test_a_frame_without_checksum_size_or_with_a_huge_window_is_damage(small: Manifest) -> None:
    raw = unfolded(encode(small))
    wide = zstandard.ZstdCompressionParameters.from_level(3, window_log=24, write_checksum=True)
    assert decode(zstandard.ZstdCompressor(write_checksum=True).compress(raw)) == small
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    for wrong in (
        zstandard.ZstdCompressor(write_checksum=False).compress(raw),
        zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(raw),
        stream.compress(raw) + stream.flush(),
    ):
        with pytest.raises(DamageError):
            decode(wrong)


def test_a_huge_window_is_damage_also_where_the_size_is_stated() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=24, write_checksum=True, write_content_size=True)
    bomb = zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(32 * 1024 * 1024))
    with pytest.raises(DamageError, match="window of 16777216 bytes"):
        decode(bomb)


def test_a_decompression_bomb_is_refused_before_it_unfolds() -> None:
    """The header states a size; zstandard's max_output_size would not have stopped it."""
    pieces = zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj(size=room.RAW_LIMIT + 1)
    piece = bytes(16 * 1024 * 1024)
    bomb = b"".join(pieces.compress(piece) for _ in range(room.RAW_LIMIT // len(piece)))
    bomb += pieces.compress(b"\0") + pieces.flush()
    assert len(bomb) < 64 * 1024
    with pytest.raises(DamageError, match=f"at most {room.RAW_LIMIT} bytes"):
        decode(bomb)


def test_an_object_over_the_limit_is_not_looked_into() -> None:
    with pytest.raises(DamageError, match="at most are allowed"):
        decode(bytes(room.FOLDED_LIMIT + 1))


def test_a_blob_costs_some_35_bytes(small: Manifest) -> None:
    count = 10_000
    refs = sorted((os.urandom(32), 33_554_432 - 262_144 * (n % 64)) for n in range(count))
    many = replace(small, blobs=tuple(BlobRef(BlobHash(hash), size) for hash, size in refs))
    assert 32 < (len(encode(many)) - len(encode(small))) / count < 40


def test_the_bytes_are_as_the_format_says() -> None:
    """Known answer: every release must read this, and write JSON of these names."""
    manifest = replace(
        small_manifest(SigningKey.generate()), signer="ssh-ed25519 AAAA", host=uuid.UUID(int=5), parent=uuid.UUID(int=6)
    )
    assert unfolded(encode(manifest)).decode() == (
        '{"format":1,"store":"00000000-0000-0000-0000-000000000001","snapshot":"00000000-0000-0000-0000-000000000002",'
        '"source":"00000000-0000-0000-0000-000000000003","host":"00000000-0000-0000-0000-000000000005",'
        '"signer":"ssh-ed25519 AAAA","state":"complete","sequence":1767225600000,"started":"2026-01-01T00:00:00.000Z",'
        '"completed":"2026-01-01T00:00:01.000Z","pinned":false,"parent":"00000000-0000-0000-0000-000000000006",'
        '"repairs":null,"store_config":"' + "00" * 32 + '","key":"00000000-0000-0000-0000-000000000004",'
        '"wrapped_keys":["YWdlLWVuY3J5cHRpb24ub3JnL3YxCg=="],"about":"c2VhbGVk",'
        '"exports":[{"id":"00000000-0000-0000-0000-000000000002","size":1024,"blake3":"' + "00" * 32 + '",'
        '"sha256":"' + bytes(reversed(range(32))).hex() + '"}],"blobs":[["' + bytes(range(32)).hex() + '",262144]]}'
    )


def test_hash_bytes_is_blake3() -> None:
    assert hash_bytes(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
