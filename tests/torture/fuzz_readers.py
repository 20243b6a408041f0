"""Every reader of bytes that come from elsewhere, each with true samples to begin from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scene import Scene

from vaultpy.age import AgeReader, decrypt, open_stream, parse_identity, parse_recipient, stanza_types
from vaultpy.blob.frames import decompress_frame
from vaultpy.blob.reader import BlobReader
from vaultpy.blob.seektable import decode_seek_table
from vaultpy.config import load_config, render_config
from vaultpy.errors import DamageError
from vaultpy.export import read_export
from vaultpy.index.db import create_scratch
from vaultpy.index.grammar import parse_line
from vaultpy.index.load import Expected, apply_export, start_chain
from vaultpy.index.sound import check_sound
from vaultpy.keys import check_recipient, load_identities, open_store_key
from vaultpy.manifest import decode, decode_about, open_manifest
from vaultpy.model import SnapshotId
from vaultpy.ops.reading.moment import add_source
from vaultpy.purges import PurgeRecord, decode_record, encode_record
from vaultpy.signature import MANIFEST_NAMESPACE, Trust, check_pin, claimed_signer, load_signing_key, verify
from vaultpy.state import load_host, state_paths
from vaultpy.store import names
from vaultpy.store.identity import decode_store_config
from vaultpy.store.location import parse_location
from vaultpy.store.s3.faults import retry_after
from vaultpy.store.s3.listing import list_pages
from vaultpy.store.s3.versions import list_version_pages
from vaultpy.units import parse_duration, parse_size


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader by its name; `samples`: what it is meant for."""

    name: str
    samples: tuple[bytes, ...] = field(repr=False)
    read: Callable[[bytes], Any] = field(repr=False)


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def make_readers(scene: Scene, folder: Path) -> Iterator[Reader]:
    objects = scene.machine.memory.objects
    by_kind = {
        end: tuple(data for name, (data, _) in objects.items() if name.endswith(end))
        for end in ("vaultpy.json", "0.age", "manifest.json.zst", ".sig", "db.zst.age")
    }
    blobs = tuple(data for name, (data, _) in objects.items() if name.startswith(names.BLOBS))
    yield from _of_store(scene, by_kind)
    yield from _of_age(scene, by_kind, blobs)
    yield from _of_exports(scene, by_kind, folder)
    yield from _of_people(scene, folder)
    yield from _of_servers()


def _of_store(scene: Scene, kinds: dict[str, tuple[bytes, ...]]) -> Iterator[Reader]:
    manifests, signatures = kinds["manifest.json.zst"], kinds[".sig"]
    store = scene.machine.vault.at.settings.id
    id = decode(manifests[0]).snapshot
    trust = Trust(frozenset([scene.machine.vault.host.signing_key.public_text()]), False)
    identities = load_identities(scene.machine.identity.encode(), None)
    key_id = scene.machine.vault.key.id
    host_key = scene.machine.vault.host.index_key
    raw = tuple(_unfolded(one) for one in manifests)
    yield Reader("manifest", manifests, decode)
    yield Reader("manifest's JSON", raw, lambda data: decode(_folded(data)))
    yield Reader("signed manifest", manifests[:1], lambda data: open_manifest(data, signatures[0], store, id, trust))
    yield Reader("signature", signatures[:1], lambda data: verify(data, manifests[0], MANIFEST_NAMESPACE))
    yield Reader("claimed signer", signatures, lambda data: claimed_signer(data, MANIFEST_NAMESPACE))
    yield Reader("vaultpy.json", kinds["vaultpy.json"], decode_store_config)
    yield Reader("form of a key", kinds["0.age"], lambda data: open_store_key([data], identities, key_id, None))
    yield Reader(
        "description", tuple(decode(one).about for one in manifests), lambda data: decode_about(data, [host_key])
    )
    record = encode_record(PurgeRecord((id,), tuple(ref.hash for ref in decode(manifests[0]).blobs)))
    yield Reader("purge record", (record,), decode_record)
    yield Reader("purge record's JSON", (_unfolded(record),), lambda data: decode_record(_folded(data)))
    spelled = tuple(name.encode() for name in scene.machine.memory.objects)
    yield Reader("object name", spelled, lambda data: _parse_name(text(data)))


