"""The manifest: the signed list of everything that a snapshot needs, readable without a key.  docs/format.md has the bytes.

zstd(JSON).  Names, paths and counts are not for every reader of the store, and lie encrypted in `about`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import blake3

from vaultpy.age import Identity, Recipient, decrypt, encrypt
from vaultpy.documents import (
    Document,
    check_ascending,
    digest,
    each,
    flag,
    fold,
    identifier,
    moment,
    number,
    octets,
    optional,
    read_document,
    record,
    text,
    unfold,
    write_document,
    write_moment,
    write_octets,
)
from vaultpy.errors import DamageError, UsageError
from vaultpy.model import (
    BlobHash,
    BlobRef,
    ExportId,
    ExportRef,
    HostId,
    KeyId,
    SnapshotId,
    SnapshotState,
    SourceId,
    StoreId,
    host_id_of,
)
from vaultpy.padding import padme
from vaultpy.signature import MANIFEST_NAMESPACE, Trust, verify

FORMAT = 1
FOLDED_LIMIT = 64 * 1024 * 1024
RAW_LIMIT = 512 * 1024 * 1024
"""Bytes of a manifest in the store and of its JSON: room for 1.8 million blobs, some 60 TB."""

ABOUT_LEAST = 1024
"""An `about` is padded to at least this many bytes, so that most of them look the same."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot is and needs.

    `sequence` in milliseconds; `started` and `completed` in nanoseconds, of which the milliseconds are kept.  `blobs` in
    ascending order of the hashes, each once; `exports`: the chain to apply, base first (a partial snapshot has none).
    `repairs`: the snapshot whose place this one takes.  `wrapped_keys`: copies of what keys/ holds for `key`.
    """

    store: StoreId
    snapshot: SnapshotId
    source: SourceId
    host: HostId
    signer: str
    state: SnapshotState
    sequence: int
    started: int
    completed: int
    pinned: bool
    parent: SnapshotId | None
    repairs: SnapshotId | None
    blobs: tuple[BlobRef, ...] = field(repr=False)
    exports: tuple[ExportRef, ...] = field(repr=False)
    store_config_hash: bytes
    key: KeyId
    wrapped_keys: tuple[bytes, ...] = field(repr=False)
    about: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class About:
    """What only key holders may know of a snapshot; sizes in bytes, `problems` a count, `version` vaultpy's."""

    host: str
    source: str
    paths: tuple[bytes, ...]
    tags: tuple[str, ...]
    files: int
    bytes: int
    new_bytes: int
    stored_bytes: int
    problems: int
    version: str


def hash_bytes(data: bytes) -> bytes:
    """BLAKE3-256."""
    return blake3.blake3(data).digest()


def encode(manifest: Manifest) -> bytes:
    """The bytes to sign and to store.

    They were decoded again when this returns, so that what no reader would take is never published: DamageError then.
    """
    data = fold(write_document(_fields(manifest)))
    if decode(data) != _to_milliseconds(manifest):
        raise DamageError(f"manifest {manifest.snapshot} does not give back what went into it")
    return data


def decode(data: bytes) -> Manifest:
    """What a manifest says, believed by nobody yet: `open_manifest` also checks who says so.

    Raises DamageError, and StoreFormatError for a newer format.
    """
    return _decode(data, "manifest")


def open_manifest(data: bytes, signature: bytes, store: StoreId, snapshot: SnapshotId, trust: Trust | None) -> Manifest:
    """The manifest found in the place of `snapshot` in `store`, signed by the host that it speaks for.

    The signature is checked over the object's bytes before anything looks into them; with `trust` the signer must be a
    known one, too, else UntrustedSigner.  Without, the caller must decide whether to believe `signer`.  Raises
    DamageError, and StoreFormatError for a newer format.
    """
    what = f"manifest {snapshot}"
    try:
        signer = verify(signature, data, MANIFEST_NAMESPACE)
    except DamageError as error:
        raise DamageError(f"{what} is not signed as it should be: {error.message}", hint=error.hint) from error
    if trust is not None:
        trust.check(signer)
    manifest = _decode(data, what)
    _check_place(manifest, store, snapshot, signer)
    return manifest


def _check_place(manifest: Manifest, store: StoreId, snapshot: SnapshotId, signer: str) -> None:
    """A signed manifest can be put in another's place, or another host's name be taken: neither passes."""
    what = f"manifest {snapshot}"
    if manifest.store != store:
        raise DamageError(f"{what} belongs to another store, {manifest.store}")
    if manifest.snapshot != snapshot:
        raise DamageError(f"{what} is that of another snapshot, {manifest.snapshot}")
    if manifest.signer != signer:
        raise DamageError(f"{what} names another signer than the one who signed it")
    if manifest.host != host_id_of(signer):
        raise DamageError(f"{what} speaks for host {manifest.host}, which is not its signer's")


