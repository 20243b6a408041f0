"""The plain records of an export, thousands at once: a file of one chunk or none, with the line of its chunk before it.

Nearly all of an export is plain, so what is done for each of them is done by built-ins on columns: one expression cuts a
text into records, and what stands in a column is checked for all rows together.  An expression stays quick by taking
anything up to the next quote or comma where the columns are checked afterwards.
"""

from __future__ import annotations

import re
from array import array
from binascii import unhexlify
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import compress, groupby, repeat
from operator import add, eq

from vaultpy.model import CHUNK_LIMIT, Kind, Places

HEX = b"0123456789ABCDEF"

Column = list[bytes | None]

_DIRECTORY = b"%d" % Kind.DIRECTORY

# Numbers of 64 bits, but for some at the very end of their range.
_INT = rb"(?:-?[1-8][0-9]{0,18}|0|-?9[0-9]{0,17})"
_OFFSET = rb"(?:[1-9][0-9]{0,17}|0)"
_HEXES = rb"(?:X'(?:[0-9A-F]{2})*'|NULL)"

_CHUNK = (
    rb"chunks VALUES \(X'(?P<hash>[^']{64})',(?P<size>[1-9][0-9]{0,6}),X'(?P<blob>[^']{32})',(?P<offset>%s)\);\n"
    rb"INSERT INTO " % _OFFSET
)

# A file whose chunk's line is right before it, then `hash` and `size` are that line's; one of a chunk that was named before
# (`held`, `ref`); or something without content (`empty`, its kind).
_FILE = rb",".join(
    (
        rb"files VALUES \(X'(?P<id>(?P<run>[^']{24})[^']{8})'",
        rb"(?P<path>X'(?P<folder>[^']{32})',X'(?P<name>[^']{2,510})')",
        rb"(?(hash)1,(?P=size)|(?:(?P<empty>[1-6]),0|1,(?P<held>[1-9][0-9]{0,6})))",
        *(_INT, rb"(?:%s|NULL)" % _INT, _INT, _INT, _INT),
        rb"(?P<owner>[0-9]{1,4},[-0-9]{1,20},[-0-9]{1,20},[^,]{1,600},[^,]{1,600})",
        rb"(?(hash)X'(?P=hash)'|(?(empty)NULL|X'(?P<ref>[^']{64})'))",
        rb"(?P<more>NULL,NULL,NULL,NULL,NULL,NULL|[^,]{1,9000},[^,]{1,20},[^,]{1,20},[^,]{1,20},NULL,[^,]{1,20})",
        rb"(?P<seq>[1-9][0-9]{0,17}|0),NULL\);\n",
    )
)

_ATIME = rb"(?:INSERT INTO access_times VALUES \(X'(?P=id)',%s\);\n)?" % _INT

_OWNER = re.compile(rb"([0-9]|[1-9][0-9]{1,3}),%s,%s,%s,%s" % (_INT, _INT, _HEXES, _HEXES))
_MORE = re.compile(rb"%s,(?:%s|NULL),(?:%s|NULL),(?:%s|NULL),NULL,(?:%s|NULL)" % (_HEXES, _INT, _INT, _INT, _INT))


class Plain:
    """The plain records of a text, in columns: `text` is the record itself, and what a record lacks is None."""

    def __init__(self, names: Sequence[str], columns: Iterable[Column]) -> None:
        self._columns = dict(zip(names, columns, strict=True))

    def __len__(self) -> int:
        return len(self._columns["text"])

    def all(self, name: str) -> Column:
        return self._columns[name]

    def present(self, name: str) -> list[bytes]:
        """What there is in a column; see `expression` for the names."""
        column = self._columns[name]
        return [value for value in column if value is not None] if None in column else column  # type: ignore[return-value]

    def entries(self) -> Iterator[bytes]:
        """The paths of those that stand for a directory."""
        return compress(self._columns["path"], map(eq, self._columns["empty"], repeat(_DIRECTORY)))  # type: ignore[arg-type]

    def only(self, chosen: Sequence[bool]) -> Plain:
        """The records that are chosen."""
        return Plain(tuple(self._columns), [list(compress(column, chosen)) for column in self._columns.values()])

    def is_right(self, latest: int) -> bool:
        """Whether each record has the format's form, and can be true by itself (as `load.py` asks); `latest`: the sequence
        of the snapshot."""
        return (
            _is_hex(self.present("hash"), self.present("ref"), self.present("blob"), self.present("id"))
            and _is_hex(self.present("folder"), self.present("name"))
            and _are_names(self.present("name"))
            and all(
                _runs_at(run, seq, latest)
                for run, seq in set(zip(self.present("run"), self.present("seq"), strict=True))
            )
            and all(map(_is_owner, set(self.present("owner"))))
            and all(map(_MORE.fullmatch, set(self.present("more"))))
            and max(map(int, self.present("size")), default=0) <= CHUNK_LIMIT
        )

    def refers_back(self) -> bool:
        """Whether no record needs a chunk that a later one here names first."""
        if not self.present("ref"):
            return True
        named = {hash: number for number, hash in enumerate(self.all("hash"))}
        return all(ref is None or named.get(ref, -1) < number for number, ref in enumerate(self.all("ref")))


@cache
def expression(*, with_atime: bool) -> re.Pattern[bytes]:
    """What a plain record matches; the names of its groups are the columns' names, `text` is all of it."""
    # Begins with letters, for which a search runs ahead.
    return re.compile(rb"(?P<text>INSERT INTO (?:%s)?%s%s)" % (_CHUNK, _FILE, _ATIME if with_atime else b""))


def split(pattern: re.Pattern[bytes], text: bytes) -> tuple[list[bytes], Plain]:
    """The records of a text, and what stands before each and after the last, which may be nothing."""
    width = pattern.groups + 1
    parts = pattern.split(text)
    names = sorted(pattern.groupindex, key=pattern.groupindex.__getitem__)
    return parts[::width], Plain(names, [parts[number::width] for number in range(1, width)])


def places(records: Plain) -> Iterator[tuple[bytes, Places]]:
    """Where the records' own chunks lie: for each run of records the blob as it is spelled, and its places."""
    offsets = array("Q", map(int, records.present("offset")))
    sizes = array("Q", map(int, records.present("size")))
    hashes = unhexlify(b"".join(records.present("hash")))
    start = 0
    for blob, run in groupby(records.present("blob")):
        end = start + sum(1 for _ in run)
        yield blob, Places(offsets[start:end], sizes[start:end], hashes[32 * start : 32 * end])
        start = end


def reach(places: Places) -> int:
    """Where the last of these places ends."""
    last: int = max(map(add, places.offsets, places.sizes))
    return last


def _is_hex(*columns: list[bytes]) -> bool:
    return not any(b"".join(column).translate(None, HEX) for column in columns)


def _are_names(names: list[bytes]) -> bool:
    """Whether all are names that files can have, spelled in pairs of digits."""
    if any(length & 1 for length in set(map(len, names))):
        return False
    joined = unhexlify(b"2F".join([b"", *names, b""])) if names else b"/"
    return (
        joined.count(b"/") == len(names) + 1 and b"\0" not in joined and b"/./" not in joined and b"/../" not in joined
    )


def _runs_at(run: bytes, seq: bytes, latest: int) -> bool:
    return int(run[:12], 16) == int(seq) <= latest


def _is_owner(owner: bytes) -> bool:
    match = _OWNER.fullmatch(owner)
    return match is not None and int(match[1]) <= 0o7777
