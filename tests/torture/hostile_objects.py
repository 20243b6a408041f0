"""Hostile containers of exports, blobs, keys, records and whatever else can lie in a store, besides hostile_manifests.py.

Each is a function of a forge that puts its objects and returns the id of the snapshot to restore (None: the honest one).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

import blake3
import zstandard
from hostile import Forge, blob, blob_of, dump_json, fold, padding, seek_table
from hostile_manifests import ID, OBJECTS, Make, make, repeat
from hostile_rows import small

from vaultpy.age import encrypt, parse_recipient

# Containers of exports.


def container(build: Callable[[Forge, bytes], bytes]) -> Make:
    """An export that is not what its container should be, named by a signed manifest with its right hashes."""

    def put(forge: Forge) -> str:
        def change(fields: dict[str, Any]) -> None:
            data = build(forge, b"".join(forge.dump.lines()))
            fields["exports"] = [forge.put_export_bytes(data, UUID(fields["snapshot"]))]

        return forge.snapshot(change=change)

    return put


def sealed(forge: Forge, plain: bytes) -> bytes:
    return encrypt(plain, [parse_recipient(one) for one in forge.recipients])


def long_window(data: bytes) -> bytes:
    """A frame that asks for a window of 128 MiB."""
    settings = zstandard.ZstdCompressionParameters.from_level(3, window_log=27, write_checksum=True)
    compressor = zstandard.ZstdCompressor(compression_params=settings).compressobj()
    return compressor.compress(data) + compressor.flush()


OBJECTS |= {
    "export of junk": container(lambda forge, sql: os.urandom(2000)),
    "export of nothing": container(lambda forge, sql: b""),
    "export of a byte": container(lambda forge, sql: b"a"),
    "export that is not encrypted": container(lambda forge, sql: fold(sql) + padding()),
    "export that is not folded": container(lambda forge, sql: sealed(forge, sql)),
    "export without padding": container(lambda forge, sql: sealed(forge, fold(sql))),
    "export with junk for padding": container(lambda forge, sql: sealed(forge, fold(sql) + b"junk behind it all")),
    "export of two frames": container(lambda forge, sql: sealed(forge, fold(sql[:500]) + fold(sql[500:]) + padding())),
    "export without checksum": container(lambda forge, sql: sealed(forge, fold(sql, write_checksum=False) + padding())),
    "export cut in its frame": container(lambda forge, sql: sealed(forge, fold(sql)[:-9] + padding())),
    "export with a long window": container(
        lambda forge, sql: sealed(
            forge,
            long_window(sql) + padding(),
        )
    ),
    "bomb of an export of 2 GB of newlines": container(
        lambda forge, sql: sealed(forge, repeat(b"\n", 2 << 30) + padding())
    ),
    "bomb of an export of one line of 2 GB": container(
        lambda forge, sql: sealed(forge, repeat(b"a", 2 << 30) + padding())
    ),
    "export for others": container(lambda forge, sql: encrypt(fold(sql) + padding(), [_stranger()])),
    "export cut in its encryption": container(lambda forge, sql: sealed(forge, fold(sql) + padding())[:-20]),
}


def _stranger() -> Any:
    from vaultpy.age import X25519Identity

    return X25519Identity.generate(os.urandom).recipient()


# Blobs.


def with_blob(build: Callable[[Forge, bytes], bytes]) -> Make:
    """A snapshot whose small file lies in a blob that is not what it should be; all rows and hashes agree with it."""

    def put(forge: Forge) -> str:
        content = b"what the small file holds " * 40
        data = build(forge, content)
        hash, size = forge.put_blob(data)
        dump = forge.copy_of_dump()
        file = small(dump)
        chunk = dump.find("chunks", hash=file["chunk_hash"])
        made = dump.add("blobs", dump.rows["blobs"][0], id=blob(os.urandom(16)),
                        hash=blob(bytes.fromhex(hash)), raw_size=str(1 << 40), stored_size=str(size))  # fmt: skip
        chunk.update(hash=blob(blake3.blake3(content).digest()), size=str(len(content)), blob_id=made["id"],
                     raw_offset="0")  # fmt: skip
        file.update(chunk_hash=chunk["hash"], size=str(len(content)))

        def change(fields: dict[str, Any]) -> None:
            fields["blobs"] = sorted([*fields["blobs"], [hash, size]])

        return forge.snapshot(dump.lines(), change=change)

    return put


def key(forge: Forge) -> str:
    return forge.recipients[0]


def one_frame(frame: Callable[[bytes], bytes], raw: Callable[[bytes], int] = len, **table: Any) -> Make:
    return with_blob(lambda forge, content: blob_of([frame(content)], [raw(content)], key(forge), **table))


OBJECTS |= {
    "blob that is right": one_frame(fold),
    "blob of junk": with_blob(lambda forge, content: os.urandom(500)),
    "blob of nothing": with_blob(lambda forge, content: b""),
    "blob that is not encrypted": with_blob(lambda forge, content: fold(content) + padding() + seek_table([(1, 1)])),
    "blob without a seek table": with_blob(lambda forge, content: sealed(forge, fold(content))),
    "blob with a seek table alone": with_blob(lambda forge, content: sealed(forge, seek_table([(8, 0)]))),
    "blob of no frames": with_blob(lambda forge, content: blob_of([], [], key(forge))),
    "blob that counts 2^32 frames": one_frame(fold, count=0xFFFFFFFF),
    "blob that counts no frame": one_frame(fold, count=0),
    "blob with a descriptor": one_frame(fold, descriptor=0x80),
    "blob whose frame is larger than said": one_frame(fold, raw=lambda content: len(content) - 1),
    "blob whose frame is smaller than said": one_frame(fold, raw=lambda content: len(content) + 1),
    "blob whose frame has 4 GB": one_frame(fold, raw=lambda content: 0xFFFFFFFF),
    "bomb of a frame of 256 MB": with_blob(
        lambda forge, content: blob_of([repeat(b"\0", 256 << 20)], [256 << 20], key(forge))
    ),
    "bomb of a frame of 256 MB said to be small": with_blob(
        lambda forge, content: blob_of([repeat(b"\0", 256 << 20)], [len(content)], key(forge))
    ),
    "bomb of 1000 frames of 8 MB": with_blob(
        lambda forge, content: blob_of([repeat(b"\0", 8 << 20)] * 1000, [8 << 20] * 1000, key(forge))
    ),
    "frame without checksum": one_frame(lambda content: fold(content, write_checksum=False)),
    "frame without a size": one_frame(lambda content: fold(content, write_content_size=False)),
    "frame of junk": one_frame(lambda content: os.urandom(100)),
    "frame cut": one_frame(lambda content: fold(content)[:-3]),
    "frame with more behind": one_frame(lambda content: fold(content) + b"junk"),
    "two frames for one": one_frame(lambda content: fold(content[:10]) + fold(content[10:])),
    "frame of other bytes": one_frame(lambda content: fold(bytes(len(content)))),
    "frame with a dictionary": one_frame(
        lambda content: zstandard.ZstdCompressor(
            dict_data=zstandard.ZstdCompressionDict(content * 3, dict_type=zstandard.DICT_TYPE_RAWCONTENT),
            write_checksum=True,
        ).compress(content)
    ),
    "blob for others": with_blob(
        lambda forge, content: encrypt(fold(content) + padding() + seek_table([(1, 1), (8, 0)]), [_stranger()])
    ),
    "blob of 1000 recipients": with_blob(
        lambda forge, content: encrypt(
            fold(content) + padding() + seek_table([(len(fold(content)), len(content)), (8, 0)]),
            [*[_stranger()] * 1000, parse_recipient(key(forge))],
        )
    ),
    "blob with an endless header": with_blob(
        lambda forge, content: b"age-encryption.org/v1\n" + b"-> X25519 " + b"A" * 200_000
    ),
    "blob for a passphrase": with_blob(
        lambda forge, content: b"age-encryption.org/v1\n-> scrypt c2FsdHNhbHRzYWx0c2FsdA 30\n"
        + b"A" * 43 + b"\n--- " + b"A" * 43 + b"\n" + bytes(32)
    ),
    "blob cut in its encryption": with_blob(lambda forge, content: blob_of([fold(content)], [len(content)], key(forge))[:-9]),
}  # fmt: skip


# What else can lie in a store.


def store_object(name: str, data: bytes | Callable[[Forge], bytes]) -> Make:
    def build(forge: Forge) -> None:
        forge.put(name, data(forge) if callable(data) else data)

    return build


OBJECTS |= {
    "record of junk": store_object(f"purges/{ID}.json.zst", b"junk"),
    "record that names everything": store_object(
        f"purges/{ID}.json.zst",
        lambda forge: fold(
            dump_json(
                {
                    "format": 1,
                    "snapshots": [forge.manifest["snapshot"]],
                    "blobs": [one[0] for one in forge.manifest["blobs"]],
                    "exports": [one["id"] for one in forge.manifest["exports"]],
                }
            )
        ),
    ),
    "bomb of a record": store_object(f"purges/{ID}.json.zst", lambda forge: repeat(b" ", 127 << 20)),
    "record of 10^6 blobs": store_object(
        f"purges/{ID}.json.zst",
        lambda forge: fold(
            dump_json(
                {
                    "format": 1,
                    "snapshots": [],
                    "exports": [],
                    "blobs": [f"{number:064x}" for number in range(1_000_000)],
                }
            )
        ),
    ),
    "object with an odd name": store_object("blobs/zz/zz/nothing", b"junk"),
    "object with a name of escapes": store_object("metadata/\x1b[2J", b"junk"),
    "folder without a manifest": store_object("metadata/00000000-0000-7000-8000-000000000000/db.zst.age", b"junk"),
    "signature without a manifest": store_object(f"metadata/{ID}/manifest.json.zst.sig", b"junk"),
    "blob of another name": store_object("blobs/00/00/" + "00" * 32, b"junk"),
    "form of junk": store_object(f"keys/{ID}/0.age", b"junk"),
}


@make("300 forms of junk beside the right one")
def _forms(forge: Forge) -> None:
    for number in range(1, 300):
        forge.put(f"keys/{forge.manifest['key']}/{number}.age", os.urandom(600))


@make("another's form of the same key")
def _swapped_key(forge: Forge) -> None:
    from vaultpy.keys import wrap

    text = f"# vaultpy store key {forge.manifest['key']}\n# signer: {forge.enemy.public_text()}\n"
    secret = _stranger_identity()
    public = next(one.split()[-1] for one in forge.vault.identity.read_text().splitlines() if "public key" in one)
    forge.put(f"keys/{forge.manifest['key']}/1.age", wrap(f"{text}{secret}\n".encode(), public))


def _stranger_identity() -> str:
    from vaultpy.age import X25519Identity

    return X25519Identity.generate(os.urandom).to_text()


def note_manifest(forge: Forge) -> None:
    forge.made += [f"metadata/{ID}/manifest.json.zst", f"metadata/{ID}/manifest.json.zst.sig"]


@make("manifest that is a folder")
def _folder(forge: Forge) -> None:
    note_manifest(forge)
    (forge.vault.store / f"metadata/{ID}/manifest.json.zst").mkdir(parents=True)


@make("manifest that is a pipe")
def _pipe(forge: Forge) -> None:
    note_manifest(forge)
    folder = forge.vault.store / f"metadata/{ID}"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "manifest.json.zst")


@make("manifest that is a link to endless zeros")
def _zeros(forge: Forge) -> None:
    note_manifest(forge)
    folder = forge.vault.store / f"metadata/{ID}"
    folder.mkdir(parents=True)
    (folder / "manifest.json.zst").symlink_to("/dev/zero")
    (folder / "manifest.json.zst.sig").symlink_to("/dev/zero")


def giant(name: str) -> Make:
    """An object of 3 GB, most of it hole."""

    def build(forge: Forge) -> None:
        path = forge.vault.store / forge.put(name, b"")
        os.truncate(path, 3 << 30)

    return build


OBJECTS |= {
    "manifest of 3 GB": giant(f"metadata/{ID}/manifest.json.zst"),
    "signature of 3 GB": giant(f"metadata/{ID}/manifest.json.zst.sig"),
    "record of 3 GB": giant(f"purges/{ID}.json.zst"),
    "form of 3 GB": giant(f"keys/{ID}/0.age"),
}
