"""What a manifest says under encryption: names, paths, tags, counts."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from manifests import abouts

from vaultpy.age import X25519Identity, decrypt, encrypt
from vaultpy.errors import DamageError, NoIdentity, UsageError
from vaultpy.manifest import About, decode_about, encode_about
from vaultpy.padding import padme

IDENTITY = X25519Identity.generate()
ABOUT = About("host", "home", (b"/home",), ("weekly",), 3, 2, 1, 1, 0, "1.0")


def encoded(about: About) -> bytes:
    return encode_about(about, [IDENTITY.recipient()], os.urandom)


def opened_json(text: bytes) -> About:
    return decode_about(encrypt(text, [IDENTITY.recipient()]), [IDENTITY])


@given(abouts)
@settings(max_examples=60, deadline=None)
def test_what_is_told_is_read(about: About) -> None:
    assert decode_about(encoded(about), [IDENTITY]) == about


def test_its_size_says_little() -> None:
    assert {len(encoded(replace(ABOUT, host="h" * n))) for n in (0, 1, 200, 500)} == {len(encoded(ABOUT))}
    long = decrypt(encoded(replace(ABOUT, host="h" * 5001)), [IDENTITY])
    assert len(long) == padme(len(long.rstrip(b" ")))


def test_every_recipient_opens_it_and_nobody_else() -> None:
    other, stranger = X25519Identity.generate(), X25519Identity.generate()
    data = encode_about(ABOUT, [IDENTITY.recipient(), other.recipient()], os.urandom)
    assert decode_about(data, [other]) == ABOUT
    with pytest.raises(NoIdentity):
        decode_about(data, [stranger])


def test_a_changed_byte_is_damage() -> None:
    data = encoded(ABOUT)
    with pytest.raises(DamageError):
        decode_about(data[:-1] + bytes([data[-1] ^ 1]), [IDENTITY])


def test_a_path_that_is_not_utf8_is_told_in_base64() -> None:
    text = decrypt(encoded(replace(ABOUT, paths=(b"/\xff",))), [IDENTITY])
    assert b'"paths":[{"base64":"L/8="}]' in text


@pytest.mark.parametrize(
    "path", [b'{"base64":"YQ=="}', b'{"base64":"L/8=","x":1}', b'{"base64":"L/9="}', b"1", b"null"]
)
def test_a_path_told_in_another_way_is_damage(path: bytes) -> None:
    text = decrypt(encoded(replace(ABOUT, paths=(b"/\xff",))), [IDENTITY])
    with pytest.raises(DamageError, match="description has a bad paths"):
        opened_json(text.replace(b'{"base64":"L/8="}', path))


def test_what_is_not_json_is_damage() -> None:
    for text in (b"", b"[]", b"{}", b"{"):
        with pytest.raises(DamageError, match="a snapshot's description"):
            opened_json(text)


def test_a_tag_that_is_not_text_is_refused_with_its_name() -> None:
    with pytest.raises(UsageError, match="is not Unicode"):
        encoded(replace(ABOUT, tags=("a\udcff",)))
