"""The parts of the format by themselves: sizes, header, armor; each has exactly one encoding."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.age import (
    ArmorError,
    HeaderError,
    PayloadError,
    decode_armor,
    encode_armor,
    encrypted_size,
    plaintext_size,
)
from vaultpy.age.format import Stanza, decode_header, encode_header

PIECE = 65536
PLAIN = random.Random(3).randbytes(1000)


def test_an_empty_file_is_one_tag() -> None:
    assert encrypted_size(100, 0) == 100 + 16 + 16


@pytest.mark.parametrize("sealed", [0, 1, 15, PIECE + 17, PIECE + 31, PIECE + 32, 2 * PIECE + 48])
def test_a_size_that_no_plaintext_gives_is_refused(sealed: int) -> None:
    with pytest.raises(PayloadError):
        plaintext_size(100, 100 + 16 + sealed)


@pytest.mark.parametrize("total", [100, 115])
def test_a_file_without_room_for_its_nonce_is_refused(total: int) -> None:
    with pytest.raises(HeaderError):
        plaintext_size(100, total)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 60))
def test_sizes_are_inverse_to_each_other(size: int) -> None:
    assert plaintext_size(200, encrypted_size(200, size)) == size


@pytest.mark.parametrize("body_size", [0, 1, 47, 48, 49, 95, 96, 97])
def test_stanzas_round_trip_at_the_edges_of_their_lines(body_size: int) -> None:
    stanzas = (Stanza(("a", "!~"), bytes(range(body_size))), Stanza(("b",), b""))
    assert decode_header(encode_header(stanzas, b"k" * 16)).stanzas == stanzas


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_header_has_one_encoding(data: st.DataObject) -> None:
    header = bytearray(encode_header([Stanza(("X25519", "a"), bytes(40)), Stanza(("b",), b"xy")], b"k" * 16))
    at = data.draw(st.integers(0, len(header) - 1))
    header[at] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_header(bytes(header))
    except HeaderError:
        return
    again = encode_header(decoded.stanzas, b"k" * 16)
    assert again[: again.index(b"\n---")] == bytes(header)[: header.index(b"\n---")]


@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 95, 96, 97, 1000])
def test_armor_round_trips(size: int) -> None:
    assert decode_armor(encode_armor(PLAIN[:size])) == PLAIN[:size]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_changed_letter_never_decodes_to_the_same_bytes(data: st.DataObject) -> None:
    text = bytearray(encode_armor(PLAIN[:100]))
    at = data.draw(st.integers(0, len(text) - 2))
    text[at] = data.draw(st.integers(0, 255).filter(lambda value: value != text[at]))
    with contextlib.suppress(ArmorError):
        assert decode_armor(bytes(text)) != PLAIN[:100]
