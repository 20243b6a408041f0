"""Makes vaults that no vaultpy would: whatever a host whose keys were stolen, or anybody who can write to a store, could put
there.

An export's rows are taken as text, changed and written again, so nothing of vaultpy's checks is in the way; manifests are
plain JSON, signed by the right host's key or by an enemy's; blobs are put together from pieces.
"""

from __future__ import annotations

import copy
import json
import os
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import blake3
import zstandard
from smallvault import SmallVault

from vaultpy.age import encrypt, parse_identity, parse_recipient
from vaultpy.export import read_export, write_export
from vaultpy.model import host_id_of, uuid7
from vaultpy.signature import MANIFEST_NAMESPACE, SigningKey, load_signing_key, sign

Row = dict[str, str]
"""A row of an export: SQL text by column."""

TABLE = re.compile(rb"CREATE TABLE (\w+) \((.*)\);\n")
INSERT = re.compile(rb"INSERT INTO (\w+) VALUES \((.*)\);\n")


def blob(data: bytes) -> str:
    """A literal of the export's grammar."""
    return f"X'{data.hex().upper()}'"


@dataclass
class Dump:
    """An export as tables of rows, in the order of the format; `extra` are lines put behind all others."""

    head: list[bytes]
    columns: dict[str, list[str]]
    rows: dict[str, list[Row]]
    extra: list[bytes] = field(default_factory=list)

    def lines(self) -> list[bytes]:
        made = [
            f"INSERT INTO {table} VALUES ({','.join(row[column] for column in self.columns[table])});\n".encode()
            for table in ("sources", "snapshots", "blobs", "directories", "chunks", "files", "file_chunks", "xattrs")
            for row in self.rows.get(table, [])
        ]
        return [*self.head, *made, *self.extra]

    def find(self, table: str, **wanted: str) -> Row:
        return next(row for row in self.rows[table] if all(row[name] == value for name, value in wanted.items()))

    def file(self, name: bytes) -> Row:
        return self.find("files", name=blob(name))

    def add(self, table: str, like: Row, **changed: str) -> Row:
        """A row like another, with an id of its own of the same run."""
        row = like | changed
        if "id" in like and "id" not in changed:
            row["id"] = self.next_id(like["id"])
        self.rows[table].append(row)
        return row

    def next_id(self, like: str) -> str:
        """A UUID literal of the same run, after all that there are."""
        prefix = like[: 2 + 24]
        taken = [
            int(row["id"][26:34], 16)
            for table in ("files", "directories")
            for row in self.rows[table]
            if row["id"].startswith(prefix)
        ]
        return f"{prefix}{max(taken) + 1:08X}'"

    def add_folder(self, parent: Row, name: bytes, **changed: str) -> Row:
        """A directory below another: its row of directories, and the one of files that stands for it there."""
        row = self.add("directories", parent, parent_id=parent["id"], name=blob(name))
        template = next(one for one in self.rows["files"] if one["kind"] == "2" and one["name"] != "X''")
        self.add("files", template, directory_id=parent["id"], name=blob(name), **changed)
        return row

    def folder(self, name: bytes) -> Row:
        return self.find("directories", name=blob(name))


def parse(lines: Iterable[bytes]) -> Dump:
    dump = Dump([], {}, {})
    for line in lines:
        if match := TABLE.fullmatch(line):
            columns = [one.strip() for one in match[2].decode().split(", PRIMARY KEY")[0].split(",")]
            dump.columns[match[1].decode()] = [one.split()[0].strip('"') for one in columns]
        if match := INSERT.fullmatch(line):
            table = match[1].decode()
            values = match[2].decode().split(",")
            dump.rows.setdefault(table, []).append(dict(zip(dump.columns[table], values, strict=True)))
        else:
            dump.head.append(line)
    for table in dump.columns:
        dump.rows.setdefault(table, [])
    return dump