def _parse_name(name: str) -> None:
    """Whatever a name is taken for is spelled like that again."""
    for parse, spell in (
        (names.parse_blob_name, names.blob_name),
        (names.parse_export_name, names.export_name),
        (names.parse_manifest_name, names.manifest_name),
        (names.parse_signature_name, names.signature_name),
        (names.parse_purge_name, names.purge_name),
    ):
        found = parse(name)
        assert found is None or spell(found) == name  # type: ignore[arg-type,operator]
    key = names.parse_key_name(name)
    assert key is None or names.key_name(*key) == name


def _of_age(scene: Scene, kinds: dict[str, tuple[bytes, ...]], blobs: tuple[bytes, ...]) -> Iterator[Reader]:
    identities = load_identities(scene.machine.identity.encode(), None)
    opened = open_store_key(kinds["0.age"], identities, scene.machine.vault.key.id, None).identity
    forms = kinds["0.age"]
    native = [parse_identity(scene.machine.identity)]
    yield Reader("age file", forms, lambda data: decrypt(data, native))
    yield Reader("age file in pieces", forms, lambda data: list(open_stream([data[:50], data[50:]], native)))
    yield Reader("age header", forms, stanza_types)

    def read_at_random(data: bytes) -> bytes:
        reader = AgeReader(lambda start, length: data[start : start + length], len(data), native)
        return reader.read(0, reader.size)

    yield Reader("age file at random", forms, read_at_random)

    def read_blob(data: bytes) -> int:
        blob = BlobReader(lambda start, length: data[start : start + length], len(data), [opened])
        return sum(len(raw) for _, raw in blob.read_frames(blob.frames))

    yield Reader("blob", blobs, read_blob)
    plain = tuple(decrypt(one, [opened]) for one in blobs)
    yield Reader("seek table", plain, lambda data: decode_seek_table(data[-9000:], len(data)))
    yield Reader("frame", tuple(_first_frame(one) for one in plain), _open_frame)


def _first_frame(plain: bytes) -> bytes:
    return plain[: decode_seek_table(plain[-9000:], len(plain))[0].length]


def _open_frame(data: bytes) -> bytes:
    import zstandard

    try:
        size = zstandard.get_frame_parameters(data).content_size
    except zstandard.ZstdError:
        size = 1000
    return decompress_frame(data, min(size, 8 << 20))


def _of_exports(scene: Scene, kinds: dict[str, tuple[bytes, ...]], folder: Path) -> Iterator[Reader]:
    key = scene.machine.vault.host.index_key
    whole = next(one for one in kinds["db.zst.age"] if next(read_export([one], [key])).endswith(b"whole\n"))
    lines = list(read_export([whole], [key]))
    yield Reader("export", kinds["db.zst.age"], lambda data: list(read_export([data], [key])))
    yield Reader("line of an export", tuple(line for line in lines if line.startswith(b"INSERT")), parse_line)
    manifest = next(one for one in scene.manifests() if names.export_name(one.exports[0].id) and len(one.exports) == 1)
    path = folder / "fuzz.sqlite"

    def load(data: bytes) -> None:
        """All rows into a new index, and whether they can be true."""
        path.unlink(missing_ok=True)
        with create_scratch(path) as index:
            source = add_source(index, manifest)
            expected = Expected(SnapshotId(manifest.snapshot), manifest.source, manifest.host, manifest.sequence)
            with index.transaction():
                start_chain(index, source, None)
                apply_export(
                    index, data.splitlines(keepends=True), expected, source_id=source, whole=True, close_seq=None
                )
            check_sound(index, source)

    [own] = [one for one in scene.manifests() if one.snapshot == manifest.snapshot]
    name = names.export_name(own.exports[0].id)
    sql = b"".join(read_export([scene.machine.memory.objects[name][0]], [key]))
    yield Reader("rows of an export", (sql,), load)


