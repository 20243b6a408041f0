"""The names of a store's objects, made and read back: there is no other place that knows how they are spelled.

Every object has one name: reading accepts only what making gives (lower case, no leading zeros), and answers None for
anything else, which is then none of ours.
"""

from __future__ import annotations

import re
from uuid import UUID

from vaultpy.model import BlobHash, ExportId, KeyId, SnapshotId

CONFIG = "vaultpy.json"
BLOBS = "blobs/"
METADATA = "metadata/"
PURGES = "purges/"
KEYS = "keys/"

_UUID = "([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})")
_EXPORT = re.compile(rf"metadata/{_UUID}/db\.zst\.age")
_MANIFEST = re.compile(rf"metadata/{_UUID}/manifest\.json\.zst")
_SIGNATURE = re.compile(rf"metadata/{_UUID}/manifest\.json\.zst\.sig")
_PURGE = re.compile(rf"purges/{_UUID}\.json\.zst")
_KEY = re.compile(rf"keys/{_UUID}/(0|[1-9][0-9]{{0,8}})\.age")


def blob_name(hash: BlobHash) -> str:
    text = hash.hex()
    return f"blobs/{text[:2]}/{text[2:4]}/{text}"


def parse_blob_name(name: str) -> BlobHash | None:
    match = _BLOB.fullmatch(name)
    return BlobHash(bytes.fromhex(match[3])) if match else None


def export_name(id: ExportId) -> str:
    return f"metadata/{id}/db.zst.age"


def parse_export_name(name: str) -> ExportId | None:
    id = _parse_uuid(_EXPORT, name)
    return None if id is None else ExportId(id)


def manifest_name(id: SnapshotId) -> str:
    return f"metadata/{id}/manifest.json.zst"


def parse_manifest_name(name: str) -> SnapshotId | None:
    id = _parse_uuid(_MANIFEST, name)
    return None if id is None else SnapshotId(id)


def signature_name(id: SnapshotId) -> str:
    return f"metadata/{id}/manifest.json.zst.sig"


def parse_signature_name(name: str) -> SnapshotId | None:
    id = _parse_uuid(_SIGNATURE, name)
    return None if id is None else SnapshotId(id)


def purge_name(id: UUID) -> str:
    return f"purges/{id}.json.zst"


def parse_purge_name(name: str) -> UUID | None:
    return _parse_uuid(_PURGE, name)


def key_folder(id: KeyId) -> str:
    """What the names of all wrapped forms of a store key begin with."""
    return f"keys/{id}/"


def key_name(id: KeyId, number: int) -> str:
    """The name of the wrapped form of that number, from 0 to 999,999,999."""
    return f"keys/{id}/{number}.age"


def parse_key_name(name: str) -> tuple[KeyId, int] | None:
    match = _KEY.fullmatch(name)
    return (KeyId(UUID(match[1])), int(match[2])) if match else None


def _parse_uuid(pattern: re.Pattern[str], name: str) -> UUID | None:
    match = pattern.fullmatch(name)
    return UUID(match[1]) if match else None