@dataclass
class Forge:
    """Makes snapshots beside a vault's honest one.  `made` are the names of all objects that it put."""

    vault: SmallVault
    host: SigningKey
    enemy: SigningKey
    manifest: dict[str, Any]
    dump: Dump
    recipients: list[str]
    made: list[str] = field(default_factory=list)
    count: int = 0

    def copy_of_dump(self) -> Dump:
        return copy.deepcopy(self.dump)

    def put(self, name: str, data: bytes) -> str:
        path = self.vault.store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.made.append(name)
        return name

    def put_blob(self, data: bytes) -> tuple[str, int]:
        """An object of blobs/ under its right name; hash and size."""
        name = blake3.blake3(data).hexdigest()
        self.put(f"blobs/{name[:2]}/{name[2:4]}/{name}", data)
        return name, len(data)

    def put_export(self, lines: Iterable[bytes] | bytes, id: UUID) -> dict[str, object]:
        """An export of these lines, or of these bytes as they are; how a manifest names it."""
        path = self.vault.folder / "export"
        if isinstance(lines, bytes):
            path.write_bytes(lines)
        else:
            write_export(lines, path, [parse_recipient(one) for one in self.recipients])
        data = path.read_bytes()
        path.unlink()
        return self.put_export_bytes(data, id)

    def put_export_bytes(self, data: bytes, id: UUID) -> dict[str, object]:
        import hashlib

        self.put(f"metadata/{id}/db.zst.age", data)
        hashes = {"blake3": blake3.blake3(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
        return {"id": str(id), "size": len(data), **hashes}

    def new_id(self) -> UUID:
        self.count += 1
        return uuid7(self.manifest["sequence"] + self.count, os.urandom(10))

    def snapshot(
        self,
        lines: Iterable[bytes] | bytes | None = None,
        *,
        by_enemy: bool = False,
        change: Callable[[dict[str, Any]], None] = lambda fields: None,
        raw: Callable[[bytes], bytes] = lambda data: data,
    ) -> str:
        """Publish one: `change` spoils the manifest's fields, `raw` its JSON before it is folded; returns its id."""
        id = self.new_id()
        fields = copy.deepcopy(self.manifest)
        signer = self.enemy if by_enemy else self.host
        fields |= {
            "snapshot": str(id),
            "sequence": self.manifest["sequence"] + self.count,
            "signer": signer.public_text(),
            "host": str(host_id_of(signer.public_text())),
            "repairs": None,
        }
        if lines is not None:
            fields["exports"] = [self.put_export(lines, id)]
        change(fields)
        self.put_manifest(fields.get("snapshot_folder", id), raw(dump_json(fields)), signer)
        return str(id)

    def put_manifest(self, id: object, document: bytes, signer: SigningKey, *, folded: bytes | None = None) -> None:
        data = folded if folded is not None else fold(document)
        self.put(f"metadata/{id}/manifest.json.zst.sig", sign(signer, data, MANIFEST_NAMESPACE))
        self.put(f"metadata/{id}/manifest.json.zst", data)


def dump_json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def fold(data: bytes, **settings: Any) -> bytes:
    settings = {"level": 3, "write_checksum": True, "write_content_size": True} | settings
    return zstandard.ZstdCompressor(**settings).compress(data)


def make_forge(vault: SmallVault) -> Forge:
    """From a vault with one honest snapshot, and everything that its host knows."""
    own = json.loads((vault.state / "host.json").read_text())
    path = max(vault.store.glob("metadata/*/manifest.json.zst"))
    manifest = json.loads(zstandard.ZstdDecompressor().decompress(path.read_bytes()))
    [export] = manifest["exports"]
    data = (vault.store / f"metadata/{export['id']}/db.zst.age").read_bytes()
    index_key = parse_identity(own["index_key"])
    dump = parse(read_export([data], [index_key]))
    config = vault.config.read_text()
    [recipient] = re.findall(r'recipient = "(age1[a-z0-9]+)"', config)
    host = load_signing_key(own["signing_key"].encode())
    recipients = [recipient, index_key.recipient().to_text()]
    return Forge(vault, host, SigningKey.generate(), manifest, dump, recipients)


# Blobs by hand.


def seek_table(entries: Iterable[tuple[int, int]], *, count: int | None = None, descriptor: int = 0) -> bytes:
    entries = list(entries)
    body = b"".join(struct.pack("<II", length & 0xFFFFFFFF, raw & 0xFFFFFFFF) for length, raw in entries)
    footer = struct.pack("<IBI", len(entries) if count is None else count, descriptor, 0x8F92EAB1)
    return struct.pack("<II", 0x184D2A5E, len(body) + len(footer)) + body + footer


def padding(size: int = 8) -> bytes:
    return struct.pack("<II", 0x184D2A50, size - 8) + bytes(size - 8)


def blob_of(frames: Iterable[bytes], raw_sizes: Iterable[int], recipient: str, **table: Any) -> bytes:
    """An encrypted blob of frames as they are, with a seek table that says what it is told."""
    frames = list(frames)
    entries = [(len(frame), raw) for frame, raw in zip(frames, raw_sizes, strict=True)]
    pad = padding()
    plain = b"".join(frames) + pad + seek_table([*entries, (len(pad), 0)], **table)
    return encrypt(plain, [parse_recipient(recipient)])


def hash_of(data: bytes) -> str:
    return blob(blake3.blake3(data).digest())


def folder_of(path: Path) -> Path:
    return path.parent
