"""A restorer that shares nothing with vaultpy: `age`, `zstd`, `ssh-keygen`, SQLite, and what docs/format.md says.

    python recoverer.py STORE IDENTITY SIGNER

prints the snapshots that SIGNER signed, each with its paths and what is lost of it.  As a library it answers what each
snapshot holds, path by path, in memory: the campaigns compare that with what was backed up.

Programs are asked once about the same bytes: thousands of cases share most of their objects.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import blake3

PROGRAMS = ("age", "zstd", "ssh-keygen")
NAMESPACE = "vaultpy-manifest@1"
FILE, DIRECTORY, SYMLINK = 1, 2, 3


class Refused(Exception):
    """Something is not as it was signed, or not there; says what."""


@dataclass(frozen=True, slots=True)
class Thing:
    """What is at a path.  `content` is a file's bytes, None where they are lost; `target` a symbolic link's."""

    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    content: bytes | None = None
    target: bytes | None = None


Tree = dict[bytes, Thing]
"""By absolute path; the root is `/`."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A snapshot as the plain tools give it back; `lost`: files with a chunk that cannot be had, and why; `blobs`: names
    and sizes that its manifest says it needs."""

    id: UUID
    sequence: int
    source: UUID
    repairs: UUID | None
    tree: Tree = field(repr=False)
    lost: Mapping[bytes, str] = field(repr=False)
    blobs: Mapping[str, int] = field(repr=False)


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Recoverer:
    """Reads stores with one identity, believing some signers.  Keeps the opened keys in a folder of its own; `close` it."""

    def __init__(self, identity: Path, signers: list[str]) -> None:
        self._identity = identity
        self._folder = Path(tempfile.mkdtemp(prefix="recoverer-"))
        self._signers = self._folder / "signers"
        self._signers.write_text("".join(f"host {one}\n" for one in signers))
        self._answers = _Remembered()
        self._trees: dict[bytes, tuple[Tree, dict[bytes, str]]] = {}

    def close(self) -> None:
        shutil.rmtree(self._folder)

    def manifests(self, store: Path) -> dict[UUID, dict[str, object]]:
        """Every manifest that a known signer signed for its place; raises Refused for any other."""
        return {
            UUID(path.parent.name): self.manifest(path) for path in sorted(store.glob("metadata/*/manifest.json.zst"))
        }

    def manifest(self, path: Path) -> dict[str, object]:
        data = _read(path)
        signature = _read(path.with_name(path.name + ".sig"))
        self._check_signature(data, signature, path.parent.name)
        said: dict[str, object] = json.loads(self._unfold(data))
        if said["snapshot"] != path.parent.name or said["format"] != 1:
            raise Refused(f"{path.parent.name}: its manifest is of {said['snapshot']}")
        return said

    def read(self, store: Path) -> list[Recovered]:
        """The complete snapshots, oldest first."""
        complete = [said for said in self.manifests(store).values() if said["state"] == "complete"]
        found = [self.recover(store, said) for said in complete]
        return sorted(found, key=lambda one: (one.sequence, one.id))

    def recover(self, store: Path, said: dict) -> Recovered:
        """What a manifest's snapshot holds.  Raises Refused where its key or an export cannot be had."""
        blobs = {f"blobs/{hash[:2]}/{hash[2:4]}/{hash}": size for hash, size in said["blobs"]}
        tree, lost = self._tree(store, said, blobs)
        repairs = UUID(said["repairs"]) if said["repairs"] else None
        return Recovered(UUID(said["snapshot"]), said["sequence"], UUID(said["source"]), repairs, tree, lost, blobs)

    def _tree(self, store: Path, said: dict, blobs: Mapping[str, int]) -> tuple[Tree, dict[bytes, str]]:
        exports = b"".join(self._export(store, said, ref) for ref in said["exports"])
        state = blake3.blake3(exports)
        for name in blobs:
            state.update(blake3.blake3(_read_or_empty(store / name)).digest())
        key = state.digest()
        if key not in self._trees:
            if len(self._trees) >= 16:
                del self._trees[next(iter(self._trees))]
            self._trees[key] = self._assemble(store, said, exports)
        return self._trees[key]

    def _export(self, store: Path, said: dict, ref: dict) -> bytes:
        data = _read(store / f"metadata/{ref['id']}/db.zst.age")
        if len(data) != ref["size"] or hashlib.sha256(data).hexdigest() != ref["sha256"]:
            raise Refused(f"export {ref['id']}: not as it was signed")
        return self._unfold(self._open(data, self._key(store, said)))

    def _key(self, store: Path, said: dict) -> Path:
        path = self._folder / f"key-{said['key']}"
        if not path.exists():
            forms = [base64.b64decode(one) for one in said["wrapped_keys"]]
            forms += [_read(one) for one in sorted(store.glob(f"keys/{said['key']}/*.age"))]
            path.write_bytes(self._first_opened(forms, said["key"]))
        return path

    def _first_opened(self, forms: list[bytes], key: str) -> bytes:
        for form in forms:
            try:
                text = self._open(form, self._identity)
            except Refused:
                continue
            if f"# vaultpy store key {key}\n".encode() in text:
                return text
        raise Refused(f"no form of store key {key} opens")

    def _assemble(self, store: Path, said: dict, exports: bytes) -> tuple[Tree, dict[bytes, str]]:
        rows = sqlite3.connect(":memory:")
        try:
            rows.executescript("BEGIN;" + exports.decode() + "COMMIT;")
            return _Assembly(self, store, self._key(store, said), rows).tree()
        finally:
            rows.close()

    def raw_blob(self, store: Path, key: Path, hash: bytes) -> bytes:
        """All chunks of a blob, end to end.  Raises Refused."""
        text = hash.hex()
        data = _read(store / f"blobs/{text[:2]}/{text[2:4]}/{text}")
        if blake3.blake3(data).digest() != hash:
            raise Refused(f"blob {text}: its bytes are not those of its name")
        return self._unfold(self._open(data, key))

    def _check_signature(self, data: bytes, signature: bytes, whose: str) -> None:
        path = self._folder / "signature"
        path.write_bytes(signature)
        verify = ["ssh-keygen", "-Y", "verify", "-q", "-f", str(self._signers), "-I", "host", "-n", NAMESPACE]
        self._ask(
            (*verify, "-s", str(path)), data, f"{whose}: signature refused", hashlib.sha256(signature).hexdigest()
        )

    def _open(self, data: bytes, identity: Path) -> bytes:
        return self._ask(("age", "-d", "-i", str(identity)), data, "age cannot open it")

    def _unfold(self, data: bytes) -> bytes:
        return self._ask(("zstd", "-dqc"), data, "zstd cannot unfold it")

    def _ask(self, command: tuple[str, ...], data: bytes, refusal: str, more: str = "") -> bytes:
        key = (*command, blake3.blake3(data).hexdigest(), more)
        known = self._answers.get(key)
        if known is None:
            done = subprocess.run(command, input=data, capture_output=True, check=False)
            if done.returncode != 0:
                raise Refused(f"{refusal}: {done.stderr.decode(errors='replace').strip()}")
            known = self._answers.put(key, done.stdout)
        return known


