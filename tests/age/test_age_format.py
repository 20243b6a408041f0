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
    HybridIdentity,
    PayloadError,
    X25519Identity,
    decode_armor,
    encode_armor,
    encrypted_size,
    plaintext_size,
)
from vaultpy.age.format import FILE_KEY_SIZE, Stanza, decode_header, encode_base64, encode_header

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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"-> a\n\n", b""),
        (b"\n---", b"\n----"),
        (b"\n---", b"\n---x"),
        (b"\n--- ", b"\n---  "),
        (b"-> a\n", b"->\n"),
        (b"-> a\n", b"-> \n"),
        (b"-> a\n", b"-> a \n"),
        (b"-> a\n", b"-> \x7f\n"),
        (b"/v1\n", b"/v2\n"),
    ],
)
def test_a_header_out_of_form_is_refused(old: bytes, new: bytes) -> None:
    header = encode_header([Stanza(("a",), b"")], bytes(FILE_KEY_SIZE))
    assert decode_header(header).stanzas
    with pytest.raises(HeaderError):
        decode_header(header.replace(old, new))


@pytest.mark.parametrize("identity", [X25519Identity.generate(), HybridIdentity.generate()], ids=["x25519", "hybrid"])
@pytest.mark.parametrize(("share", "body"), [(-1, 0), (1, 0), (0, -1), (0, 1)])
def test_a_stanza_with_parts_of_a_wrong_size_is_refused_before_it_is_tried(
    identity: X25519Identity | HybridIdentity, share: int, body: int
) -> None:
    kind, size = ("X25519", 32) if isinstance(identity, X25519Identity) else ("mlkem768x25519", 1120)
    stanza = Stanza((kind, encode_base64(b"\t" * (size + share)).decode()), bytes(32 + body))
    with pytest.raises(HeaderError, match="wrong size"):
        identity.unwrap(stanza)


@pytest.mark.parametrize("blank", [b"\v", b"\f", b"\xa0", b"\0"])
def test_only_the_blanks_of_the_format_may_stand_around_armor(blank: bytes) -> None:
    text = encode_armor(PLAIN)
    assert decode_armor(b" \t\r\n" + text + b"\r\n \t") == PLAIN
    for around in (blank + text, text + blank):
        with pytest.raises(ArmorError):
            decode_armor(around)
