"""The store shows sizes, times, opaque ids and which snapshots share blobs: nothing that names or tells."""

from __future__ import annotations

import base64
import contextlib
import grp
import hashlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import blake3
import pytest
import zstandard

from vaultpy.cli.main import main

HOST, USER, GROUP = "canary-host", "canary-user", "canary-group"
FOLDER, FILE, LINKED, SOURCE, TAG = "canary-folder", "canary-file", "canary-linked", "canary-source", "canary-tag"
XATTR, TEXT = "user.canary", b"canary in the content " * 3000


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / FOLDER
    tree.mkdir()
    (tree / FILE).write_bytes(TEXT)
    (tree / "link").symlink_to(LINKED)
    for number in range(5):
        (tree / f"{FILE}-{number}").write_bytes(os.urandom(50_000))
    with contextlib.suppress(OSError):  # a file system without them has nothing to give away
        os.setxattr(tree / FILE, XATTR, b"canary value")
    return tree


@pytest.fixture
def canaries(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A store in which everything that could give something away is a canary; each with its name."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [*os.environ]:
        if name.startswith(("XDG_", "VAULTPY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    system = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((system[0], HOST, *system[2:])))
    user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(os.getgid())
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd((USER, *user[1:])))
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group((GROUP, *group[1:])))
    identity = home / "identity.txt"
    store = (tmp_path / "store").as_uri()
    assert main(["init", "--store", store, "--new-identity", str(identity)]) == 0
    create = ["snapshot", "create", "--path", str(tree), "--name", SOURCE, "--tag", TAG]
    assert main(create) == 0
    (tree / f"{FILE}-new").write_bytes(b"another")
    assert main(create) == 0
    assert main(create) == 0
    assert main(["snapshot", "purge", "--keep-last", "1", "--force"]) == 0
    return dict(_planted(home, identity, tree))


def _planted(home: Path, identity: Path, tree: Path) -> Iterator[tuple[str, bytes]]:
    for text in (HOST, USER, GROUP, FOLDER, FILE, LINKED, SOURCE, TAG, XATTR, "canary", str(home), "pytest"):
        yield text, text.encode()
    recipient = next(line.split()[-1] for line in identity.read_text().splitlines() if "public key" in line)
    config = (home / ".config" / "vaultpy" / "config.toml").read_text()
    [public] = [word for line in config.splitlines() if line.startswith("recipient") for word in line.split('"')[1:2]]
    yield "the recipient", recipient.encode()
    yield "the store key's public half", public.encode()
    for path in tree.iterdir():
        if path.is_symlink():
            continue
        data = path.read_bytes()
        for name, digest in (("BLAKE3", blake3.blake3(data).digest()), ("SHA-256", hashlib.sha256(data).digest())):
            yield f"{name} of {path.name}", digest
        yield f"content of {path.name}", data[:40]


def forms(secret: bytes) -> Iterator[bytes]:
    """A secret as it is, and as it would be written down."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for shift in range(3):
        whole = base64.b64encode(bytes(shift) + secret)
        if len(secret) >= 12:
            yield whole[4:-4]


def clear_bytes(store: Path) -> Iterator[tuple[str, bytes]]:
    """Every name and every byte, and what is merely compressed also unfolded."""
    for path in sorted(store.rglob("*")):
        name = str(path.relative_to(store))
        yield f"name {name}", name.encode()
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield name, data
        if path.suffix == ".zst":
            yield f"{name}, unfolded", zstandard.ZstdDecompressor().decompress(data, max_output_size=1 << 26)


def test_no_name_and_no_clear_byte_of_the_store_gives_anything_away(canaries: dict[str, bytes], tmp_path: Path) -> None:
    store = tmp_path / "store"
    for folder in ("blobs", "metadata", "keys", "purges"):
        assert any((store / folder).rglob("*")), f"{folder}/ was to be looked at, too"
    looked_at = list(clear_bytes(store))
    assert any(b'"about"' in data for _, data in looked_at), "the manifests were read as text"
    for what, secret in canaries.items():
        for form in forms(secret):
            for where, data in looked_at:
                assert form not in data, f"{what} is in {where}"


def test_the_canaries_are_in_what_the_index_holds(canaries: dict[str, bytes], tmp_path: Path) -> None:
    """The search above can find them: it does, where they may be."""
    [index] = (tmp_path / "home" / "state").rglob("index.sqlite")
    data = index.read_bytes()
    for name in (USER, GROUP, FOLDER, FILE, LINKED, SOURCE, TAG, f"BLAKE3 of {FILE}"):
        assert canaries[name] in data, name