def _fields(manifest: Manifest) -> dict[str, object]:
    return {
        "format": FORMAT,
        "store": str(manifest.store),
        "snapshot": str(manifest.snapshot),
        "source": str(manifest.source),
        "host": str(manifest.host),
        "signer": manifest.signer,
        "state": manifest.state.value,
        "sequence": manifest.sequence,
        "started": write_moment(manifest.started),
        "completed": write_moment(manifest.completed),
        "pinned": manifest.pinned,
        "parent": manifest.parent and str(manifest.parent),
        "repairs": manifest.repairs and str(manifest.repairs),
        "store_config": manifest.store_config_hash.hex(),
        "key": str(manifest.key),
        "wrapped_keys": list(map(write_octets, manifest.wrapped_keys)),
        "about": write_octets(manifest.about),
        "exports": list(map(_export_fields, manifest.exports)),
        "blobs": [(blob.hash.hex(), blob.size) for blob in manifest.blobs],
    }


def _export_fields(ref: ExportRef) -> dict[str, object]:
    return {"id": str(ref.id), "size": ref.size, "blake3": ref.blake3.hex(), "sha256": ref.sha256.hex()}


def _decode(data: bytes, what: str) -> Manifest:
    raw = unfold(data, what, folded_limit=FOLDED_LIMIT, raw_limit=RAW_LIMIT)
    document = read_document(raw, what)
    document.check_format(FORMAT)
    manifest = _manifest(document)
    check_ascending([blob.hash for blob in manifest.blobs], f"{what}: its blobs")
    if len({ref.id for ref in manifest.exports}) != len(manifest.exports):
        raise DamageError(f"{what} names an export twice")
    if manifest.state is SnapshotState.COMPLETE and not manifest.exports:
        raise DamageError(f"{what} is of a complete snapshot and names no export")
    return manifest


def _manifest(document: Document) -> Manifest:
    get = document.get
    return Manifest(
        store=StoreId(get("store", identifier)),
        snapshot=SnapshotId(get("snapshot", identifier)),
        source=SourceId(get("source", identifier)),
        host=HostId(get("host", identifier)),
        signer=get("signer", text),
        state=get("state", _state),
        sequence=get("sequence", number),
        started=get("started", moment),
        completed=get("completed", moment),
        pinned=get("pinned", flag),
        parent=get("parent", optional(_snapshot)),
        repairs=get("repairs", optional(_snapshot)),
        blobs=get("blobs", each(_blob)),
        exports=get("exports", each(_export)),
        store_config_hash=get("store_config", digest),
        key=KeyId(get("key", identifier)),
        wrapped_keys=get("wrapped_keys", each(octets)),
        about=get("about", octets),
    )


def _snapshot(value: object) -> SnapshotId:
    return SnapshotId(identifier(value))


def _state(value: object) -> SnapshotState:
    try:
        return SnapshotState(text(value))
    except ValueError:
        raise DamageError("it is neither complete nor partial") from None


def _blob(value: object) -> BlobRef:
    if not isinstance(value, list) or len(value) != 2:
        raise DamageError("an item is not a pair of hash and size")
    return BlobRef(BlobHash(digest(value[0])), number(value[1]))


def _export(value: object) -> ExportRef:
    get = record("an item")(value).get
    return ExportRef(ExportId(get("id", identifier)), get("size", number), get("blake3", digest), get("sha256", digest))


def _to_milliseconds(manifest: Manifest) -> Manifest:
    return replace(
        manifest,
        started=manifest.started // 1_000_000 * 1_000_000,
        completed=manifest.completed // 1_000_000 * 1_000_000,
    )


def encode_about(about: About, recipients: Sequence[Recipient], random: Callable[[int], bytes]) -> bytes:
    """An age file that holds `about` as JSON, padded with blanks.  Raises UsageError for text that is not Unicode."""
    try:
        data = write_document(_about_fields(about))
    except UnicodeEncodeError as error:
        raise UsageError(f"{error.object[:100]!r} is not Unicode text", hint="change the name or tag") from None
    return encrypt(data.ljust(padme(max(len(data), ABOUT_LEAST))), recipients, random)


def decode_about(data: bytes, identities: Sequence[Identity]) -> About:
    """Raises NoIdentity, and DamageError."""
    get = read_document(decrypt(data, identities), "a snapshot's description").get
    return About(
        host=get("host", text),
        source=get("source", text),
        paths=get("paths", each(_path)),
        tags=get("tags", each(text)),
        files=get("files", number),
        bytes=get("bytes", number),
        new_bytes=get("new_bytes", number),
        stored_bytes=get("stored_bytes", number),
        problems=get("problems", number),
        version=get("version", text),
    )


def _about_fields(about: About) -> dict[str, object]:
    return {
        "host": about.host,
        "source": about.source,
        "paths": list(map(_path_value, about.paths)),
        "tags": about.tags,
        "files": about.files,
        "bytes": about.bytes,
        "new_bytes": about.new_bytes,
        "stored_bytes": about.stored_bytes,
        "problems": about.problems,
        "version": about.version,
    }


def _path_value(path: bytes) -> str | dict[str, str]:
    """Text where the path is UTF-8, else `{"base64": …}`."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return {"base64": write_octets(path)}


def _path(value: object) -> bytes:
    if isinstance(value, str):
        return text(value).encode()
    path = record("an item")(value).get("base64", octets)
    if _path_value(path) != value:
        raise DamageError("an item is in base64 though it is text, or has more to it")
    return path
