"""Signatures of manifests, both ways against ssh-keygen, and whose are believed."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaultpy.errors import DamageError, UntrustedSigner, UsageError
from vaultpy.signature import (
    MANIFEST_NAMESPACE,
    SIGNATURE_LIMIT,
    SigningKey,
    Trust,
    check_pin,
    claimed_signer,
    fingerprint,
    load_signing_key,
    sign,
    verify,
)

MESSAGE = b"what was signed\n"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = SigningKey(SECRET.public_key().public_bytes_raw(), SECRET)
SIGNATURE = sign(KEY, MESSAGE, MANIFEST_NAMESPACE)

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


def ssh_keygen(*arguments: str | Path, data: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["ssh-keygen", *map(str, arguments)], input=data, capture_output=True, check=check, timeout=30
    )


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(KEY.to_pem())
    return path


def make_key(path: Path, *arguments: str) -> Path:
    ssh_keygen("-q", *arguments, "-f", path)
    return path


@needs_ssh
def test_ssh_keygen_reads_our_key_and_shows_the_same_public_half_and_fingerprint(key_file: Path) -> None:
    assert ssh_keygen("-y", "-f", key_file).stdout.decode().strip() == KEY.public_text()
    public = key_file.with_suffix(".pub")
    public.write_text(KEY.public_text() + "\n")
    assert ssh_keygen("-l", "-f", public).stdout.split()[1].decode() == fingerprint(KEY.public_text())


@needs_ssh
def test_a_key_of_ssh_keygen_is_read(tmp_path: Path) -> None:
    path = make_key(tmp_path / "theirs", "-t", "ed25519", "-N", "", "-C", "me@there")
    public = (tmp_path / "theirs.pub").read_text().strip()
    assert load_signing_key(path.read_bytes()).public_text() + " me@there" == public
    assert fingerprint(public) == fingerprint(public.removesuffix(" me@there"))


@needs_ssh
@pytest.mark.parametrize(
    "arguments", [("-t", "rsa", "-b", "2048", "-N", ""), ("-t", "ecdsa", "-N", ""), ("-t", "ed25519", "-N", "secret")]
)
def test_other_kinds_of_keys_and_keys_with_a_passphrase_are_refused(arguments: tuple[str, ...], tmp_path: Path) -> None:
    path = make_key(tmp_path / "other", *arguments)
    with pytest.raises(DamageError, match="Ed25519"):
        load_signing_key(path.read_bytes())


@needs_ssh
@pytest.mark.parametrize("message", [b"", b"a", bytes(range(256)) * 300])
def test_ssh_keygen_writes_the_same_signature(message: bytes, key_file: Path) -> None:
    theirs = ssh_keygen("-Y", "sign", "-n", MANIFEST_NAMESPACE, "-f", key_file, data=message).stdout
    assert theirs == sign(KEY, message, MANIFEST_NAMESPACE)
    assert verify(theirs, message, MANIFEST_NAMESPACE) == KEY.public_text()


@needs_ssh
@pytest.mark.parametrize(("message", "code"), [(MESSAGE, 0), (MESSAGE + b"x", 255)])
def test_ssh_keygen_verifies_what_we_signed(message: bytes, code: int, tmp_path: Path) -> None:
    (tmp_path / "signers").write_text(f"host {KEY.public_text()}\n")
    (tmp_path / "sig").write_bytes(SIGNATURE)
    where = ("-f", tmp_path / "signers", "-I", "host", "-n", MANIFEST_NAMESPACE, "-s", tmp_path / "sig")
    assert ssh_keygen("-Y", "verify", *where, data=message, check=False).returncode == code


@needs_ssh
def test_a_signature_with_another_hash_is_refused(key_file: Path) -> None:
    theirs = ssh_keygen(
        "-Y", "sign", "-n", MANIFEST_NAMESPACE, "-O", "hashalg=sha256", "-f", key_file, data=MESSAGE
    ).stdout
    with pytest.raises(DamageError, match="one form"):
        verify(theirs, MESSAGE, MANIFEST_NAMESPACE)


@needs_ssh
def test_a_signature_by_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    path = make_key(tmp_path / "ecdsa", "-t", "ecdsa", "-N", "")
    theirs = ssh_keygen("-Y", "sign", "-n", MANIFEST_NAMESPACE, "-f", path, data=MESSAGE).stdout
    with pytest.raises(DamageError, match="Ed25519"):
        verify(theirs, MESSAGE, MANIFEST_NAMESPACE)


def test_a_key_comes_back_from_its_text() -> None:
    assert load_signing_key(KEY.to_pem()) == KEY


def test_a_key_is_never_shown() -> None:
    assert "private" not in repr(KEY).lower()


@pytest.mark.parametrize(
    "pem",
    [b"", b"junk", KEY.to_pem()[:-40], KEY.to_pem().replace(b"A", b"B"), b"x" * 20_000],
    ids=["empty", "junk", "cut", "changed", "long"],
)
def test_what_is_no_signing_key_is_refused(pem: bytes) -> None:
    with pytest.raises(DamageError):
        load_signing_key(pem)


def test_signing_is_the_same_each_time_and_verifying_names_the_signer() -> None:
    assert sign(KEY, MESSAGE, MANIFEST_NAMESPACE) == SIGNATURE
    assert verify(SIGNATURE, MESSAGE, MANIFEST_NAMESPACE) == KEY.public_text()


def test_a_signature_of_another_namespace_is_refused() -> None:
    with pytest.raises(DamageError, match="namespace vaultpy-manifest@1"):
        verify(sign(KEY, MESSAGE, "file"), MESSAGE, MANIFEST_NAMESPACE)


@pytest.mark.parametrize("message", [b"", MESSAGE[:-1], MESSAGE + b"\n", b"W" + MESSAGE[1:]])
def test_another_message_is_refused(message: bytes) -> None:
    with pytest.raises(DamageError, match="changed"):
        verify(SIGNATURE, message, MANIFEST_NAMESPACE)


def test_a_signature_under_another_public_key_is_refused() -> None:
    # The attacker's public half in place of the signer's: the form is right, the mathematics is not.
    start, end = (line.encode() for line in ("-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n"))
    blob = base64.b64decode(SIGNATURE[len(start) : -len(end)])
    forged = base64.b64encode(blob.replace(KEY.public, SigningKey.generate().public))
    lines = [forged[i : i + 70] + b"\n" for i in range(0, len(forged), 70)]
    with pytest.raises(DamageError, match="changed"):
        verify(b"".join([start, *lines, end]), MESSAGE, MANIFEST_NAMESPACE)


@pytest.mark.parametrize("position", range(len(SIGNATURE)))
def test_every_changed_byte_is_noticed(position: int) -> None:
    changed = bytearray(SIGNATURE)
    changed[position] ^= 1
    with pytest.raises(DamageError):
        verify(bytes(changed), MESSAGE, MANIFEST_NAMESPACE)


@pytest.mark.parametrize(
    "changed",
    [
        b"",
        SIGNATURE[:-1],
        SIGNATURE + b"\n",
        b"\n" + SIGNATURE,
        SIGNATURE.replace(b"\n", b"\r\n"),
        SIGNATURE + SIGNATURE,
        SIGNATURE.replace(b"\n", b"", 2).replace(b"-----U", b"-----\nU"),
        SIGNATURE.replace(b"\n-----END", b"\n\n-----END"),
        SIGNATURE.replace(b"\n-----END", b"=\n-----END"),
        SIGNATURE.replace(b"-----BEGIN SSH", b"-----BEGIN PGP"),
        b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        b"-----BEGIN SSH SIGNATURE-----\n",
        SIGNATURE + b"x" * SIGNATURE_LIMIT,
    ],
)
def test_only_the_one_form_is_read(changed: bytes) -> None:
    with pytest.raises(DamageError):
        verify(changed, MESSAGE, MANIFEST_NAMESPACE)


def test_a_signature_too_long_to_be_one_is_not_looked_at() -> None:
    with pytest.raises(DamageError, match="more than 4096"):
        verify(SIGNATURE.replace(b"\n", b"\n" + b"A" * SIGNATURE_LIMIT, 1), MESSAGE, MANIFEST_NAMESPACE)


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=400), st.booleans())
def test_junk_is_damage_and_nothing_else(junk: bytes, wrapped: bool) -> None:
    if wrapped:
        text = base64.b64encode(junk)
        lines = [text[i : i + 70] + b"\n" for i in range(0, len(text), 70)]
        junk = b"".join([b"-----BEGIN SSH SIGNATURE-----\n", *lines, b"-----END SSH SIGNATURE-----\n"])
    with pytest.raises(DamageError):
        verify(junk, MESSAGE, MANIFEST_NAMESPACE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 ",
        "ssh-rsa AAAA",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 ????",
        "ssh-ed25519 é",
        KEY.public_text()[:-1],
        KEY.public_text() + "A",
        " " + KEY.public_text(),
        KEY.public_text().replace("ssh-ed25519 ", "ssh-rsa "),
    ],
)
def test_a_malformed_public_key_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a signer"):
        fingerprint(text)


def test_a_pin_is_a_key_without_its_comment_or_a_fingerprint() -> None:
    print_of_key = fingerprint(KEY.public_text())
    assert check_pin(KEY.public_text() + " root@host in the cellar") == KEY.public_text()
    assert check_pin(print_of_key) == print_of_key
    with pytest.raises(UsageError):
        check_pin(print_of_key[:-1])


@pytest.mark.parametrize("pin", [KEY.public_text(), KEY.public_text() + " root@host", fingerprint(KEY.public_text())])
def test_a_pinned_signer_is_believed(pin: str) -> None:
    Trust(frozenset({SigningKey.generate().public_text(), pin}), False).check(KEY.public_text())


def test_anybody_is_believed_when_told_so() -> None:
    Trust(frozenset(), True).check(KEY.public_text())


@pytest.mark.parametrize("pinned", [frozenset[str](), frozenset({SigningKey.generate().public_text(), "SHA256:"})])
def test_an_unknown_signer_is_named_and_the_way_on_is_shown(pinned: frozenset[str]) -> None:
    with pytest.raises(UntrustedSigner) as caught:
        Trust(pinned, False).check(KEY.public_text())
    found = fingerprint(KEY.public_text())
    assert caught.value.exit_code == 4
    assert found in caught.value.message
    assert f"--signer {found}" in (caught.value.hint or "")
    assert "--signer any" in (caught.value.hint or "")


def test_whom_a_signature_claims_is_told_without_its_message_and_proves_nothing() -> None:
    assert claimed_signer(SIGNATURE, MANIFEST_NAMESPACE) == KEY.public_text()
    with pytest.raises(DamageError):
        claimed_signer(SIGNATURE, "vaultpy-other@1")
