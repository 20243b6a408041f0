"""vaultpy's age and those of others (pyrage, the `age` program) read each other's files."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pyrage
import pytest

from vaultpy.age import X25519Identity, decode_armor, decrypt, encode_armor, encrypt, open_stream, parse_recipient

PIECE = 65536
SIZES = [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 5]
PLAIN = random.Random(2).randbytes(max(SIZES))

needs_age = pytest.mark.skipif(shutil.which("age") is None, reason="the age program is not installed")


def run_age(*arguments: str, data: bytes) -> bytes:
    return subprocess.run(["age", *arguments], input=data, capture_output=True, check=True, timeout=30).stdout


@pytest.fixture
def identity() -> X25519Identity:
    return X25519Identity.generate()


@pytest.fixture
def identity_file(identity: X25519Identity, tmp_path: Path) -> str:
    path = tmp_path / "identity.txt"
    path.write_text(identity.to_text() + "\n")
    return str(path)


@pytest.mark.parametrize("size", SIZES)
def test_pyrage_reads_what_vaultpy_wrote(size: int, identity: X25519Identity) -> None:
    file = encrypt(PLAIN[:size], [identity.recipient()])
    assert pyrage.decrypt(file, [pyrage.x25519.Identity.from_str(identity.to_text())]) == PLAIN[:size]


@pytest.mark.parametrize("size", SIZES)
def test_vaultpy_reads_what_pyrage_wrote(size: int, identity: X25519Identity) -> None:
    recipient = pyrage.x25519.Recipient.from_str(identity.recipient().to_text())
    assert decrypt(pyrage.encrypt(PLAIN[:size], [recipient]), [identity]) == PLAIN[:size]


def test_pyrage_takes_every_one_of_several_recipients(identity: X25519Identity) -> None:
    theirs = pyrage.x25519.Identity.generate()
    file = encrypt(b"for both", [identity.recipient(), parse_recipient(str(theirs.to_public()))])
    assert pyrage.decrypt(file, [theirs]) == decrypt(file, [identity]) == b"for both"


@needs_age
@pytest.mark.parametrize("size", SIZES)
def test_the_age_program_reads_what_vaultpy_wrote(size: int, identity: X25519Identity, identity_file: str) -> None:
    file = encrypt(PLAIN[:size], [identity.recipient()])
    assert run_age("-d", "-i", identity_file, data=file) == PLAIN[:size]


@needs_age
@pytest.mark.parametrize("size", SIZES)
def test_vaultpy_reads_what_the_age_program_wrote(size: int, identity: X25519Identity) -> None:
    file = run_age("-r", identity.recipient().to_text(), data=PLAIN[:size])
    assert b"".join(open_stream([file], [identity])) == PLAIN[:size]


@needs_age
@pytest.mark.parametrize("size", [0, 1, 1000])
def test_armor_goes_both_ways(size: int, identity: X25519Identity, identity_file: str) -> None:
    theirs = run_age("-a", "-r", identity.recipient().to_text(), data=PLAIN[:size])
    assert decrypt(decode_armor(theirs), [identity]) == PLAIN[:size]
    assert encode_armor(decode_armor(theirs)) == theirs
    ours = encode_armor(encrypt(PLAIN[:size], [identity.recipient()]))
    assert run_age("-d", "-i", identity_file, data=ours) == PLAIN[:size]
