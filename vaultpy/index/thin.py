"""A whole export without most of its files: those that can be proven sound without being loaded.

    lines → plain records, proven and left out → what remains, which `load.py` reads and `sound.py` judges as ever

What is left out is a file of one chunk or none, with its chunk, that has nothing to do with the changes that stand on the
export.  It is proven by itself (`plain.py`), and together with everything else by digests: ids, paths and chunks are there
once; the directory and the chunk that a file names are there, before it.  So what loading and judging all of it would find
wrong is found wrong in what remains, or the export is Unproven: then only reading it in full can tell.
"""

from __future__ import annotations

import re
from binascii import hexlify, unhexlify
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import xor

from vaultpy.index import dump, plain
from vaultpy.index.content import Place
from vaultpy.index.digests import Digests, Group
from vaultpy.index.grammar import LINE_LIMIT, parse_line
from vaultpy.index.plain import Plain
from vaultpy.index.touched import Touched
from vaultpy.model import BlobHash, Places

PIECE = 1024 * 1024
"""Bytes of text that are looked at together."""

HELD = 50_000
"""Lines that may wait for the chunks that they name."""

LINE_LEAST = 20
"""Bytes of a line: fewer than any of the format has."""

Keep = Callable[[BlobHash, Places], None]
Find = Callable[[set[bytes]], Iterable[Place]]


class Unproven(Exception):
    """It may be sound: only reading it in full tells."""


