"""The export's container: age(zstd(SQL) ‖ padding), written and read as streams in bounded memory.

What the lines say is `index/dump.py` and `index/load.py`; this room only folds and encrypts them.  One zstd frame with a
content checksum, then one skippable frame that pads the plaintext to a Padmé size, so that the size in the store says
little about how many files there are.  docs/format.md has the bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import blake3
import zstandard

from vaultpy.age import Encryptor, Identity, Recipient, open_stream
from vaultpy.errors import DamageError
from vaultpy.padding import padme

LEVEL = 3
WINDOW_LIMIT = 8 * 1024 * 1024
LINE_LIMIT = 64 * 1024
LINE_LEAST = 20
"""Bytes of a line: fewer than any of the format has."""

_PIECE = 1024 * 1024
_STEP = 256
"""Bytes that are unfolded at once: of a bomb, at most some 128 KiB for each 4 of them (RFC 8878: a block, and an RLE block's
header and byte)."""

_SKIPPABLE = 0x184D2A50
_SKIPPABLE_HEADER = 8


@dataclass(frozen=True, slots=True)
class WrittenExport:
    """A finished export in a local file: bytes of the object and of the SQL in it, and hashes of both."""

    size: int
    raw_size: int
    blake3: bytes
    sha256: bytes
    sql_sha256: bytes


def write_export(
    lines: Iterable[bytes], path: Path, recipients: Sequence[Recipient], random: Callable[[int], bytes] = os.urandom
) -> WrittenExport:
    """Write the lines to a new file at `path`, which is left to the caller also when this raises."""
    with path.open("xb") as target, ThreadPoolExecutor(1, thread_name_prefix="export") as folding:
        sink = _Sink(target.write, Encryptor(recipients, random))
        compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        sql, raw_size = hashlib.sha256(), 0

        def fold(piece: bytes) -> None:
            sql.update(piece)
            sink.write(compressor.compress(piece))

        # Beside the thread that makes the lines: both spend their time in C.  One piece is under way at a time.
        under_way = folding.submit(lambda: None)
        for piece in _gather(lines):
            under_way.result()
            under_way = folding.submit(fold, piece)
            raw_size += len(piece)
        under_way.result()
        sink.write(compressor.flush())
        room = padme(sink.written + _SKIPPABLE_HEADER) - sink.written - _SKIPPABLE_HEADER
        sink.write(_SKIPPABLE.to_bytes(4, "little") + room.to_bytes(4, "little"))
        for start in range(0, room, _PIECE):
            sink.write(bytes(min(_PIECE, room - start)))
        return sink.finish(raw_size, sql.digest())


def read_export(pieces: Iterable[bytes], identities: Sequence[Identity]) -> Iterator[bytes]:
    """The lines of an export, each with its newline, given the object's bytes in pieces.

    Every line is authenticated before it is yielded, but only exhausting the iterator proves that nothing is missing.
    Raises DamageError, or NoIdentity.
    """
    rest = b""
    for piece in read_sql(pieces, identities):
        if piece.count(b"\n") > len(piece) // LINE_LEAST + 1:  # before millions of lines are made of it
            raise DamageError("export has lines that are not of its format")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"
        if len(rest) > LINE_LIMIT:
            raise DamageError("export has a line of more than 64 KiB")
    if rest:
        raise DamageError("export ends in the middle of a line")


def read_sql(pieces: Iterable[bytes], identities: Sequence[Identity]) -> Iterator[bytes]:
    """The SQL of an export in pieces of any length, as `read_export` promises its lines."""
    return _unfold(open_stream(pieces, identities))


class _Sink:
    """Encrypts, hashes and counts what is written."""

    def __init__(self, write: Callable[[bytes], int], encryptor: Encryptor) -> None:
        self.written = 0
        self._write, self._encryptor = write, encryptor
        self._blake3, self._sha256, self._size = blake3.blake3(), hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self.written += len(data)
        for piece in self._encryptor.update(data):
            self._keep(piece)

    def finish(self, raw_size: int, sql_sha256: bytes) -> WrittenExport:
        self._keep(self._encryptor.finish())
        return WrittenExport(self._size, raw_size, self._blake3.digest(), self._sha256.digest(), sql_sha256)

    def _keep(self, piece: bytes) -> None:
        self._write(piece)
        self._blake3.update(piece)
        self._sha256.update(piece)
        self._size += len(piece)


def _gather(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in pieces of about 1 MiB: compressing and hashing line by line would cost more than they do."""
    gathered: list[bytes] = []
    size = 0
    for line in lines:
        gathered.append(line)
        size += len(line)
        if size >= _PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def _unfold(plaintext: Iterator[bytes]) -> Iterator[bytes]:
    """What the zstd frame holds; then the padding must be all that follows."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT).decompressobj(write_size=_PIECE)
    for piece in plaintext:
        for start in range(0, len(piece), _STEP):
            try:
                unfolded = decompressor.decompress(piece[start : start + _STEP])
            except zstandard.ZstdError as error:
                raise DamageError(f"export does not decompress: {error}") from error
            if unfolded:
                yield unfolded
            if decompressor.eof:
                _check_padding(decompressor.unused_data + piece[start + _STEP :], plaintext)
                return
    raise DamageError("export ends too early")


def _check_padding(start: bytes, plaintext: Iterator[bytes]) -> None:
    data = start
    while len(data) < _SKIPPABLE_HEADER:
        more = next(plaintext, b"")
        if not more:
            raise DamageError("export ends without its padding")
        data += more
    room = int.from_bytes(data[4:8], "little") - (len(data) - _SKIPPABLE_HEADER)
    for piece in plaintext:
        room -= len(piece)
    if data[:4] != _SKIPPABLE.to_bytes(4, "little") or room != 0:
        raise DamageError("export has something else than padding at its end")
