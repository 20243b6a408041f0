"""Recipients: which are taken, what is said of the others, and that each kind wraps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyrage  # type: ignore[import-untyped]
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import Pair

from vaultpy.age import stanza_types
from vaultpy.age.bech32 import encode_bech32
from vaultpy.errors import UsageError
from vaultpy.keys import check_recipient, wrap

TOY = encode_bech32("age1toy", b"a toy")
X25519 = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


@pytest.mark.parametrize(
    ("kind", "form", "recognisable"),
    [("x25519", "x25519", False), ("hybrid", "hybrid", False), ("ed25519", "ssh", True), ("rsa", "ssh", True)],
)
def test_every_kind_of_age_key_is_known(
    kind: str, form: str, recognisable: bool, make_pair: Callable[[str], Pair]
) -> None:
    recipient = make_pair(kind).recipient
    found = check_recipient(f" {recipient}\n")
    assert (found.kind, found.recognisable) == (form, recognisable)
    assert found.text == recipient.removesuffix(" me@there")


def test_a_plugin_is_known_by_its_form_alone() -> None:
    found = check_recipient(TOY)
    assert (found.text, found.kind, found.recognisable) == (TOY, "plugin", True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "age1",
        "alice@example.org",
        X25519[:-1],
        X25519[:-1] + "q",
        X25519.upper()[:20] + X25519[20:],
        X25519 + "\n" + X25519,
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-dss AAAA",
        "ecdsa-sha2-nistp256 AAAA",
        encode_bech32("age", b"short"),
        encode_bech32("age1pq", b"short"),
        encode_bech32("age1tag", b"short"),
        encode_bech32("bc", b"0" * 20),
        "age1" + "q" * 10_000,
    ],
)
def test_a_malformed_recipient_is_named_with_what_is_accepted(text: str) -> None:
    with pytest.raises(UsageError, match="does not parse") as caught:
        check_recipient(text)
    assert repr(text[:20])[:-1] in caught.value.message
    assert "ssh-ed25519" in (caught.value.hint or "")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["../../tmp/x", "a/b", "a\\b", ".", "..", ".hidden", "", "-x", "a~"])
def test_a_plugin_name_never_leaves_its_folder(name: str) -> None:
    with pytest.raises(UsageError):
        check_recipient(encode_bech32(f"age1{name}", b"x"))


@pytest.mark.parametrize("name", ["yubikey", "se", "fido2-hmac", "a.b_c+d"])
def test_usual_plugin_names_are_taken(name: str) -> None:
    assert check_recipient(encode_bech32(f"age1{name}", b"x")).kind == "plugin"


@pytest.mark.parametrize(
    "secret",
    [
        "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX",
        "age-secret-key-1gfpyysjzgfpyysjzgfpyysjzgfpyysjzgfpyysjzgfpyysjzgfpq4egaex",
        "AGE-PLUGIN-TOY-1QQQQ",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_secret_key_is_not_repeated(secret: str) -> None:
    with pytest.raises(UsageError, match="secret") as caught:
        check_recipient(secret)
    assert secret[16:] not in str(caught.value) + (caught.value.hint or "")


@settings(max_examples=60)
@given(st.text(max_size=80), st.sampled_from(["", "age1", "ssh-ed25519 ", "ssh-rsa AAAAB3NzaC1yc2E"]))
def test_junk_is_a_usage_error_and_nothing_else(junk: str, start: str) -> None:
    with pytest.raises(UsageError):
        check_recipient(start + junk)


@pytest.mark.parametrize(
    ("kind", "stanza"),
    [("x25519", "X25519"), ("hybrid", "mlkem768x25519"), ("ed25519", "ssh-ed25519"), ("rsa", "ssh-rsa")],
)
def test_wrapping_makes_an_ordinary_age_file(kind: str, stanza: str, make_pair: Callable[[str], Pair]) -> None:
    file = wrap(b"secret", make_pair(kind).recipient)
    assert stanza in stanza_types(file)
    assert b"secret" not in file


def tagged_recipient(prefix: str) -> str:
    point = derive_private_key(1, SECP256R1()).public_key()
    if prefix == "age1tag":
        return encode_bech32(prefix, point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))
    try:
        public = MLKEM768PrivateKey.generate().public_key().public_bytes_raw()
    except UnsupportedAlgorithm:
        pytest.skip("the installed cryptography has no ML-KEM")
    return encode_bech32(prefix, public + point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


@pytest.mark.parametrize(("prefix", "stanza"), [("age1tag", "p256tag"), ("age1tagpq", "mlkem768p256tag")])
def test_the_recipients_of_hardware_keys_that_age_knows_need_no_plugin(
    prefix: str, stanza: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    recipient = tagged_recipient(prefix)
    assert check_recipient(recipient).recognisable
    assert stanza in stanza_types(wrap(b"secret", recipient))


@pytest.mark.usefixtures("plugin")
def test_a_plugin_wraps() -> None:
    assert "toy" in stanza_types(wrap(b"secret", TOY))


def test_a_plugin_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="age-plugin-toy") as caught:
        wrap(b"secret", TOY)
    assert "PATH" in (caught.value.hint or "")


def test_a_plugin_that_fails_is_a_usage_error(plugin: Path) -> None:
    plugin.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(UsageError, match="cannot be encrypted to"):
        wrap(b"secret", TOY)


def test_wrapping_refuses_what_does_not_parse() -> None:
    with pytest.raises(UsageError, match="alice"):
        wrap(b"secret", "alice")


def test_pyrage_opens_what_is_wrapped_for_x25519() -> None:
    identity = pyrage.x25519.Identity.generate()
    assert pyrage.decrypt(wrap(b"secret", str(identity.to_public())), [identity]) == b"secret"
