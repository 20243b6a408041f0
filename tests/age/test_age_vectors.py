"""The C2SP/CCTV age vectors: every file gives its labelled outcome, read as a stream and at random alike."""

from __future__ import annotations

import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from vaultpy.age import (
    AgeReader,
    ArmorError,
    HeaderError,
    HeaderMacError,
    Identity,
    PassphraseError,
    PayloadError,
    decode_armor,
    open_stream,
    parse_identity,
)
from vaultpy.errors import NoIdentity, VaultpyError

FOLDER = Path(
    os.environ.get("VAULTPY_CCTV_AGE") or Path(__file__).resolve().parents[3] / "shared" / "vectors" / "cctv-age"
)
VECTORS = sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []
COUNT = 143

ERRORS = {
    "no match": NoIdentity,
    "HMAC failure": HeaderMacError,
    "header failure": HeaderError,
    "payload failure": PayloadError,
    "armor failure": ArmorError,
}

GIVES_OUT_LESS = {
    "armor_garbage_encoded",
    "stream_no_final_full",
    "stream_no_final_two_chunks_full",
    "stream_trailing_garbage_long",
    "stream_trailing_garbage_short",
    "stream_two_final_chunks",
    "stream_two_final_chunks_full",
    "stream_two_final_chunks_second",
}
"""Files in which a piece is marked as final and is not the last, or the other way round.  The payload hashes were made
by a reader that notices only after giving that piece out; vaultpy looks first, and does not."""


@dataclass(frozen=True)
class Vector:
    """A vector file: what it promises, and the age file in it."""

    expect: str
    payload: str | None
    identities: tuple[Identity, ...]
    passphrase: bool
    armored: bool
    file: bytes


@dataclass(frozen=True)
class Outcome:
    """What came out before the end, and the error that ended it."""

    released: bytes
    error: VaultpyError | None


def read_vector(name: str) -> Vector:
    head, _, file = (FOLDER / name).read_bytes().partition(b"\n\n")
    fields = [line.split(": ", 1) for line in head.decode().split("\n")]
    single = dict(fields)
    return Vector(
        expect=single["expect"],
        payload=single.get("payload"),
        identities=tuple(parse_identity(value) for key, value in fields if key == "identity"),
        passphrase="passphrase" in single,
        armored=single.get("armored") == "yes",
        file=zlib.decompress(file) if single.get("compressed") == "zlib" else file,
    )


def read_as_stream(vector: Vector, piece_size: int) -> Outcome:
    released = b""
    try:
        file = decode_armor(vector.file) if vector.armored else vector.file
        pieces = (file[i : i + piece_size] for i in range(0, len(file), piece_size))
        for piece in open_stream(pieces, vector.identities):
            released += piece
    except VaultpyError as error:
        return Outcome(released, error)
    return Outcome(released, None)


def read_at_random(vector: Vector) -> Outcome:
    try:
        file = decode_armor(vector.file) if vector.armored else vector.file
        reader = AgeReader(lambda start, length: file[start : start + length], len(file), vector.identities)
        return Outcome(reader.read(0, reader.size), None)
    except VaultpyError as error:
        return Outcome(b"", error)


def passphrase_refusal(name: str, vector: Vector) -> type[VaultpyError]:
    if name == "scrypt_uppercase":
        return NoIdentity  # "SCRYPT" is no passphrase stanza but one of an unknown type
    return HeaderError if vector.expect == "header failure" else PassphraseError


@pytest.mark.skipif(not VECTORS, reason=f"C2SP/CCTV age vectors are not at {FOLDER} (set VAULTPY_CCTV_AGE)")
def test_every_vector_is_there() -> None:
    assert len(VECTORS) == COUNT


@pytest.mark.parametrize("name", VECTORS)
def test_vector_gives_its_labelled_outcome(name: str) -> None:
    vector = read_vector(name)
    outcomes = [read_as_stream(vector, 1 << 20), read_as_stream(vector, 1000), read_at_random(vector)]
    if vector.passphrase:
        assert all(isinstance(outcome.error, passphrase_refusal(name, vector)) for outcome in outcomes)
        pytest.skip("does not apply: passphrase (scrypt) files are always refused (and this one was)")
    if vector.expect == "success":
        for outcome in outcomes:
            assert outcome.error is None
            assert hashlib.sha256(outcome.released).hexdigest() == vector.payload
    else:
        for outcome in outcomes:
            assert isinstance(outcome.error, ERRORS[vector.expect])
            assert not isinstance(outcome.error, PassphraseError)
        assert outcomes[0].released == outcomes[1].released
        if vector.expect == "payload failure":
            same = hashlib.sha256(outcomes[0].released).hexdigest() == vector.payload
            assert same == (name not in GIVES_OUT_LESS)
