"""What docs/format.md says in figures and letters is what the code does."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from fastcdc.fastcdc_py import GEAR  # type: ignore[import-untyped]

from vaultpy import chunker, documents, export, manifest, model, purges, signature
from vaultpy.age.format import MAX_HEADER_SIZE
from vaultpy.blob import frames, seektable, writer
from vaultpy.index import dump, grammar
from vaultpy.index.record import XATTR_PART
from vaultpy.keys import FORM_LIMIT
from vaultpy.ops.making.publish import CHAIN_LIMIT
from vaultpy.padding import padme
from vaultpy.purges import PurgeRecord, decode_record, encode_record
from vaultpy.signature import MANIFEST_NAMESPACE, SigningKey, sign
from vaultpy.store import identity, names
from vaultpy.store.identity import decode_store_config, encode_store_config

LIMITS = {
    "a chunk": model.CHUNK_LIMIT,
    "chunks of a file that has one only": chunker.MINIMUM,
    "what a frame unfolds to": frames.FRAME_LIMIT,
    "zstd's window": frames.WINDOW_LIMIT,
    "frames of a blob": seektable.MAX_FRAMES,
    "a line of an export": export.LINE_LIMIT,
    "exports in a chain": CHAIN_LIMIT,
    "a name": 255,
    "holes of a file": model.HOLES_LIMIT,
    "one part of an extended attribute": XATTR_PART,
    "a problem's path, or detail": dump.PROBLEM_LIMIT,
    "a manifest as stored": manifest.FOLDED_LIMIT,
    "a manifest's JSON": manifest.RAW_LIMIT,
    "a purge record as stored": purges.FOLDED_LIMIT,
    "a purge record's JSON": purges.RAW_LIMIT,
    "vaultpy.json": identity.SIZE_LIMIT,
    "a signature": signature.SIGNATURE_LIMIT,
    "a form of a store key": FORM_LIMIT,
    "an age header": MAX_HEADER_SIZE,
}


@pytest.fixture(scope="module")
def text(docs: Path) -> str:
    return (docs / "format.md").read_text()


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next of its rank."""
    found = re.search(rf"^(#+) {re.escape(title)}$\n(.*?)(?=^#{{1,2}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[2]


def rows(text: str) -> list[list[str]]:
    """The rows of all tables in a text, without their headings, cells stripped."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [
        row for at, row in enumerate(cells) if "---" not in row and (at + 1 == len(cells) or "---" not in cells[at + 1])
    ]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_limits_are_those_of_the_code(text: str) -> None:
    assert {name: int(value) for name, value in rows(section(text, "Limits"))} == LIMITS
    assert grammar.LINE_LIMIT == export.LINE_LIMIT
    assert {export.WINDOW_LIMIT, documents.WINDOW_LIMIT, frames.WINDOW_LIMIT} == {8 * 1024 * 1024}


def test_the_create_lines_are_word_for_word(text: str) -> None:
    assert blocks(text, "sql") == [b"".join(dump.CREATE).decode()]


def test_the_first_lines_are_word_for_word(text: str) -> None:
    headers = [pair[number] for number in (0, 1) for pair in (dump.HEADERS_WHOLE, dump.HEADERS_DELTA)]
    assert f"```\n{b''.join(headers).decode()}```" in text
    assert f"```\n{dump.CREATE_ACCESS_TIMES.decode()}```" in text


CREATE = (*dump.CREATE, dump.CREATE_ACCESS_TIMES)
TABLE = rb"CREATE TABLE (?:IF NOT EXISTS )?(\w+)"
TABLES = [re.findall(TABLE, line)[0].decode() for line in CREATE]
SHAPE = re.compile("`([uUhHxXiIN]+)`")


def shapes(text: str) -> dict[str, str]:
    """The values of each table's INSERT, a letter a value."""
    found = ((row[0], SHAPE.match(row[1])) for row in rows(section(text, "Lines")) if len(row) == 2)
    return {table.strip("`"): shape[1] for table, shape in found if shape is not None and table.strip("`") in TABLES}


def test_inserts_are_as_they_are_read(text: str) -> None:
    said = dict(grammar._insert(table, shape.encode()) for table, shape in shapes(text).items())
    assert said == {name: pattern for name, pattern in grammar._PATTERNS if not name.startswith("-")}
    assert set(said) == set(TABLES)


def test_every_letter_for_a_value_is_explained(text: str) -> None:
    explained = [row[0] for row in rows(section(text, "Lines")) if re.fullmatch("(`.` ?)+", row[0])]
    assert {one.encode() for one in re.findall("`(.)`", " ".join(explained))} == grammar._TOKENS.keys()


def test_deletions_are_as_they_are_read(text: str) -> None:
    found = (row for row in rows(section(text, "Lines")) if row[0].strip("`") in TABLES and not SHAPE.match(row[1]))
    said = {f"-{table.strip('`')}": key.split("`")[1] for table, key in found}
    patterns = {name: pattern.pattern for name, pattern in grammar._PATTERNS if name.startswith("-")}
    assert said == {name: re.findall(rb"WHERE (\w+) =", one)[0].decode() for name, one in patterns.items()}


def test_a_statement_has_as_many_values_as_its_table_has_columns(text: str) -> None:
    for line in CREATE:
        table, columns = re.findall(TABLE + rb" \((.*)\);", line)[0]
        count = len(re.findall(rb"\"?\w+\"? (?:BLOB|INTEGER)", columns))
        assert len(shapes(text)[table.decode()]) == count, table


def test_the_known_answers_are_what_is_cut(text: str) -> None:
    said = [[int(one) for one in row[1].split()] for row in rows(section(text, "Chunks"))]
    known = [
        hashlib.shake_128(b"known").digest(6_291_461),
        b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(200_000)),
        bytes(9_437_184),
    ]
    assert [lengths(data) for data in known] == said


