"""Recipients, identities and Bech32: what parses, what does not, and what is never shown."""

from __future__ import annotations

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.age import (
    HybridIdentity,
    HybridRecipient,
    KeyTextError,
    X25519Identity,
    X25519Recipient,
    parse_identity,
    parse_recipient,
)
from vaultpy.age.bech32 import decode_bech32, encode_bech32

# The key pair of the specification's examples.
SPEC_IDENTITY = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
SPEC_RECIPIENT = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
SPEC_HYBRID_IDENTITY = "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR"
# Its recipient has 1,959 letters; the last six are a checksum of all of them.
SPEC_HYBRID_RECIPIENT_START = (
    "age1pq1x34nzsvr0rxjsgdn8zgyhfe8j7ceq5r9rdelkjuh3y235jzxshfg87pzf5zrqtzdxz95paef6caq5aapdmwjj"
)
SPEC_HYBRID_RECIPIENT_END = "xpfqdkmhh6gjtqmwze9pyyzk3tlhl53k2ykx3qheyty7saeq0d3fzv49zc0k"


def test_the_key_pair_of_the_specification_belongs_together() -> None:
    identity = parse_identity(SPEC_IDENTITY)
    assert identity.recipient() == parse_recipient(SPEC_RECIPIENT)
    assert identity.to_text() == SPEC_IDENTITY
    assert identity.recipient().to_text() == SPEC_RECIPIENT
    assert str(pyrage.x25519.Identity.from_str(SPEC_IDENTITY).to_public()) == SPEC_RECIPIENT


def test_the_hybrid_key_pair_of_the_specification_belongs_together() -> None:
    identity = parse_identity(SPEC_HYBRID_IDENTITY)
    text = identity.recipient().to_text()
    assert text.startswith(SPEC_HYBRID_RECIPIENT_START)
    assert text.endswith(SPEC_HYBRID_RECIPIENT_END)
    assert parse_recipient(text) == identity.recipient()
    assert identity.to_text() == SPEC_HYBRID_IDENTITY


@pytest.mark.parametrize("kind", [X25519Identity, HybridIdentity])
def test_generated_keys_come_back_from_their_text(kind: type[X25519Identity] | type[HybridIdentity]) -> None:
    identity = kind.generate()
    assert parse_identity(identity.to_text()) == identity
    assert parse_recipient(identity.recipient().to_text()) == identity.recipient()
    assert kind.generate() != identity


@pytest.mark.parametrize("kind", [X25519Identity, HybridIdentity])
def test_generation_takes_its_randomness_from_the_argument(
    kind: type[X25519Identity] | type[HybridIdentity],
) -> None:
    assert kind.generate(lambda n: b"r" * n).to_text() == kind.from_secret(b"r" * 32).to_text()


@pytest.mark.parametrize("kind", [X25519Identity, HybridIdentity])
def test_an_identity_is_shown_without_its_secret(kind: type[X25519Identity] | type[HybridIdentity]) -> None:
    identity = kind.from_secret(b"secretsecretsecretsecretsecretse")
    assert "secretse" not in repr(identity)
    assert "_private" not in repr(identity)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "age1",
        "age",
        SPEC_RECIPIENT.upper(),
        SPEC_RECIPIENT[:-1] + SPEC_RECIPIENT[-1].upper(),
        SPEC_RECIPIENT + "\n",
        " " + SPEC_RECIPIENT,
        SPEC_RECIPIENT[:-1],
        SPEC_RECIPIENT[:-1] + "q",
        SPEC_RECIPIENT[:-1] + "b",
        SPEC_RECIPIENT.replace("age1", "agf1"),
        "age1ä" + SPEC_RECIPIENT[5:],
        encode_bech32("age", b"\7" * 31),
        encode_bech32("age", b"\7" * 33),
        encode_bech32("agx", b"\7" * 32),
        encode_bech32("age1pq", b"\7" * 32),
        encode_bech32("age", b"\7" * 1216),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN",
        "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
    ],
)
def test_a_recipient_that_is_not_strictly_right_does_not_parse(text: str) -> None:
    with pytest.raises(KeyTextError, match="recipient"):
        parse_recipient(text)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_a_recipient_that_protects_nothing_does_not_parse(point: bytes) -> None:
    for recipient in (X25519Recipient(point), HybridRecipient(HybridIdentity.generate().public[:1184] + point)):
        with pytest.raises(KeyTextError, match="recipient"):
            parse_recipient(recipient.to_text())


def test_a_hybrid_recipient_out_of_range_does_not_parse() -> None:
    with pytest.raises(KeyTextError, match="no valid public key"):
        parse_recipient(HybridRecipient(b"\xff" * 1216).to_text())


@pytest.mark.parametrize(
    "text",
    [
        "",
        SPEC_IDENTITY.lower(),
        SPEC_IDENTITY[:-1] + "x",
        SPEC_IDENTITY[:-1] + "Q",
        SPEC_IDENTITY + " ",
        SPEC_RECIPIENT,
        encode_bech32("age-secret-key-", b"\7" * 31).upper(),
        encode_bech32("age-secret-key-pq-", b"\7" * 33).upper(),
        encode_bech32("age-secret-key-x-", b"\7" * 32).upper(),
    ],
)
def test_an_identity_that_is_not_strictly_right_does_not_parse(text: str) -> None:
    with pytest.raises(KeyTextError, match="identity") as caught:
        parse_identity(text)
    assert not text or text[-20:].upper() not in caught.value.message.upper()


@pytest.mark.parametrize("secret", [SPEC_IDENTITY, SPEC_IDENTITY.lower(), SPEC_HYBRID_IDENTITY, SPEC_IDENTITY[:-9]])
def test_a_secret_key_given_as_recipient_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(KeyTextError, match="secret key") as caught:
        parse_recipient(secret)
    assert secret[16:24].upper() not in (caught.value.message + str(caught.value.hint)).upper()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_bech32_round_trips(data: bytes) -> None:
    assert decode_bech32(encode_bech32("age", data)) == ("age", data)
    assert decode_bech32(encode_bech32("age", data).upper()) == ("AGE", data)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_bech32_notices_any_single_wrong_letter(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SPEC_RECIPIENT) - 1))
    letter = data.draw(st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l1b").filter(lambda c: c != SPEC_RECIPIENT[at]))
    with pytest.raises(KeyTextError):
        decode_bech32(SPEC_RECIPIENT[:at] + letter + SPEC_RECIPIENT[at + 1 :])


@pytest.mark.parametrize("text", ["age1ppnjasjq", "age1qqqyst3gn"])
def test_bech32_refuses_padding_that_is_not_canonical(text: str) -> None:
    # The checksums are right; the first has a padding bit set, the second five bits too many.
    with pytest.raises(KeyTextError, match="padding"):
        decode_bech32(text)