class Thinner:
    """Thins one export.  `files`: how many were left out."""

    def __init__(self, touched: Touched, digests: Digests, latest: int, keep: Keep, find: Find) -> None:
        """`latest`: the sequence of the snapshot.  `keep` is given where chunks lie that are left out, of one blob at a
        time; `find` gives places of such chunks back, by their hashes."""
        self.files = 0
        self._touched, self._digests, self._latest, self._keep, self._find = touched, digests, latest, keep, find
        self._blobs: dict[bytes, tuple[BlobHash, int]] = {}
        self._waiting = _Waiting()

    def lines(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """What remains of an export's SQL, which comes in pieces of any length.

        Raises Unproven, DamageError, and what `pieces` raises; nothing is proven before the iterator ended.
        """
        pattern = None
        for text in whole_lines(pieces):
            if pattern is None:
                pattern = plain.expression(with_atime=text.startswith(dump.HEADERS_WHOLE[1]))
            between, records = plain.split(pattern, text)
            yield from self._thin(between, records)
        yield from self._found_again()
        yield from self._waiting.lines
        if not self._digests.agree():
            raise Unproven

    def _thin(self, between: Sequence[bytes], records: Plain) -> Iterator[bytes]:
        rest = b"".join(between)
        if not records.is_right(self._latest) or not records.refers_back() or b"DELETE " in rest:
            raise Unproven
        self._note_between(rest)
        self._note(records)
        apart = self._apart(between, records, rest)
        taken = records if apart is None else records.only([not one for one in apart])
        self._leave_out(taken)
        if rest or apart:
            texts = records.present("text")
            line_up = self._waiting.begin(records, rest)
            for number, gap in enumerate(between):
                yield from line_up(number, gap)
                if apart and number < len(apart) and apart[number]:
                    yield from line_up(number, texts[number])

    def _apart(self, between: Sequence[bytes], records: Plain, rest: bytes) -> list[bool] | None:
        """Which records are not left out: those touched, those that something is said of in further lines, and those whose
        chunk is named by a line that is no part of a record; None: none."""
        apart = self._touched.among(records)
        named = {hash for hash, _ in _CHUNK.findall(rest)}
        if _ATTACHED.search(rest) or named:
            apart = apart or [False] * len(records)
            for number, (gap, ref) in enumerate(zip(between[1:], records.all("ref"), strict=True)):
                apart[number] |= _ATTACHED.match(gap) is not None or ref in named
        return apart

    def _leave_out(self, records: Plain) -> None:
        self.files += len(records)
        for spelled, offsets, sizes, hashes in plain.places(records):
            blob, raw_size = self._blobs.get(spelled, (None, 0))
            if blob is None or plain.reach(offsets, sizes) > raw_size:
                raise Unproven
            self._keep(blob, Places(offsets, sizes, hashes))

    def _note(self, records: Plain) -> None:
        add = self._digests.add
        add(Group.FILE, map(hash, records.present("id")))
        add(Group.PATH, map(hash, records.present("path")))
        add(Group.USED, map(hash, set(records.present("folder"))))
        self._note_chunks(records.present("hash"), records.present("size"))
        refs = records.present("ref")
        if refs:
            add(Group.NEEDED, map(xor, map(hash, refs), map(int, records.present("held"))))

    def _note_chunks(self, hashes: Sequence[bytes], sizes: Sequence[bytes]) -> None:
        digests = list(map(hash, hashes))
        self._digests.add(Group.CHUNK, digests)
        self._digests.add(Group.SIZED, map(xor, digests, map(int, sizes)))

    def _note_between(self, rest: bytes) -> None:
        """What stands in lines that are no part of plain records."""
        files, chunks = _FILE.findall(rest), _CHUNK.findall(rest)
        self._digests.add(Group.FILE, (hash(id) for id, _ in files))
        self._digests.add(Group.PATH, (hash(path) for _, path in files))
        self._digests.add(Group.FOLDER, map(hash, _FOLDER.findall(rest)))
        self._note_chunks([hash for hash, _ in chunks], [size for _, size in chunks])
        for line in _BLOB.findall(rest):
            uuid, _, blob, raw_size, _ = parse_line(line)[1]
            assert isinstance(uuid, bytes) and isinstance(blob, bytes) and isinstance(raw_size, int)
            self._blobs[hexlify(uuid).upper()] = BlobHash(blob), raw_size

    def _found_again(self) -> Iterator[bytes]:
        """The lines of chunks that were left out, and are needed by what was not."""
        spelled = {blob: uuid for uuid, (blob, _) in self._blobs.items()}
        wanted = set(map(unhexlify, self._waiting.wanted))
        for blob, offset, size, chunk in self._find(wanted) if wanted else ():
            values = hexlify(chunk).upper(), size, spelled[blob], offset
            yield b"INSERT INTO chunks VALUES (X'%s',%d,X'%s',%d);\n" % values


LineUp = Callable[[int, bytes], Iterator[bytes]]


class _Waiting:
    """Lets lines pass, but for those that name a chunk whose line may have been left out: they wait until all was taken."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.wanted: set[bytes] = set()

    def begin(self, records: Plain, rest: bytes) -> LineUp:
        """For one text, of which `rest` is what stands between its records."""
        later = {hash for hash, _ in _CHUNK.findall(rest)}
        named = {hash: number for number, hash in enumerate(records.all("hash")) if hash is not None}
        met: set[bytes] = set()

        def line_up(number: int, text: bytes) -> Iterator[bytes]:
            """The lines of what stands before the record of that number, or of that record, which need not wait."""
            waits = False
            for line in _lines(text):
                if not line.startswith(_OF_FILES):
                    waits = False
                    met.update(hash for hash, _ in _CHUNK.findall(line))
                elif not (waits and _ATTACHED.match(line)):
                    ref = _REF.match(line)
                    waits = ref is not None and ref[1] not in met and len(self.lines) < HELD
                    if ref and waits:
                        if ref[1] in later or named.get(ref[1], -1) >= number:
                            raise Unproven  # the chunk's line comes after its file's
                        self.wanted.add(ref[1])
                if waits:
                    self.lines.append(line)
                else:
                    yield line

        return line_up


def whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of about PIECE that end with a line."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= PIECE:
            text, newline, rest = b"".join(gathered).rpartition(b"\n")
            if len(rest) > LINE_LIMIT:
                raise Unproven
            yield text + newline
            gathered, size = [rest], len(rest)
    if last := b"".join(gathered):
        yield last


def _lines(text: bytes) -> list[bytes]:
    if text.count(b"\n") > len(text) // LINE_LEAST + 1:  # before millions of lines are made of it
        raise Unproven
    return text.splitlines(keepends=True)


_OF_FILES = (
    b"INSERT INTO files ",
    b"INSERT INTO file_chunks ",
    b"INSERT INTO xattrs ",
    b"INSERT INTO access_times ",
)
_ATTACHED = re.compile(rb"^INSERT INTO (?:file_chunks|xattrs|access_times) ", re.MULTILINE)
_FILE = re.compile(rb"INSERT INTO files VALUES \(X'([^']{32})',(X'[^']{32}',X'[^']*')")
_CHUNK = re.compile(rb"INSERT INTO chunks VALUES \(X'([^']{64})',([0-9]{1,18}),")
_FOLDER = re.compile(rb"INSERT INTO directories VALUES \(X'([^']{32})'")
_BLOB = re.compile(rb"INSERT INTO blobs VALUES .*\n")
_REF = re.compile(rb"INSERT INTO (?:files VALUES \((?:[^,]*,){15}|file_chunks VALUES \([^,]*,[^,]*,)X'([^']{64})'")
"""The chunk that a file's line names, or the line of one of its chunks."""
