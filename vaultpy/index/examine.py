"""One text of an export's lines: which of its files need not be loaded, and what must hold of them beside everything else."""

from __future__ import annotations

import re
from array import array
from binascii import hexlify
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import xor

from vaultpy.index import plain
from vaultpy.index.digests import Group
from vaultpy.index.grammar import parse_line
from vaultpy.index.plain import Plain
from vaultpy.index.touched import Touched
from vaultpy.model import BlobHash, Places

LINE_LEAST = 20
"""Bytes of a line: fewer than any of the format has."""


class Unproven(Exception):
    """An export may be sound: only reading it in full tells."""


@dataclass(frozen=True, slots=True)
class Rules:
    """`touched`: what changes have to do with; `latest`: the sequence of the snapshot; `with_atime`: the export has access
    times."""

    touched: Touched
    latest: int
    with_atime: bool


@dataclass(slots=True)
class Examined:
    """What a text comes to.  `rest`: the lines that are to be loaded; `waiting`: those of them that name chunks, `wanted`,
    whose own lines may have been left out; `files`: how many were left out, with the `places` of their chunks, each by how
    its blob is spelled; `blobs`: hashes and raw sizes of those that it names, by the same; `digests`: see Group, sorted."""

    rest: bytes = b""
    waiting: list[bytes] = field(default_factory=list)
    wanted: set[bytes] = field(default_factory=set)
    files: int = 0
    places: list[tuple[bytes, Places]] = field(default_factory=list)
    blobs: dict[bytes, tuple[BlobHash, int]] = field(default_factory=dict)
    digests: list[tuple[Group, array[int]]] = field(default_factory=list)

    def add(self, group: Group, digests: Iterable[int]) -> None:
        values = array("q", sorted(digests))
        if values:
            self.digests.append((group, values))


def examine(rules: Rules, text: bytes) -> Examined:
    """Look at whole lines.  Raises Unproven, and DamageError; nothing is proven before all of the export was looked at."""
    between, records = plain.split(plain.expression(with_atime=rules.with_atime), text)
    rest = b"".join(between)
    if not records.is_right(rules.latest) or not records.refers_back() or b"DELETE " in rest:
        raise Unproven
    found = Examined()
    _note_between(found, rest)
    _note_records(found, records)
    apart = _apart(rules.touched, between, records, rest)
    taken = records if apart is None else records.only([not one for one in apart])
    found.files = len(taken)
    found.places = list(plain.places(taken))
    if rest or apart:
        _line_up(found, between, records, apart or [False] * len(records))
    return found


def _note_records(found: Examined, records: Plain) -> None:
    found.add(Group.FILE, map(hash, records.present("id")))
    found.add(Group.PATH, map(hash, records.present("path")))
    found.add(Group.USED, map(hash, set(records.present("folder"))))
    found.add(Group.ENTRY, map(hash, records.entries()))
    _note_chunks(found, records.present("hash"), records.present("size"))
    found.add(Group.NEEDED, map(xor, map(hash, records.present("ref")), map(int, records.present("held"))))


def _note_between(found: Examined, rest: bytes) -> None:
    """What stands in lines that are no part of plain records."""
    files, chunks = _FILE.findall(rest), _CHUNK.findall(rest)
    found.add(Group.FILE, (hash(id) for id, _, _ in files))
    found.add(Group.PATH, (hash(path) for _, path, _ in files))
    found.add(Group.ENTRY, (hash(path) for _, path, kind in files if kind == b"2"))
    folders = _FOLDER.findall(rest)
    found.add(Group.FOLDER, (hash(id) for id, _, _ in folders))
    # Of the root, which is in no directory, the entry is in itself.
    found.add(Group.NAMED, (hash(b"X'%s',%s" % (parent or id, name)) for id, parent, name in folders))
    _note_chunks(found, [hash for hash, _ in chunks], [size for _, size in chunks])
    for line in _BLOB.findall(rest):
        uuid, _, blob, raw_size, _ = parse_line(line)[1]
        assert isinstance(uuid, bytes) and isinstance(blob, bytes) and isinstance(raw_size, int)
        found.blobs[hexlify(uuid).upper()] = BlobHash(blob), raw_size


def _note_chunks(found: Examined, hashes: Sequence[bytes], sizes: Sequence[bytes]) -> None:
    digests = list(map(hash, hashes))
    found.add(Group.CHUNK, digests)
    found.add(Group.SIZED, map(xor, digests, map(int, sizes)))


def _apart(touched: Touched, between: Sequence[bytes], records: Plain, rest: bytes) -> list[bool] | None:
    """Which records are to be loaded: those touched, those that something is said of in further lines, and those whose chunk
    is named by a line that is no part of a record; None: none."""
    apart = touched.among(records)
    named = {hash for hash, _ in _CHUNK.findall(rest)}
    if named or _ATTACHED.search(rest):
        apart = apart or [False] * len(records)
        for number, (gap, ref) in enumerate(zip(between[1:], records.all("ref"), strict=True)):
            apart[number] |= ref in named or _ATTACHED.match(gap) is not None
    return apart


def _line_up(found: Examined, between: Sequence[bytes], records: Plain, apart: Sequence[bool]) -> None:
    """Sort the lines that are to be loaded: those that name a chunk whose line may have been left out wait for the end."""
    texts = records.all("text")
    later = {hash for gap in between for hash, _ in _CHUNK.findall(gap)}
    named = {hash: number for number, hash in enumerate(records.all("hash")) if hash is not None}
    met: set[bytes] = set()
    passed: list[bytes] = []
    waits = False
    for number, gap in enumerate(between):
        text = gap + (texts[number] or b"" if number < len(apart) and apart[number] else b"")
        for line in _lines(text):
            if not line.startswith(_OF_FILES):
                waits = False
                met.update(hash for hash, _ in _CHUNK.findall(line))
            elif not (waits and _ATTACHED.match(line)):
                ref = _REF.match(line)
                waits = ref is not None and ref[1] not in met
                if ref and waits:
                    if ref[1] in later or named.get(ref[1], -1) >= number:
                        raise Unproven  # the chunk's line comes after its file's
                    found.wanted.add(ref[1])
            (found.waiting if waits else passed).append(line)
    found.rest = b"".join(passed)


def _lines(text: bytes) -> Iterator[bytes]:
    if text.count(b"\n") > len(text) // LINE_LEAST + 1:  # before millions of lines are made of it
        raise Unproven
    return iter(text.splitlines(keepends=True))


_OF_FILES = (
    b"INSERT INTO files ",
    b"INSERT INTO file_chunks ",
    b"INSERT INTO xattrs ",
    b"INSERT INTO access_times ",
)
_ATTACHED = re.compile(rb"^INSERT INTO (?:file_chunks|xattrs|access_times) ", re.MULTILINE)
_FILE = re.compile(rb"INSERT INTO files VALUES \(X'([^']{32})',(X'[^']{32}',X'[^']*'),([^,]+),")
_CHUNK = re.compile(rb"INSERT INTO chunks VALUES \(X'([^']{64})',([0-9]{1,18}),")
_FOLDER = re.compile(
    rb"INSERT INTO directories VALUES \(X'([^']{32})',X'[^']{32}',(?:NULL|X'([^']{32})'),(X'[^']*')\);\n"
)
_BLOB = re.compile(rb"INSERT INTO blobs VALUES .*\n")
_REF = re.compile(rb"INSERT INTO (?:files VALUES \((?:[^,]*,){15}|file_chunks VALUES \([^,]*,[^,]*,)X'([^']{64})'")
"""The chunk that a file's line names, or the line of one of its chunks."""
