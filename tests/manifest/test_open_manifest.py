"""Whose word is taken: a manifest is its own host's, in its own place, unchanged to the last bit."""

from __future__ import annotations

import uuid

import pytest
from manifests import Signed, folded, signed, signed_by_its_host, small_manifest, unfolded

from vaultpy.errors import DamageError, StoreFormatError, UntrustedSigner
from vaultpy.manifest import Manifest, open_manifest
from vaultpy.model import SnapshotId, StoreId
from vaultpy.signature import MANIFEST_NAMESPACE, SigningKey, Trust, sign

STORE, SNAPSHOT = StoreId(uuid.UUID(int=1)), SnapshotId(uuid.UUID(int=2))


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="module")
def good(key: SigningKey) -> Signed:
    return signed_by_its_host(key)


def opened(data: bytes, signature: bytes) -> Manifest:
    return open_manifest(data, signature, STORE, SNAPSHOT, None)


def test_a_signed_manifest_in_its_place_opens(good: Signed) -> None:
    assert opened(good.data, good.signature) == good.manifest


def test_every_changed_byte_of_the_manifest_is_refused(good: Signed) -> None:
    for position in range(len(good.data)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(good.data)
            changed[position] ^= flip
            with pytest.raises(DamageError, match=f"manifest {SNAPSHOT} is not signed"):
                opened(bytes(changed), good.signature)


def test_every_changed_byte_of_the_signature_is_refused(good: Signed) -> None:
    for position in range(len(good.signature)):
        changed = bytearray(good.signature)
        changed[position] ^= 0x01
        with pytest.raises(DamageError):
            opened(good.data, bytes(changed))


def test_a_cut_manifest_or_signature_is_refused(good: Signed) -> None:
    for data, signature in ((good.data[:-1], good.signature), (good.data, good.signature[:-10]), (good.data, b"")):
        with pytest.raises(DamageError):
            opened(data, signature)


def test_the_signature_is_checked_before_anything_looks_inside(good: Signed) -> None:
    """Bytes that would be refused by the decoder, and one that asks for a newer vaultpy, are refused as unsigned."""
    for data in (b"not zstd", folded(b'{"format":2}')):
        with pytest.raises(DamageError, match="is not signed"):
            opened(data, good.signature)


def test_a_signature_of_another_manifest_is_refused(key: SigningKey, good: Signed) -> None:
    other = signed_by_its_host(key, pinned=True)
    with pytest.raises(DamageError, match="is not signed"):
        opened(good.data, other.signature)


def test_a_signature_for_another_purpose_is_refused(key: SigningKey, good: Signed) -> None:
    with pytest.raises(DamageError, match="is not signed"):
        opened(good.data, sign(key, good.data, "git"))


def test_another_key_cannot_sign_in_the_name_of_a_signer(key: SigningKey) -> None:
    forger = SigningKey.generate()
    forged = signed(small_manifest(key), forger)
    with pytest.raises(DamageError, match="another signer"):
        opened(forged.data, forged.signature)


def test_a_signer_cannot_speak_for_another_host(key: SigningKey) -> None:
    forger = SigningKey.generate()
    forged = signed_by_its_host(forger, host=small_manifest(key).host)
    with pytest.raises(DamageError, match="not its signer's"):
        opened(forged.data, forged.signature)


def test_a_manifest_in_another_place_is_refused(good: Signed) -> None:
    with pytest.raises(DamageError, match="another snapshot"):
        open_manifest(good.data, good.signature, STORE, SnapshotId(uuid.UUID(int=9)), None)
    with pytest.raises(DamageError, match="another store"):
        open_manifest(good.data, good.signature, StoreId(uuid.UUID(int=9)), SNAPSHOT, None)


def test_a_signed_manifest_of_a_newer_format_is_refused_by_name(key: SigningKey) -> None:
    data = folded(b'{"format":2}')
    with pytest.raises(StoreFormatError, match=f"manifest {SNAPSHOT} is of format 2"):
        opened(data, sign(key, data, MANIFEST_NAMESPACE))


def test_a_signed_manifest_with_a_fault_inside_is_damage_that_names_it(key: SigningKey, good: Signed) -> None:
    data = folded(unfolded(good.data).replace(b'"pinned":false', b'"pinned":0'))
    with pytest.raises(DamageError, match=f"manifest {SNAPSHOT} has a bad pinned: it is neither true nor false"):
        opened(data, sign(key, data, MANIFEST_NAMESPACE))


def test_a_pinned_signer_is_believed_and_another_is_not(key: SigningKey, good: Signed) -> None:
    pinned = Trust(frozenset({key.public_text()}), any=False)
    assert open_manifest(good.data, good.signature, STORE, SNAPSHOT, pinned) == good.manifest
    stranger = signed_by_its_host(SigningKey.generate())
    with pytest.raises(UntrustedSigner):
        open_manifest(stranger.data, stranger.signature, STORE, SNAPSHOT, pinned)


def test_what_a_stranger_signed_is_not_looked_into(key: SigningKey) -> None:
    data = b"not zstd"
    with pytest.raises(UntrustedSigner):
        open_manifest(data, sign(key, data, MANIFEST_NAMESPACE), STORE, SNAPSHOT, Trust(frozenset(), any=False))
