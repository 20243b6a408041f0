"""Every object is an ordinary file: `age`, `zstd` and `b3sum` take it, and a blob's name is its hash."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hosts import Host, make_host

from vaultpy.blob.writer import STEP
from vaultpy.padding import padme


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, stdin: bytes = b"") -> bytes:
    return subprocess.run([str(word) for word in command], input=stdin, check=True, capture_output=True).stdout


@dataclass(frozen=True, slots=True)
class Filled:
    """A store with several blobs in it, small and full ones, of text and of noise; its host, and the tree."""

    store: Path
    host: Host
    tree: Path


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    folder = tmp_path_factory.mktemp("filled")
    made = Filled(folder / "store", make_host(folder / "host", (folder / "store").as_uri()), folder / "tree")
    made.host.init()
    config = made.host.config.read_text().replace('#blob_size = "32MiB"', 'blob_size = "1MiB"')
    assert "\nblob_size" in config
    made.host.config.write_text(config)
    made.tree.mkdir()
    for number in range(40):
        (made.tree / f"text{number}").write_text(f"line {number}\n" * (number * 50))
    for seed in range(4):
        (made.tree / f"noise{seed}").write_bytes(random.Random(seed).randbytes(2_000_000))
    made.host.create(made.tree)
    (made.tree / "later").write_bytes(random.Random(9).randbytes(100_000))
    made.host.create(made.tree)
    return made


def blobs(store: Path) -> list[Path]:
    return sorted(path for path in (store / "blobs").rglob("*") if path.is_file())


@pytest.fixture
def store_key(filled: Filled, tmp_path: Path) -> Path:
    """The store key, opened by `age` alone."""
    [wrapped] = (filled.store / "keys").rglob("*.age")
    opened = tmp_path / "storekey.txt"
    opened.write_bytes(run(program("age"), "-d", "-i", filled.host.identity, wrapped))
    return opened


def test_age_and_zstd_take_every_blob(filled: Filled, store_key: Path) -> None:
    whole = b""
    found = blobs(filled.store)
    assert len(found) >= 4
    for blob in found:
        data = run(program("age"), "-d", "-i", store_key, blob)
        run(program("zstd"), "-t", "-", stdin=data)
        whole += run(program("zstd"), "-d", "-c", "-", stdin=data)
    for path in filled.tree.iterdir():
        if path.stat().st_size < 250_000:
            assert path.read_bytes() in whole, path
    assert len(whole) == sum(path.stat().st_size for path in filled.tree.iterdir())


def test_age_and_zstd_take_every_export_and_sqlite_runs_them_in_order(
    filled: Filled, store_key: Path, tmp_path: Path
) -> None:
    database = tmp_path / "export.sqlite"
    for export in sorted((filled.store / "metadata").rglob("db.zst.age")):  # their ids begin with the time
        sql = run(program("zstd"), "-d", "-c", "-", stdin=run(program("age"), "-d", "-i", store_key, export))
        run(program("sqlite3"), "-safe", "-bail", database, stdin=sql)
    names = run(program("sqlite3"), database, "SELECT CAST(name AS TEXT) FROM files").decode().splitlines()
    assert {path.name for path in filled.tree.iterdir()} <= set(names)


def test_zstd_takes_every_manifest_and_ssh_keygen_its_signature(filled: Filled, tmp_path: Path) -> None:
    lines = filled.host.identity.read_text().splitlines()
    [signer] = [line.removeprefix("# signer: ") for line in lines if line.startswith("# signer: ")]
    allowed = tmp_path / "allowed"
    allowed.write_text(f"host {signer}\n")
    manifests = sorted((filled.store / "metadata").rglob("manifest.json.zst"))
    assert len(manifests) == 2
    for manifest in manifests:
        run(program("zstd"), "-t", manifest)
        said = ("-Y", "verify", "-f", allowed, "-I", "host", "-n", "vaultpy-manifest@1", "-s", f"{manifest}.sig")
        run(program("ssh-keygen"), *said, stdin=manifest.read_bytes())


def test_a_blobs_name_is_what_b3sum_says(filled: Filled) -> None:
    for blob in blobs(filled.store):
        assert run(program("b3sum"), "--no-names", blob).decode().strip() == blob.name
        assert (blob.parent.parent.name, blob.parent.name) == (blob.name[:2], blob.name[2:4])


def test_a_blobs_size_says_little(filled: Filled) -> None:
    """A multiple of 256 KiB, or a Padmé size for a run's last, small one."""
    sizes = [blob.stat().st_size for blob in blobs(filled.store)]
    assert STEP == 256 * 1024
    assert all(size % STEP == 0 or padme(size) == size for size in sizes), sizes
    assert any(size % STEP == 0 for size in sizes) and any(size % STEP for size in sizes), sizes


def test_nothing_but_whole_objects_lies_in_the_store(filled: Filled) -> None:
    known = {"vaultpy.json", "keys", "blobs", "metadata", "purges", ".vaultpy-tmp"}
    assert {path.name for path in filled.store.iterdir()} <= known
    assert [*(filled.store / ".vaultpy-tmp").iterdir()] == []
