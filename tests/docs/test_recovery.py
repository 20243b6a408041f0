"""docs/recovery.md's script gives a snapshot's files back with age, zstd, sqlite3, ssh-keygen and POSIX tools alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from recovering import SPARSE, Recovery, Sample, blob_path, flip, manifest_of, open_key, restored, with_programs

from vaultpy.age import X25519Identity, parse_identity
from vaultpy.manifest import decode
from vaultpy.signature import SigningKey

pytestmark = with_programs


def test_the_newest_snapshot_comes_back_byte_for_byte(sample: Sample, recovery: Recovery, tmp_path: Path) -> None:
    done = recovery.run(sample.store, sample.identity, sample.signer, "newest", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert restored(sample, tmp_path / "out") == sample.trees[-1]
    assert len(decode(manifest_of(sample, -1).read_bytes()).exports) > 1, "no chain was tried"


def test_holes_come_back_as_holes(sample: Sample, recovery: Recovery, tmp_path: Path) -> None:
    done = recovery.run(sample.store, sample.identity, sample.signer, "newest", "out")
    assert done.returncode == 0, done.stderr
    sparse = os.fsencode(sample.source) + b"/sparse/"
    for name in SPARSE:
        assert data_of(sparse + name) == data_of(os.fsencode(tmp_path / "out") + sparse + name), name


def data_of(path: bytes) -> list[int]:
    """Where a file's data begins and ends, each time, and its size.  (Its blocks count the file system's own, too.)"""
    with open(path, "rb") as file:
        size, at, found = os.fstat(file.fileno()).st_size, 0, []
        with contextlib.suppress(OSError):  # ENXIO: no data from there on
            while at < size:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
                at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                found += [start, at]
        return [*found, size]


@pytest.mark.parametrize("number", [0, 1])
def test_an_older_snapshot_comes_back_as_it_was(
    sample: Sample, recovery: Recovery, tmp_path: Path, number: int
) -> None:
    done = recovery.run(sample.store, sample.identity, sample.signer, sample.snapshots[number], "out")
    assert done.returncode == 0, done.stderr
    assert restored(sample, tmp_path / "out") == sample.trees[number]


def test_without_base64_and_b3sum_the_key_comes_out_of_keys(sample: Sample, recovery: Recovery, tmp_path: Path) -> None:
    done = recovery.run(sample.store, sample.identity, sample.signer, "newest", tmp_path / "out", programs=())
    assert done.returncode == 0, done.stderr
    assert "there is no b3sum" in done.stderr
    assert restored(sample, tmp_path / "out") == sample.trees[-1]


@pytest.mark.skipif(shutil.which("base64") is None, reason="base64 is not installed")
def test_without_the_keys_folder_the_manifest_has_the_key(copied: Sample, recovery: Recovery, tmp_path: Path) -> None:
    shutil.rmtree(copied.store / "keys")
    done = recovery.run(copied.store, copied.identity, copied.signer, "newest", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert restored(copied, tmp_path / "out") == copied.trees[-1]


def test_the_list_is_silent_about_what_was_removed(copied: Sample, recovery: Recovery) -> None:
    """A purge leaves folders behind: empty ones, and exports that others stand on."""
    manifest_of(copied, 0).unlink()
    manifest_of(copied, 0).with_name("manifest.json.zst.sig").unlink()
    (copied.store / "metadata" / "01890a5d-ac96-774b-bcce-b302099a8057").mkdir()
    done = recovery.run(copied.store, copied.identity, copied.signer)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(copied.snapshots) - 1


def test_the_list_has_every_snapshot_oldest_first(sample: Sample, recovery: Recovery) -> None:
    done = recovery.run(sample.store, sample.identity, sample.signer)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ") for line in done.stdout.splitlines()]
    assert [line[1] for line in lines] == list(sample.snapshots)
    assert {line[2] for line in lines} == {"complete"}


def test_another_signer_is_refused(sample: Sample, recovery: Recovery, tmp_path: Path) -> None:
    stranger = SigningKey.generate().public_text()
    done = recovery.run(sample.store, sample.identity, stranger, sample.snapshots[0], "out")
    assert done.returncode == 1
    assert "not signed by SIGNER" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_manifest_in_another_place_is_refused(copied: Sample, recovery: Recovery, tmp_path: Path) -> None:
    for name in ("manifest.json.zst", "manifest.json.zst.sig"):
        shutil.copy(manifest_of(copied, 0).with_name(name), manifest_of(copied, 1).with_name(name))
    done = recovery.run(copied.store, copied.identity, copied.signer, copied.snapshots[1], "out")
    assert done.returncode == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["manifest.json.zst", "manifest.json.zst.sig", "db.zst.age"])
def test_one_changed_byte_in_metadata_is_refused(copied: Sample, recovery: Recovery, tmp_path: Path, name: str) -> None:
    flip(manifest_of(copied, 0).with_name(name))
    done = recovery.run(copied.store, copied.identity, copied.signer, copied.snapshots[0], "out")
    assert done.returncode == 1
    assert not (tmp_path / "out").exists()


def test_another_identity_is_refused(sample: Sample, recovery: Recovery, tmp_path: Path) -> None:
    (tmp_path / "other").write_text(X25519Identity.generate(os.urandom).to_text() + "\n")
    done = recovery.run(sample.store, tmp_path / "other", sample.signer, "newest", "out")
    assert done.returncode == 1
    assert "opens no form" in done.stderr


def test_a_target_that_exists_is_left_alone(sample: Sample, recovery: Recovery, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    done = recovery.run(sample.store, sample.identity, sample.signer, "newest", "out")
    assert done.returncode == 1
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_lost_blob_costs_only_the_files_in_it(copied: Sample, recovery: Recovery, tmp_path: Path, how: str) -> None:
    first = {ref.hash for ref in decode(manifest_of(copied, 0).read_bytes()).blobs}
    later = next(ref for ref in decode(manifest_of(copied, 1).read_bytes()).blobs if ref.hash not in first)
    blob = blob_path(copied, later.hash)
    flip(blob) if how == "changed" else blob.unlink()
    done = recovery.run(copied.store, copied.identity, copied.signer, copied.snapshots[1], "out")
    assert done.returncode == 1
    found, wanted = restored(copied, tmp_path / "out"), copied.trees[1]
    assert {key: value for key, value in wanted.items() if key in found} == found
    assert wanted.keys() - found.keys() == {b"plain", b"hard link", b"large", b"new/file"}
    assert "lost: " in done.stderr


@pytest.mark.skipif(shutil.which("b3sum") is None, reason="b3sum is not installed")
def test_a_blob_that_somebody_else_made_is_refused(copied: Sample, recovery: Recovery, tmp_path: Path) -> None:
    """It opens with the right key: only its name tells."""
    manifest = decode(manifest_of(copied, 0).read_bytes())
    key = open_key(copied, str(manifest.key))
    one = blob_path(copied, manifest.blobs[0].hash)
    plain = subprocess.run(["age", "-d", "-i", key, one], capture_output=True, check=True).stdout
    recipient = parse_identity(key.read_text().splitlines()[-1]).recipient().to_text()
    one.unlink()
    subprocess.run(["age", "-r", recipient, "-o", one], input=plain, check=True)
    done = recovery.run(copied.store, copied.identity, copied.signer, copied.snapshots[0], "out")
    assert done.returncode == 1
    assert "missing or damaged" in done.stderr