def lengths(data: bytes) -> list[int]:
    left = memoryview(data)

    def fill(buffer: memoryview) -> int:
        nonlocal left
        count = min(len(buffer), len(left))
        buffer[:count] = left[:count]
        left = left[count:]
        return count

    return [len(chunk) for chunk in chunker.cut(fill)]


def cut_as_described(data: bytes) -> list[int]:
    """FastCDC from the words of the page alone, but for the table."""
    found, begin = [], 0
    while begin < len(data):
        rest = data[begin : begin + 4_194_304]
        h, end = 0, len(rest)
        for i in range(262_144, len(rest)):
            h = (h >> 1) + GEAR[rest[i]]
            if h & ((1 << (21 if i < 655_360 else 19)) - 1) == 0:
                end = i + 1
                break
        found.append(end)
        begin += end
    return found


def test_cutting_is_as_described(text: str) -> None:
    said = section(text, "Chunks")
    assert hashlib.sha256(b"".join(one.to_bytes(4, "big") for one in GEAR)).hexdigest() in said
    assert {"262144", "655360", "4194304"} <= set(re.findall(r"\d+", said))
    data = hashlib.shake_128(b"described").digest(3_000_000)
    assert cut_as_described(data) == lengths(data)


def test_the_padded_sizes_are_those_of_the_code(text: str) -> None:
    said = [(int(size), int(padded)) for size, padded in rows(section(text, "Padmé"))]
    assert said
    assert said == [(size, padme(size)) for size, _ in said]


def test_the_sizes_of_blobs_and_frames_are_those_of_the_code(text: str) -> None:
    said = section(text, "Blobs")
    assert frames.FRAME_SIZE == 2 << 20 and "until it holds 2 MiB" in said
    assert str(frames.FRAME_CHUNKS) in said
    assert str(writer.MAX_CHUNKS) in said
    assert (writer.STEP, writer.SMALL, writer.TARGET) == (256 << 10, 16 << 20, 32 << 20)
    assert all(size in said for size in ("256 KiB", "16 MiB", "32 MiB"))


