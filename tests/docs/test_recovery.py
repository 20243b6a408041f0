"""docs/recovery.md's script gives a snapshot's files back with age, zstd, sqlite3, ssh-keygen and POSIX tools alone."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from vaultpy.age import X25519Identity, parse_identity, parse_recipient
from vaultpy.export import read_export, write_export
from vaultpy.manifest import decode, encode
from vaultpy.model import BlobHash, ExportRef, encode_holes
from vaultpy.signature import MANIFEST_NAMESPACE, SigningKey, sign
from vaultpy.state import load_host, state_paths
from vaultpy.store.names import blob_name

NEEDED = ("age", "zstd", "sqlite3", "ssh-keygen", "sha256sum")
POSIX = ("awk", "cat", "cut", "dd", "grep", "head", "ln", "mkdir", "mv", "od", "rm", "sed", "sort", "tail", "tr", "wc")
CODERS = ("base64", "b3sum")

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in NEEDED),
    reason=f"not installed: {', '.join(name for name in NEEDED if shutil.which(name) is None)}",
)

Tree = dict[bytes, bytes | tuple[bytes] | None]
"""Paths below a folder: a file's bytes, None for a directory, a link's target in a tuple."""


@dataclass(frozen=True)
class Sample:
    """A vault with several snapshots: ids, oldest first, and what the source held at each."""

    folder: Path
    source: Path
    snapshots: tuple[str, ...]
    trees: tuple[Tree, ...]

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def identity(self) -> Path:
        return self.folder / "identity.txt"

    @property
    def signer(self) -> str:
        found = re.search(r"^# signer: (.+)$", self.identity.read_text(), re.MULTILINE)
        assert found is not None
        return found[1]


def read_tree(root: Path) -> Tree:
    found: Tree = {}
    for folder, below, names in os.walk(os.fsencode(root)):
        for name in [*below, *names]:
            path = os.path.join(folder, name)
            key = os.path.relpath(path, os.fsencode(root))
            if os.path.islink(path):
                found[key] = (os.readlink(path),)
            else:
                found[key] = None if os.path.isdir(path) else Path(os.fsdecode(path)).read_bytes()
    return found


def noise(seed: bytes, size: int) -> bytes:
    return hashlib.shake_128(seed).digest(size)


NAMES = (
    b"plain",
    b" ",
    b"-rf",
    b"--help",
    b"new\nline",
    b"ends with newline\n",
    b"quotes'\"`$(touch x)",
    b"%s%d\\n\\0101\\c",
    b"*?[a]",
    b"~",
    b"a;b|c&d>e",
    bytes(one for one in range(1, 128) if one != 0x2F),
    bytes(range(128, 256)),
    b"x" * 255,
)


def make_first(root: bytes) -> None:
    for number, name in enumerate(NAMES):
        write(os.path.join(root, name), b"content %d" % number)
        os.makedirs(os.path.join(root, b"folders", name, name))
        write(os.path.join(root, b"folders", name, b"-", b"f"), name)
    for number in range(150):
        write(os.path.join(root, b"many", b"%d" % number), b"%d" % number)
    write(os.path.join(root, b"empty"), b"")
    os.mkdir(os.path.join(root, b"empty folder"))
    write(os.path.join(root, b"large"), noise(b"large", 3_000_000))
    write(os.path.join(root, b"folders", b"same large"), noise(b"large", 3_000_000))
    write(os.path.join(root, b"zeros"), bytes(5_000_000))
    os.link(os.path.join(root, b"plain"), os.path.join(root, b"hard link"))
    for name, (size, blocks) in SPARSE.items():
        write_sparse(os.path.join(root, b"sparse", name), size, blocks)
    for number, target in enumerate((b"plain", b"../../outside", b"-f", b"line\n", b"/nowhere")):
        os.symlink(target, os.path.join(root, b"link %d" % number))


def change_some(root: bytes) -> None:
    write(os.path.join(root, b"plain"), b"changed")
    write(os.path.join(root, b"large"), b"in front" + noise(b"large", 3_000_000))
    write(os.path.join(root, b"new", b"file"), noise(b"new", 300_000))
    os.remove(os.path.join(root, b"new\nline"))
    shutil.rmtree(os.path.join(root, b"folders", b"-rf"))
    os.remove(os.path.join(root, b"zeros"))
    os.mkdir(os.path.join(root, b"zeros"))


def change_more(root: bytes) -> None:
    os.rename(os.path.join(root, b"folders", b"*?[a]"), os.path.join(root, b"moved"))
    write(os.path.join(root, b"new\nline"), b"back")
    write(os.path.join(root, b"empty"), b"no more")


SPARSE: dict[bytes, tuple[int, Sequence[int]]] = {
    b"one hole": (5_000_000, ()),
    b"\n at both ends": (1_000_001, (40, 41, 100)),
    b"between": (81 * 4096, (0, 80)),
    b"many chunks": (20_000_000, range(300, 2000)),
    b"many holes": (600 * 4096, range(0, 600, 2)),
}
"""Sizes, and the blocks of 4,096 bytes that hold something."""


def write_sparse(path: bytes, size: int, blocks: Sequence[int]) -> None:
    write(path, b"")
    with open(path, "r+b") as file:
        file.truncate(size)
        for block in blocks:
            file.seek(block * 4096)
            file.write(noise(b"%d" % block, 4096))


def write(path: bytes, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("vault")
    source = folder / "source"
    source.mkdir()
    run = _program(folder)
    run("init", "--store", f"file://{folder}/store", "--new-identity", folder / "identity.txt")
    snapshots: list[str] = []
    trees = []
    for change in (make_first, change_some, change_more):
        change(os.fsencode(source))
        if not snapshots:
            # What is read within two seconds of its change is read again next time: no export would be a small one.
            time.sleep(2.1)
        run("snapshot", "create", "--path", source, "--name", "sample")
        made = {path.parent.name for path in folder.glob("store/metadata/*/manifest.json.zst")}
        snapshots += made - set(snapshots)
        trees.append(read_tree(source))
    return Sample(folder, source, tuple(snapshots), tuple(trees))


def _program(folder: Path) -> Callable[..., None]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_STATE_HOME": str(folder / "state"),
    }

    def run(*arguments: str | Path) -> None:
        code = "import sys; from vaultpy.cli.main import main; sys.exit(main())"
        subprocess.run([sys.executable, "-c", code, *arguments], env=environment, check=True, capture_output=True)

    return run


@pytest.fixture(scope="module")
def script(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = re.search(r"^```sh\n(#!/bin/sh\n.*?)^```$", (docs / "recovery.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    path = tmp_path_factory.mktemp("script") / "restore.sh"
    path.write_text(found[1])
    return path


@dataclass(frozen=True)
class Recovery:
    """Runs the script with nothing on PATH but the programs that it names."""

    script: Path
    folder: Path

    def run(self, *arguments: str | Path, programs: Sequence[str] = CODERS) -> subprocess.CompletedProcess[str]:
        path = self.folder / f"bin {' '.join(programs)}"
        path.mkdir(exist_ok=True)
        for name in (*NEEDED, *POSIX, *programs):
            found = shutil.which(name)
            if found is not None and not (path / name).exists():
                (path / name).symlink_to(found)
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        shell = shutil.which("dash") or "/bin/sh"
        done = subprocess.run(
            [shell, self.script, *arguments],
            env={"PATH": str(path), "TMPDIR": str(scratch), "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            errors="backslashreplace",
            cwd=self.folder,
        )
        assert not list(scratch.iterdir()), "the store key must not stay behind"
        return done


@pytest.fixture
def recovery(script: Path, tmp_path: Path) -> Recovery:
    return Recovery(script, tmp_path)


@pytest.fixture
def copied(sample: Sample, tmp_path: Path) -> Iterator[Sample]:
    """The same vault, to be damaged."""
    shutil.copytree(sample.store, tmp_path / "vault" / "store")
    shutil.copy(sample.identity, tmp_path / "vault")
    yield replace(sample, folder=tmp_path / "vault")


def restored(sample: Sample, target: Path) -> Tree:
    return read_tree(target / sample.source.relative_to("/"))


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
        source, back = os.stat(sparse + name), os.stat(os.fsencode(tmp_path / "out") + sparse + name)
        assert (source.st_size, source.st_blocks) == (back.st_size, back.st_blocks), name


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


def manifest_of(sample: Sample, number: int) -> Path:
    return sample.store / "metadata" / sample.snapshots[number] / "manifest.json.zst"


def blob_path(sample: Sample, hash: BlobHash) -> Path:
    return sample.store / blob_name(hash)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def open_key(sample: Sample, key_id: str) -> Path:
    path = sample.folder / "key.txt"
    form = sample.store / "keys" / key_id / "0.age"
    subprocess.run(["age", "-d", "-i", sample.identity, "-o", path, form], check=True)
    return path


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