def _of_people(scene: Scene, folder: Path) -> Iterator[Reader]:
    config = folder / "fuzz.toml"
    rendered = render_config(replace(scene.machine.vault.config, store="file:///somewhere"))
    source = '\n[sources.home]\npaths = ["/home"]\nexclude = ["*.tmp"]\ntags = ["a"]\n'
    sample = (rendered + source).encode()

    def read_config(data: bytes) -> object:
        config.write_bytes(data)
        return load_config(config)

    yield Reader("configuration", (sample,), read_config)
    paths = state_paths(folder / "fuzz-state", folder / "fuzz-config.toml")
    paths.folder.mkdir()

    def read_host(data: bytes) -> object:
        paths.secrets.write_bytes(data)
        return load_host(paths, scene.machine.vault.at.settings.id)

    yield Reader("host's secrets", ((scene.machine.vault.paths.folder / "host.json").read_bytes(),), read_host)
    identity = scene.machine.identity
    public = parse_identity(identity).recipient().to_text()
    signer = scene.machine.vault.host.signing_key
    yield Reader("identity file", (f"# made\n{identity}\n".encode(),), lambda data: load_identities(data, None))
    yield Reader("signing key", (signer.to_pem(),), load_signing_key)
    yield Reader("recipient", (public.encode(),), lambda data: check_recipient(text(data)))
    yield Reader("age recipient", (public.encode(),), lambda data: parse_recipient(text(data)))
    yield Reader("signer", (signer.public_text().encode(),), lambda data: check_pin(text(data)))
    urls = (b"file:///somewhere", b"s3://bucket/prefix?endpoint=https://host:9000&region=eu&addressing=path")
    yield Reader("store's URL", urls, lambda data: parse_location(text(data)))
    yield Reader("duration", (b"30d", b"36h", b"6mo"), lambda data: parse_duration(text(data)))
    yield Reader("size", (b"32MiB", b"1GB"), lambda data: parse_size(text(data)))


def _of_servers() -> Iterator[Reader]:
    """Listings as botocore hands them on: pages of fields that a server may leave out, or fill with anything."""
    page = {"IsTruncated": False, "Contents": [{"Key": "p/blobs/a", "Size": 1}, {"Key": "p/blobs/b", "Size": 2}]}
    more = {"IsTruncated": True, "NextContinuationToken": "on", "Contents": [{"Key": "p/blobs/a", "Size": 1}]}
    samples = tuple(json.dumps(one).encode() for one in (page, more))

    def read_listing(data: bytes) -> list[object]:
        said = _page(data, "Contents")
        given = iter([said, {"IsTruncated": False}])
        return list(list_pages(lambda token: next(given, {"IsTruncated": False}), "p/", "blobs/"))

    yield Reader("listing", samples, read_listing)
    version = {"Key": "p/blobs/a", "Size": 1, "VersionId": "v", "IsLatest": True}
    versions = {"IsTruncated": True, "NextKeyMarker": "k", "NextVersionIdMarker": "v", "Versions": [version]}

    def read_versions(data: bytes) -> list[object]:
        said = _page(data, "Versions")
        given = iter([said, {"IsTruncated": False}])
        return list(list_version_pages(lambda marker: next(given, {"IsTruncated": False}), "p/", "blobs/"))

    yield Reader("listing of versions", (json.dumps(versions).encode(),), read_versions)
    yield Reader("Retry-After", (b"120", b"Wed, 21 Oct 2015 07:28:00 GMT"), lambda data: retry_after(text(data), 0.0))


def _page(data: bytes, entries: str) -> dict[str, Any]:
    """A page whose fields have the types that botocore's parser gives them, whatever the server wrote."""
    try:
        said = json.loads(data)
        found = [one for one in said.get(entries, []) if isinstance(one, dict)]
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise DamageError("no page that a parser would give") from None
    page: dict[str, Any] = {}
    if isinstance(said.get("IsTruncated"), bool):
        page["IsTruncated"] = said["IsTruncated"]
    page |= {name: str(value) for name, value in said.items() if name.startswith("Next")}
    page[entries] = [_entry(one) for one in found]
    return page


def _entry(said: dict[str, Any]) -> dict[str, Any]:
    typed: dict[str, Any] = {"LastModified": datetime(2026, 1, 1, tzinfo=UTC)}
    for name, value in said.items():
        if name == "Size":
            if isinstance(value, int):
                typed[name] = value
        else:
            typed[name] = str(value) if name != "IsLatest" else bool(value)
    return typed


def _unfolded(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdDecompressor().decompress(data)


def _folded(data: bytes) -> bytes:
    from vaultpy.documents import fold

    return fold(data)