def test_the_magic_numbers_are_those_of_the_code(text: str) -> None:
    padding = seektable.encode_padding(20)
    table = seektable.encode_seek_table([seektable.Entry(5, 9), seektable.Entry(20, 0)])
    said = section(text, "Blobs")
    for number, where in (("184D2A50", padding[:4]), ("184D2A5E", table[:4]), ("8F92EAB1", table[-4:])):
        assert f"0x{number}" in said
        assert int(number, 16) == int.from_bytes(where, "little")


def test_the_manifest_shown_is_read_and_has_every_field(text: str) -> None:
    shown = json.loads(section(text, "The manifest").split("```")[1].removeprefix("json"))
    read = manifest.decode(zstandard.ZstdCompressor(write_checksum=True).compress(json.dumps(shown).encode()))
    assert list(json.loads(json.dumps(manifest._fields(read)))) == list(shown)
    named = {name for row in rows(section(text, "The manifest")) for name in re.findall("`([a-z_]+)`", row[0])}
    assert named == shown.keys() - {"format"}


def test_the_other_documents_shown_are_what_is_written(text: str) -> None:
    shown = section(text, "vaultpy.json").split("```")[1].removeprefix("json\n").encode()
    assert encode_store_config(decode_store_config(shown)) == shown
    shown = section(text, "Purge records").split("```")[1].removeprefix("json\n").encode().rstrip()
    record = decode_record(documents.fold(shown))
    assert encode_record(record) == documents.fold(shown)
    assert replace(record, snapshots=()) == PurgeRecord()


def test_the_names_are_those_that_are_made(text: str) -> None:
    id = uuid.UUID("01a1fdb8-870c-7de8-bf27-8a3cca81a124")
    hash = model.BlobHash(bytes(range(32)))
    made = {
        names.CONFIG,
        names.key_name(model.KeyId(id), 7).replace(str(id), "KEY").replace("7", "N"),
        names.blob_name(hash).replace(hash.hex(), "HASH").replace("00/01", "HH/HH"),
        names.export_name(model.ExportId(id)),
        names.signature_name(model.SnapshotId(id)),
        names.manifest_name(model.SnapshotId(id)),
        names.purge_name(id),
    }
    said = {row[0].strip("`") for row in rows(section(text, "Objects"))}
    assert {name.replace(str(id), "UUID") for name in made} == said


def test_the_signature_is_as_described(text: str) -> None:
    said = section(text, "Signatures")
    assert f"`{MANIFEST_NAMESPACE}`" in said
    assert f"{len(sign(SigningKey.generate(), b'x', MANIFEST_NAMESPACE))} bytes" in said


def test_the_host_is_as_described(text: str) -> None:
    signer = SigningKey.generate().public_text()
    value = bytearray(hashlib.sha256(b"vaultpy host " + signer.encode()).digest()[:16])
    value[6], value[8] = value[6] & 0x0F | 0x80, value[8] & 0x3F | 0x80
    assert model.host_id_of(signer) == uuid.UUID(bytes=bytes(value))
    assert "`vaultpy host `" in section(text, "The manifest")


def test_the_kinds_are_those_of_the_code(text: str) -> None:
    spoken = {"character device": "CHARACTER_DEVICE", "block device": "BLOCK_DEVICE", "symbolic link": "SYMLINK"}
    row = next(row for row in rows(text) if row[0] == "`kind`")
    said = {int(one.split(" ", 1)[0]): one.split(" ", 1)[1] for one in row[1].split(", ")}
    assert {number: spoken.get(name, name.upper()) for number, name in said.items()} == {
        int(kind): kind.name for kind in model.Kind
    }
    problems = re.search(r"`kind` is (.*?);", text, re.DOTALL)
    assert problems is not None
    assert set(re.findall("`([a-z]+)`", problems[1])) == {kind.value for kind in model.ProblemKind}
