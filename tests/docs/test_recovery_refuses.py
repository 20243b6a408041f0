"""docs/recovery.md's script believes what a host signed, and of that only what can be right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from recovering import SPARSE, Recovery, Sample, manifest_of, open_key, restored, with_programs

from vaultpy.age import parse_identity, parse_recipient
from vaultpy.export import read_export, write_export
from vaultpy.manifest import decode, encode
from vaultpy.model import ExportRef, encode_holes
from vaultpy.signature import MANIFEST_NAMESPACE, sign
from vaultpy.state import load_host, state_paths

pytestmark = with_programs


def forge(sample: Sample, change: Callable[[bytes], bytes]) -> None:
    """Let the host itself sign a first snapshot whose export says something else: a stolen host can."""
    folder = manifest_of(sample, 0).parent
    manifest = decode((folder / "manifest.json.zst").read_bytes())
    original = sample.source.parent
    host = load_host(
        state_paths(next((original / "state" / "vaultpy").iterdir()), original / "config" / "vaultpy" / "config.toml"),
        manifest.store,
    )
    assert host is not None
    identity = parse_identity(open_key(sample, str(manifest.key)).read_text().splitlines()[-1])
    recipient = parse_recipient(identity.recipient().to_text())
    lines = [change(line) for line in read_export([(folder / "db.zst.age").read_bytes()], [identity])]
    (folder / "db.zst.age").unlink()
    written = write_export(lines, folder / "db.zst.age", [recipient])
    ref = ExportRef(manifest.exports[0].id, written.size, written.blake3, written.sha256)
    message = encode(replace(manifest, exports=(ref,)))
    (folder / "manifest.json.zst").write_bytes(message)
    (folder / "manifest.json.zst.sig").write_bytes(sign(host.signing_key, message, MANIFEST_NAMESPACE))


def literal(value: bytes) -> bytes:
    return b"X'" + value.hex().upper().encode() + b"'"


def test_what_the_host_itself_signed_is_restored(copied: Sample, recovery: Recovery, tmp_path: Path) -> None:
    """The forgeries below are refused for what they say, not because the forging fails."""
    forge(copied, lambda line: line)
    done = recovery.run(copied.store, copied.identity, copied.signer, copied.snapshots[0], "out")
    assert done.returncode == 0, done.stderr
    assert restored(copied, tmp_path / "out") == copied.trees[0]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"plain", b".."),
        (b"plain", b"."),
        (b"plain", b"../../up"),
        (b"plain", b"nul\0"),
        (b"plain", b""),
        (b"empty folder", b".."),
        (b"empty folder", b"a/b"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(
    copied: Sample, recovery: Recovery, tmp_path: Path, path: bytes, name: bytes
) -> None:
    forge(copied, lambda line: line.replace(literal(path), literal(name)))
    done = recovery.run(copied.store, copied.identity, copied.signer, copied.snapshots[0], "out")
    assert done.returncode == 1
    assert "a name or a size that cannot be" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    [
        b".shell touch was-here\n",
        b".output was-here\n",
        b"ATTACH 'was-here' AS other;\n",
        b"VACUUM INTO 'was-here';\n",
        b"SELECT writefile('was-here', 'x');\n",
    ],
    ids=lambda line: line.decode().split()[0],
)
def test_what_is_no_export_touches_nothing(copied: Sample, recovery: Recovery, tmp_path: Path, line: bytes) -> None:
    forge(copied, lambda one: one + line if one.startswith(b"CREATE TABLE problems") else one)
    done = recovery.run(copied.store, copied.identity, copied.signer, copied.snapshots[0], "out")
    assert done.returncode == 1
    assert not (tmp_path / "was-here").exists()
    assert not (tmp_path / "out").exists()


def test_a_file_without_all_its_chunks_is_not_passed_over(copied: Sample, recovery: Recovery, tmp_path: Path) -> None:
    dropped: list[bytes] = []

    def drop_one(line: bytes) -> bytes:
        if line.startswith(b"INSERT INTO file_chunks") and not dropped:
            dropped.append(line)
            return b""
        return line

    forge(copied, drop_one)
    done = recovery.run(copied.store, copied.identity, copied.signer, copied.snapshots[0], "out")
    assert done.returncode == 1
    assert "a name or a size that cannot be" in done.stderr


@pytest.mark.parametrize(
    "holes",
    [[(0, 8192), (4096, 8192)], [(0, 1 << 62), (1 << 62, 1 << 62)], [(8192, 4096), (0, 4096)], [(4096, 0)]],
)
def test_holes_that_cannot_be_are_refused(
    copied: Sample, recovery: Recovery, tmp_path: Path, holes: list[tuple[int, int]]
) -> None:
    (size, blocks), data = SPARSE[b"between"], encode_holes([(4096, 79 * 4096)])
    assert (size, blocks) == (81 * 4096, (0, 80))
    forge(copied, lambda line: line.replace(literal(data), literal(encode_holes(holes))))
    done = recovery.run(copied.store, copied.identity, copied.signer, copied.snapshots[0], "out")
    assert done.returncode == 1
    assert "a name or a size that cannot be" in done.stderr
