"""How each kind of object of a store is read, in this process and with nothing before it that would notice a changed bit:
no hash of a blob or an export is compared here, so that the formats themselves have to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scene import Scene

from vaultpy.blob.reader import BlobReader
from vaultpy.errors import DamageError
from vaultpy.export import read_export
from vaultpy.keys import load_identities, open_store_key
from vaultpy.manifest import Manifest, decode, hash_bytes, open_manifest
from vaultpy.model import SnapshotId
from vaultpy.signature import Trust
from vaultpy.store import names
from vaultpy.store.identity import decode_store_config

Objects = Mapping[str, tuple[bytes, int]]
Read = Callable[[str, bytes], Any]
"""Name and bytes of an object in, what they mean out, or a VaultpyError."""


def readers_of(scene: Scene, objects: Objects) -> dict[str, Read]:
    """By kind of object: how one of a vault is read."""
    identities = load_identities(scene.machine.identity.encode(), None)
    key_id = scene.machine.vault.key.id
    forms = [data for name, (data, _) in objects.items() if name.startswith(names.KEYS)]
    identity = open_store_key(forms, identities, key_id, None).identity
    store = scene.machine.vault.at.settings.id
    trust = Trust(frozenset([scene.machine.vault.host.signing_key.public_text()]), False)
    settings = {decode(data).store_config_hash for name, (data, _) in objects.items() if name.endswith("t.json.zst")}

    def read_settings(name: str, data: bytes) -> object:
        found = decode_store_config(data)
        if {hash_bytes(data)} != settings:
            raise DamageError("settings are not those that the manifests name")
        return found

    def read_manifest(name: str, data: bytes) -> Manifest:
        return opened(name, data, objects[name + ".sig"][0])

    def read_signature(name: str, data: bytes) -> Manifest:
        return opened(name.removesuffix(".sig"), objects[name.removesuffix(".sig")][0], data)

    def opened(name: str, message: bytes, signature: bytes) -> Manifest:
        snapshot = names.parse_manifest_name(name)
        assert snapshot is not None
        return open_manifest(message, signature, store, SnapshotId(snapshot), trust)

    def read_blob(name: str, data: bytes) -> bytes:
        blob = BlobReader(lambda start, length: data[start : start + length], len(data), [identity])
        return b"".join(raw for _, raw in blob.read_frames(blob.frames))

    return {
        "settings": read_settings,
        "key": lambda name, data: open_store_key([data], identities, key_id, None).text,
        "manifest": read_manifest,
        "signature": read_signature,
        "export": lambda name, data: b"".join(read_export([data], [identity])),
        "blob": read_blob,
    }
