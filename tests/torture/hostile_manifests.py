"""Hostile manifests, each under a name; hostile_objects.py goes on with everything else that lies in a store.

Each is a function of a forge that puts its objects and returns the id of the snapshot to restore (None: the honest one).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

import blake3
import zstandard
from hostile import Forge, dump_json, fold, padding

from vaultpy.age import encrypt, parse_recipient

Make = Callable[[Forge], str | None]
OBJECTS: dict[str, Make] = {}

HUGE = (1 << 63) - 1


def make(name: str) -> Callable[[Make], Make]:
    def note(function: Make) -> Make:
        OBJECTS[name] = function
        return function

    return note


def field(name: str, value: Any) -> Make:
    """A manifest with one field as it should not be, signed all the same."""

    def build(forge: Forge) -> str:
        return forge.snapshot(change=lambda fields: fields.__setitem__(name, value))

    return build


def without(name: str) -> Make:
    return lambda forge: forge.snapshot(change=lambda fields: fields.pop(name))


ID = "00000000-0000-7000-8000-000000000000"
FIELDS: dict[str, tuple[str, Any]] = {
    "of format 2": ("format", 2),
    "of format 0": ("format", 0),
    "of format true": ("format", True),
    "of format 1.0": ("format", 1.0),
    "of a format of 5000 digits": ("format", 10**4000),
    "of another store": ("store", ID),
    "of another snapshot": ("snapshot", ID),
    "of another host": ("host", ID),
    "of another signer": ("signer", "ssh-ed25519 AAAA"),
    "of no state": ("state", "finished"),
    "partial": ("state", "partial"),
    "of a sequence below zero": ("sequence", -1),
    "of a sequence of 63 bits": ("sequence", HUGE),
    "of a sequence of 64 bits": ("sequence", HUGE + 1),
    "started in 9999": ("started", "9999-01-01T00:00:00.000Z"),
    "started in 2262": ("started", "2262-04-11T00:00:00.000Z"),
    "started in 1677": ("started", "1677-10-01T00:00:00.000Z"),
    "started at no time": ("started", "yesterday"),
    "pinned by a word": ("pinned", "yes"),
    "that is its own parent": ("parent", ID),
    "that repairs what is not there": ("repairs", ID),
    "of another key": ("key", ID),
    "with blobs that are not there": ("blobs", [["ab" * 32, 100]]),
    "with blobs out of order": ("blobs", [["ff" * 32, 1], ["00" * 32, 1]]),
    "with a blob twice": ("blobs", [["00" * 32, 1], ["00" * 32, 1]]),
    "with a blob below zero": ("blobs", [["00" * 32, -1]]),
    "with a blob of 63 bits": ("blobs", [["00" * 32, HUGE]]),
    "with blobs that are words": ("blobs", ["blob"]),
    "with blobs in upper case": ("blobs", [["AB" * 32, 1]]),
    "with no exports": ("exports", []),
    "with exports that are words": ("exports", ["export"]),
    "with an export of 63 bits": (
        "exports",
        [{"id": ID, "size": HUGE, "blake3": "00" * 32, "sha256": "00" * 32}],
    ),
    "with an export of nothing": ("exports", [{"id": ID, "size": 0, "blake3": "00" * 32, "sha256": "00" * 32}]),
    "with 5000 exports": (
        "exports",
        [
            {"id": str(UUID(int=number)), "size": 1, "blake3": "00" * 32, "sha256": "00" * 32}
            for number in range(1, 5001)
        ],
    ),
    "with settings of another hash": ("store_config", "00" * 32),
    "with no forms of the key": ("wrapped_keys", []),
    "with junk for forms": ("wrapped_keys", [base64.b64encode(os.urandom(500)).decode()] * 3),
    "with 20000 forms": ("wrapped_keys", [base64.b64encode(b"junk %d" % number).decode() for number in range(20_000)]),
    "with a form for a passphrase": (
        "wrapped_keys",
        [
            base64.b64encode(
                b"age-encryption.org/v1\n-> scrypt c2FsdHNhbHRzYWx0c2FsdA 30\n"
                + b"A" * 43
                + b"\n--- "
                + b"A" * 43
                + b"\n"
            ).decode()
        ],
    ),
    "with junk about itself": ("about", base64.b64encode(b"junk").decode()),
    "with nothing about itself": ("about", ""),
    "with 4 MB about itself": ("about", base64.b64encode(os.urandom(4_000_000)).decode()),
    "with base64 that is not canonical": ("about", "AB=="),
    "with an unknown field": ("later", {"and": ["more"]}),
    "with a lone surrogate": ("later", "\ud800"),
}
OBJECTS |= {f"manifest {what}": field(*given) for what, given in FIELDS.items()}
OBJECTS |= {
    f"manifest without {name}": without(name) for name in ("format", "blobs", "exports", "signer", "key", "about")
}


def raw(change: Callable[[bytes], bytes]) -> Make:
    return lambda forge: forge.snapshot(raw=change)


OBJECTS |= {
    "manifest of no JSON": raw(lambda data: b"manifest"),
    "manifest of nothing": raw(lambda data: b""),
    "manifest that is a list": raw(lambda data: b"[" + data + b"]"),
    "manifest cut": raw(lambda data: data[:-20]),
    "manifest with more behind": raw(lambda data: data + b"{}"),
    "manifest with a name twice": raw(lambda data: data[:-1] + b',"state":"complete"}'),
    "manifest with NaN": raw(lambda data: data[:-1] + b',"later":NaN}'),
    "manifest of depth 100000": raw(lambda data: data[:-1] + b',"later":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "manifest in UTF-16": raw(lambda data: data.decode().encode("utf-16")),
    "manifest with a mark before": raw(lambda data: b"\xef\xbb\xbf" + data),
    "manifest that is not UTF-8": raw(lambda data: data[:-1] + b',"later":"\xff"}'),
}


def about(**changed: Any) -> Make:
    """A true description with something in it that steers a terminal, or is endless."""

    def build(forge: Forge) -> str:
        said = {
            "host": "host", "source": "quillfeather", "paths": ["/"], "tags": [], "files": 1, "bytes": 1, "new_bytes": 1,
            "stored_bytes": 1, "problems": 0, "version": "1",
        } | changed  # fmt: skip
        data = encrypt(dump_json(said), [parse_recipient(one) for one in forge.recipients])
        return forge.snapshot(change=lambda fields: fields.__setitem__("about", base64.b64encode(data).decode()))

    return build


STEERING = "\x1b]0;owned\x07\x1b[2J\r\n\x9b31m\u202eevil\u2066\x00\x7f"
OBJECTS |= {
    "description that steers": about(
        host=STEERING, source=STEERING, tags=[STEERING], version=STEERING, paths=[STEERING]
    ),
    "description of a million letters": about(source="a" * 1_000_000),
    "description of 100000 tags": about(tags=[str(number) for number in range(100_000)]),
    "description of counts beyond": about(files=HUGE, bytes=HUGE, problems=HUGE),
    "description with a lone surrogate": about(source="\ud800"),
    "description that is a list": about(paths="no list"),
}


def folded(change: Callable[[bytes], bytes]) -> Make:
    """A signed manifest whose zstd frame is not one."""

    def build(forge: Forge) -> str:
        id = forge.new_id()
        forge.put_manifest(id, b"", forge.host, folded=change(dump_json(forge.manifest | {"snapshot": str(id)})))
        return str(id)

    return build


def repeat(byte: bytes, count: int) -> bytes:
    """A zstd frame that unfolds to `count` times a byte, without that many in memory."""
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj(size=count)
    piece = byte * (1 << 20)
    out = [compressor.compress(piece) for _ in range(count >> 20)]
    return b"".join([*out, compressor.compress(byte * (count & ((1 << 20) - 1))), compressor.flush()])


OBJECTS |= {
    "bomb of a manifest of 500 MB": folded(lambda data: repeat(b" ", 500 << 20)),
    "bomb of a manifest of 500 MB of lists": folded(lambda data: repeat(b"[", 500 << 20)),
    "bomb of a manifest of 4 GB": folded(lambda data: repeat(b" ", 4 << 30)),
    "manifest of junk": folded(lambda data: os.urandom(1000)),
    "manifest without checksum": folded(lambda data: fold(data, write_checksum=False)),
    "manifest without a size": folded(lambda data: fold(data, write_content_size=False)),
    "manifest of two frames": folded(lambda data: fold(data) + fold(data)),
    "manifest with a skippable frame": folded(lambda data: fold(data) + padding(16)),
    "manifest cut in its frame": folded(lambda data: fold(data)[:-5]),
}


@make("bomb of a manifest of 500 MB of numbers")
def _numbers(forge: Forge) -> str:
    id = forge.new_id()
    forge.put_manifest(id, b"", forge.host, folded=fold(b'{"later":[' + b"0," * (100 << 20) + b"0]}"))
    return str(id)


@make("manifest of 300000 blobs")
def _many_blobs(forge: Forge) -> str:
    hashes = sorted({blake3.blake3(b"%d" % number).hexdigest() for number in range(300_000)})
    return forge.snapshot(change=lambda fields: fields.__setitem__("blobs", [[one, 1] for one in hashes]))


@make("manifest signed for another place")
def _elsewhere(forge: Forge) -> str:
    id = forge.new_id()
    forge.put_manifest(id, dump_json(forge.manifest), forge.host)
    return str(id)


@make("manifest without a signature")
def _unsigned(forge: Forge) -> str:
    id = forge.snapshot()
    (forge.vault.store / f"metadata/{id}/manifest.json.zst.sig").unlink()
    return id


@make("manifest with another's signature")
def _mixed(forge: Forge) -> str:
    id, other = forge.snapshot(), forge.snapshot(by_enemy=True)
    folder = forge.vault.store / "metadata"
    (folder / id / "manifest.json.zst.sig").write_bytes((folder / other / "manifest.json.zst.sig").read_bytes())
    return id


@make("signature of a megabyte")
def _long_signature(forge: Forge) -> str:
    id = forge.snapshot()
    (forge.vault.store / f"metadata/{id}/manifest.json.zst.sig").write_bytes(
        b"-----BEGIN SSH SIGNATURE-----\n" * 40_000
    )
    return id
