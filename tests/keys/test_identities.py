"""The user's identity files: what is read, and what is said of the rest."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pairs import PASSPHRASE, Pair, make_ssh

from vaultpy.age import X25519Identity, decrypt, encode_armor, encrypt, parse_identity, parse_recipient
from vaultpy.age.bech32 import encode_bech32
from vaultpy.errors import NoIdentity, UsageError
from vaultpy.keys import IDENTITY_LIMIT, load_identities, new_identity_text
from vaultpy.signature import SigningKey, fingerprint

SIGNER = SigningKey.generate().public_text()


def no_question() -> str:
    raise AssertionError("nothing needs a passphrase here")


def test_a_new_identity_file_is_like_that_of_age_keygen() -> None:
    text, recipient = new_identity_text("2026-02-03T04:05:06Z", lambda size: bytes(range(size)))
    created, public, secret, end = text.split("\n")
    assert (created, public, end) == ("# created: 2026-02-03T04:05:06Z", f"# public key: {recipient}", "")
    assert parse_identity(secret).recipient() == parse_recipient(recipient)
    assert parse_identity(secret) == X25519Identity.from_secret(bytes(range(32)))


@pytest.mark.skipif(shutil.which("age-keygen") is None, reason="age-keygen is not installed")
def test_age_keygen_reads_a_new_identity_file_and_its_own_are_read(tmp_path: Path) -> None:
    text, recipient = new_identity_text("2026-02-03T04:05:06Z", lambda size: bytes(range(size)))
    shown = subprocess.run(["age-keygen", "-y"], input=text.encode(), capture_output=True, check=True, timeout=30)
    assert shown.stdout.decode().strip() == recipient
    theirs = subprocess.run(["age-keygen"], capture_output=True, check=True, timeout=30).stdout
    (key,) = load_identities(theirs, no_question).keys
    assert isinstance(key, X25519Identity)
    assert key.recipient().to_text() in theirs.decode()


def test_a_file_may_hold_several_keys_comments_and_signers(make_pair: Callable[[str], Pair]) -> None:
    one, two = make_pair("x25519"), make_pair("hybrid")
    found = fingerprint(SIGNER)
    lines = [b"# mine\r", b"", one.identity, b"  " + two.identity, f"# signer: {SIGNER} root@host".encode()]
    data = b"\n".join([*lines, f"# signer: {found}".encode(), f"# signer: {SIGNER}".encode()])
    loaded = load_identities(data, no_question)
    assert [decrypt(encrypt(b"x", [parse_recipient(pair.recipient)]), list(loaded.keys)) for pair in (one, two)] == [  # type: ignore[arg-type]
        b"x",
        b"x",
    ]
    assert loaded.signers == (SIGNER, found)


def test_identities_are_shown_without_secrets(make_pair: Callable[[str], Pair]) -> None:
    for kind in ("x25519", "hybrid", "ed25519"):
        shown = repr(load_identities(make_pair(kind).identity, None))
        assert "SECRET" not in shown and "seed" not in shown and "private" not in shown.lower()


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_an_ssh_key_is_an_identity(kind: str, newline: bytes, make_pair: Callable[[str], Pair]) -> None:
    loaded = load_identities(make_pair(kind).identity.replace(b"\n", newline), no_question)
    assert (len(loaded.keys), loaded.signers) == (1, ())


def test_an_ssh_key_with_a_passphrase_says_how_to_go_on(keys_folder: Path) -> None:
    with pytest.raises(NoIdentity, match="passphrase") as caught:
        load_identities(make_ssh(keys_folder, "ed25519", "secret").identity, no_question)
    assert "ssh-keygen -p" in (caught.value.hint or "")


def test_an_ssh_key_of_another_kind_is_refused(keys_folder: Path) -> None:
    with pytest.raises(UsageError, match="no SSH key that age knows") as caught:
        load_identities(make_ssh(keys_folder, "ecdsa").identity, no_question)
    assert "ed25519" in (caught.value.hint or "")


@pytest.mark.parametrize("armored", [False, True])
def test_a_passphrase_opens_an_identity_file(armored: bool, locked_identity: tuple[Pair, bytes]) -> None:
    pair, locked = locked_identity
    loaded = load_identities(encode_armor(locked) if armored else locked, lambda: PASSPHRASE)
    assert loaded == load_identities(pair.identity, None)


def test_a_wrong_passphrase_is_said_to_be(locked_identity: tuple[Pair, bytes]) -> None:
    with pytest.raises(NoIdentity, match="passphrase is wrong"):
        load_identities(locked_identity[1], lambda: PASSPHRASE.upper())


def test_where_nobody_can_be_asked_a_passphrase_is_missing(locked_identity: tuple[Pair, bytes]) -> None:
    with pytest.raises(NoIdentity, match="nobody can be asked") as caught:
        load_identities(locked_identity[1], None)
    assert caught.value.exit_code == 12


def test_a_damaged_file_with_a_passphrase_is_refused_before_asking(locked_identity: tuple[Pair, bytes]) -> None:
    for damaged in (locked_identity[1][:60], encode_armor(locked_identity[1])[:-10]):
        with pytest.raises(UsageError, match="does not parse"):
            load_identities(damaged, no_question)


def test_a_file_encrypted_to_a_recipient_has_to_be_opened_first(make_pair: Callable[[str], Pair]) -> None:
    pair = make_pair("x25519")
    with pytest.raises(UsageError, match="encrypted to a recipient") as caught:
        load_identities(encrypt(pair.identity, [parse_recipient(pair.recipient)]), no_question)
    assert "age -d" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no identity"),
        (b"# nothing but a comment\n", "holds no identity"),
        (b"\xff\xfe", "is not text"),
        (b"#\nAGE-SECRET-KEY-1QQQQ\n", "line 2"),
        (b"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n", "line 1"),
        (b"AGE-PLUGIN-TOY-1QQQQ\n", "line 1"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "no SSH key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no SSH key"),
        (b"# signer: ssh-rsa AAAA\n", "line 1"),
        (b"# signer:\n", "line 1"),
        (b"#" * (IDENTITY_LIMIT + 1), "too large"),
    ],
)
def test_what_is_no_identity_file_is_refused_by_line(data: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        load_identities(data, no_question)
    assert "QQQQ" not in str(caught.value)


def test_a_file_of_the_largest_size_is_read(make_pair: Callable[[str], Pair]) -> None:
    pair = make_pair("x25519")
    assert load_identities(pair.identity + b"#" * (IDENTITY_LIMIT - len(pair.identity)), None).keys


@pytest.mark.parametrize("name", ["../../tmp/x", "a/b", ".", ""])
def test_the_name_of_an_identitys_plugin_never_leaves_its_folder(name: str) -> None:
    with pytest.raises(UsageError, match="line 1"):
        load_identities(encode_bech32(f"age-plugin-{name}-", b"x").upper().encode(), no_question)


def test_a_plugin_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="age-plugin-toy"):
        load_identities(encode_bech32("age-plugin-toy-", b"x").upper().encode(), no_question)


@settings(max_examples=80)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"age-encryption.org/v1\n-> ", b"-----BEGIN ", b"AGE-SECRET-KEY-1"])
)
@example(b"OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", b"-----BEGIN ")
@example(b"RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", b"-----BEGIN ")
def test_junk_is_a_usage_error_and_nothing_else(junk: bytes, start: bytes) -> None:
    with pytest.raises(UsageError):
        load_identities(start + junk, no_question)