class _Remembered:
    """Answers of programs, the oldest forgotten first: whoever forks has to be small."""

    def __init__(self, limit: int = 48 << 20) -> None:
        self._kept: dict[tuple[str, ...], bytes] = {}
        self._left = limit

    def get(self, key: tuple[str, ...]) -> bytes | None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._kept[key] = found
        return found

    def put(self, key: tuple[str, ...], answer: bytes) -> bytes:
        self._kept[key] = answer
        self._left -= len(answer)
        while self._left < 0 and len(self._kept) > 1:
            self._left += len(self._kept.pop(next(iter(self._kept))))
        return answer


class _Assembly:
    """Puts the rows of a chain of exports and the contents of blobs together."""

    def __init__(self, recoverer: Recoverer, store: Path, key: Path, rows: sqlite3.Connection) -> None:
        self._recoverer, self._store, self._key, self._rows = recoverer, store, key, rows
        self._blobs: dict[bytes, bytes | Refused] = {}

    def tree(self) -> tuple[Tree, dict[bytes, str]]:
        folders = self._folders()
        tree: Tree = {}
        lost: dict[bytes, str] = {}
        asked = "SELECT directory_id, name, kind, mode, uid, gid, mtime, link_target, id, chunk_hash, size FROM files"
        for folder, name, kind, mode, uid, gid, mtime, target, id, chunk, size in self._rows.execute(asked):
            path = folders[folder] + name if name else b"/"
            content = None
            if kind == FILE:
                try:
                    content = self._content(id, chunk)
                    if len(content) != size:
                        raise Refused(f"{size} bytes are said, {len(content)} found")
                except Refused as refused:
                    lost[path] = str(refused)
            tree[path] = Thing(kind, mode, uid, gid, mtime, content, target)
        return tree, lost

    def _folders(self) -> dict[bytes, bytes]:
        """Paths of directories by id, each with a slash at its end."""
        asked = """
            WITH RECURSIVE found(id, path) AS (SELECT id, CAST('/' AS BLOB) FROM directories WHERE parent_id IS NULL
            UNION ALL SELECT d.id, CAST(f.path || d.name || '/' AS BLOB) FROM directories d JOIN found f
            ON d.parent_id = f.id) SELECT id, path FROM found"""
        return dict(self._rows.execute(asked))

    def _content(self, file: bytes, chunk: bytes | None) -> bytes:
        if chunk is not None:
            return self._chunk(chunk)
        asked = "SELECT chunk_hash FROM file_chunks WHERE file_id = ? ORDER BY idx"
        return b"".join(self._chunk(row[0]) for row in self._rows.execute(asked, (file,)).fetchall())

    def _chunk(self, hash: bytes) -> bytes:
        asked = "SELECT b.hash, c.raw_offset, c.size FROM chunks c JOIN blobs b ON b.id = c.blob_id WHERE c.hash = ?"
        found = self._rows.execute(asked, (hash,)).fetchone()
        if found is None:
            raise Refused(f"chunk {hash.hex()} has no place")
        blob, offset, size = found
        data = self._blob(blob)[offset : offset + size]
        if blake3.blake3(data).digest() != hash:
            raise Refused(f"chunk {hash.hex()}: other bytes")
        return data

    def _blob(self, hash: bytes) -> bytes:
        if hash not in self._blobs:
            try:
                self._blobs[hash] = self._recoverer.raw_blob(self._store, self._key, hash)
            except Refused as refused:
                self._blobs[hash] = refused
        found = self._blobs[hash]
        if isinstance(found, Refused):
            raise found
        return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error


def _read_or_empty(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def main(store: str, identity: str, *signers: str) -> int:
    recoverer = Recoverer(Path(identity), list(signers))
    lost = 0
    try:
        for one in recoverer.read(Path(store)):
            sys.stdout.write(f"{one.sequence} {one.id}: {len(one.tree)} paths, {len(one.lost)} lost\n")
            lost += len(one.lost)
    finally:
        recoverer.close()
    return 4 if lost else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
