"""The names of objects: one spelling each, read back strictly."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultpy.model import BlobHash, ExportId, KeyId, SnapshotId
from vaultpy.store import names

ID = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
HASH = BlobHash(bytes.fromhex("abcdef" + "01" * 29))


def test_the_names_are_as_the_format_says() -> None:
    assert names.CONFIG == "vaultpy.json"
    assert names.blob_name(HASH) == "blobs/ab/cd/abcdef" + "01" * 29
    assert names.export_name(ExportId(ID)) == f"metadata/{ID}/db.zst.age"
    assert names.manifest_name(SnapshotId(ID)) == f"metadata/{ID}/manifest.json.zst"
    assert names.signature_name(SnapshotId(ID)) == f"metadata/{ID}/manifest.json.zst.sig"
    assert names.purge_name(ID) == f"purges/{ID}.json.zst"
    assert names.key_folder(KeyId(ID)) == f"keys/{ID}/"
    assert names.key_name(KeyId(ID), 0) == f"keys/{ID}/0.age"


@given(st.uuids(), st.binary(min_size=32, max_size=32), st.integers(0, 999_999_999))
def test_every_name_reads_back_as_itself_and_as_nothing_else(id: uuid.UUID, hash: bytes, number: int) -> None:
    parsers = [
        names.parse_blob_name,
        names.parse_export_name,
        names.parse_manifest_name,
        names.parse_signature_name,
        names.parse_purge_name,
        names.parse_key_name,
    ]
    made = [
        (names.blob_name(BlobHash(hash)), hash),
        (names.export_name(ExportId(id)), id),
        (names.manifest_name(SnapshotId(id)), id),
        (names.signature_name(SnapshotId(id)), id),
        (names.purge_name(id), id),
        (names.key_name(KeyId(id), number), (id, number)),
    ]
    for row, (name, meaning) in enumerate(made):
        read = [parse(name) for parse in parsers]
        assert read[row] == meaning
        assert [one for one in read if one is not None] == [meaning]


@pytest.mark.parametrize("prefix", [names.BLOBS, names.METADATA, names.PURGES, names.KEYS])
def test_the_folders_are_what_names_begin_with(prefix: str) -> None:
    made = [names.blob_name(HASH), names.export_name(ExportId(ID)), names.purge_name(ID), names.key_name(KeyId(ID), 1)]
    assert sum(name.startswith(prefix) for name in made) == 1


@pytest.mark.parametrize(
    "name",
    [
        "",
        names.blob_name(HASH).upper(),
        names.blob_name(HASH)[:-1],
        names.blob_name(HASH) + "0",
        names.blob_name(HASH) + "\n",
        "/" + names.blob_name(HASH),
        names.blob_name(HASH).replace("blobs/ab/cd", "blobs/ab/ce"),
        names.blob_name(HASH).replace("blobs/ab/cd", "blobs/ab"),
        f"metadata/{ID}/manifest.json",
        f"metadata/{ID}/manifest-json.zst",
        f"metadata/{str(ID).upper()}/manifest.json.zst",
        f"metadata/{ID.hex}/manifest.json.zst",
        f"metadata/{{{ID}}}/db.zst.age",
        f"metadata/{ID}/db.zst.age.tmp",
        f"metadata/{ID}/../db.zst.age",
        f"purges/{ID}.json",
        f"keys/{ID}/00.age",
        f"keys/{ID}/-1.age",
        f"keys/{ID}/1000000000.age",
        f"keys/{ID}/\u0661.age",
        f"keys/{ID}/.age",
    ],
)
def test_any_other_spelling_is_none_of_ours(name: str) -> None:
    assert names.parse_blob_name(name) is None
    assert names.parse_export_name(name) is None
    assert names.parse_manifest_name(name) is None
    assert names.parse_signature_name(name) is None
    assert names.parse_purge_name(name) is None
    assert names.parse_key_name(name) is None
