"""A whole export without most of its files: those that can be proven sound without being loaded.

    lines → plain records, proven and left out → what remains, which `load.py` reads and `sound.py` judges as ever

What is left out is a file of one chunk or none, with its chunk, that has nothing to do with the changes that stand on the
export.  It is proven by itself (`plain.py`, `examine.py`), and together with everything else by digests: ids, paths and
chunks are there once; the directory and the chunk that a file names are there, before it; each directory has its entry in
the one above (`sound.leave_entries`).  So what loading and judging all of it would find wrong is found wrong in what remains,
or the export is Unproven: then only reading it in full can tell.
"""

from __future__ import annotations

from binascii import hexlify, unhexlify
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain

from vaultpy.index import dump, plain
from vaultpy.index.content import Place
from vaultpy.index.digests import Digests
from vaultpy.index.examine import Examined, Rules, Unproven, examine
from vaultpy.index.grammar import LINE_LIMIT
from vaultpy.index.touched import Touched
from vaultpy.model import BlobHash, Places

PIECE = 1024 * 1024
"""Bytes of text that are looked at together."""

HELD = 50_000
"""Lines that may wait for the chunks that they name."""

Keep = Callable[[BlobHash, Places], None]
Find = Callable[[set[bytes]], Iterable[Place]]
ExamineAll = Callable[[Rules, Iterable[bytes]], Iterable[Examined]]


def examine_here(rules: Rules, texts: Iterable[bytes]) -> Iterable[Examined]:
    """One text after the other, in this process."""
    return map(partial(examine, rules), texts)


class Thinner:
    """Thins one export.  `files`: how many were left out."""

    def __init__(self, digests: Digests, keep: Keep, find: Find, examine_all: ExamineAll = examine_here) -> None:
        """`keep` is given where chunks lie that are left out, of one blob at a time; `find` gives places of such chunks
        back, by their hashes.  `examine_all` looks at texts, in their order."""
        self.files = 0
        self._digests, self._keep, self._find, self._examine_all = digests, keep, find, examine_all
        self._blobs: dict[bytes, tuple[BlobHash, int]] = {}
        self._waiting: list[bytes] = []
        self._wanted: set[bytes] = set()

    def lines(self, pieces: Iterable[bytes], touched: Touched, latest: int) -> Iterator[bytes]:
        """What remains of an export's SQL, which comes in pieces of any length; see Rules.

        Raises Unproven, DamageError, and what `pieces` raises; nothing is proven before the iterator ended.
        """
        texts = whole_lines(pieces)
        first = next(texts, b"")
        rules = Rules(touched, latest, first.startswith(dump.HEADERS_WHOLE[1]))
        for found in self._examine_all(rules, chain([first], texts)):
            yield from self._take(found)
        yield from self._found_again()
        yield from self._waiting
        if not self._digests.agree():
            raise Unproven

    def _take(self, found: Examined) -> Iterator[bytes]:
        self.files += found.files
        self._blobs |= found.blobs
        for group, digests in found.digests:
            self._digests.add(group, digests)
        for spelled, places in found.places:
            blob, raw_size = self._blobs.get(spelled, (None, 0))
            if blob is None or plain.reach(places) > raw_size:
                raise Unproven
            self._keep(blob, places)
        yield from found.rest.splitlines(keepends=True)
        if len(self._waiting) + len(found.waiting) > HELD:
            yield from found.waiting
        else:
            self._waiting += found.waiting
            self._wanted |= found.wanted

    def _found_again(self) -> Iterator[bytes]:
        """The lines of chunks that were left out, and are needed by what was not."""
        spelled = {blob: uuid for uuid, (blob, _) in self._blobs.items()}
        wanted = set(map(unhexlify, self._wanted))
        for blob, offset, size, chunk in self._find(wanted) if wanted else ():
            values = hexlify(chunk).upper(), size, spelled[blob], offset
            yield b"INSERT INTO chunks VALUES (X'%s',%d,X'%s',%d);\n" % values


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
