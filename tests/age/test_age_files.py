"""age files: written and read in every way that vaultpy knows, whole and damaged."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vaultpy.age import (
    AgeError,
    AgeReader,
    Encryptor,
    HeaderError,
    HeaderMacError,
    HybridIdentity,
    PassphraseError,
    PayloadError,
    X25519Identity,
    decrypt,
    encrypt,
    encrypted_size,
    open_stream,
    plaintext_size,
    stanza_types,
)
from vaultpy.age.format import MAX_HEADER_SIZE, Stanza, decode_header
from vaultpy.age.recipients import Random
from vaultpy.errors import DamageError, NoIdentity, UsageError

PIECE = 65536
EDGES = [0, 1, 2, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE - 1, 2 * PIECE, 2 * PIECE + 1, 3 * PIECE, 3 * PIECE + 7]
IDENTITY = X25519Identity.from_secret(bytes(range(32)))
STRANGER = X25519Identity.from_secret(bytes(range(1, 33)))
HYBRID = HybridIdentity.from_secret(bytes(range(32)))
PLAIN = random.Random(1).randbytes(4 * PIECE)
FILES = {size: encrypt(PLAIN[:size], [IDENTITY.recipient()]) for size in EDGES}


class Fetches:
    """A file that is fetched by range, and what was asked of it."""

    def __init__(self, file: bytes) -> None:
        self.file = file
        self.calls: list[tuple[int, int]] = []

    def __call__(self, start: int, length: int) -> bytes:
        assert 0 <= start <= start + length <= len(self.file)
        self.calls.append((start, length))
        return self.file[start : start + length]


def open_file(file: bytes, *identities: X25519Identity | HybridIdentity) -> tuple[AgeReader, Fetches]:
    fetches = Fetches(file)
    return AgeReader(fetches, len(file), identities or (IDENTITY,)), fetches


def read_whole(file: bytes) -> bytes:
    reader, _ = open_file(file)
    return reader.read(0, reader.size)


def header_end(file: bytes) -> int:
    return file.index(b"\n", file.index(b"\n---") + 1) + 1


READERS: list[Callable[[bytes], bytes]] = [lambda file: decrypt(file, [IDENTITY]), read_whole]


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("read", READERS, ids=["stream", "random"])
def test_what_was_encrypted_comes_back(size: int, read: Callable[[bytes], bytes]) -> None:
    assert read(FILES[size]) == PLAIN[:size]


@pytest.mark.parametrize("size", EDGES)
def test_sizes_are_known_before_anything_is_encrypted(size: int) -> None:
    encryptor = Encryptor([IDENTITY.recipient(), HYBRID.recipient()])
    expected = encrypted_size(len(encryptor.header), size)
    file = b"".join([*encryptor.update(PLAIN[:size]), encryptor.finish()])
    assert len(file) == expected
    assert plaintext_size(len(encryptor.header), len(file)) == size
    assert file.startswith(encryptor.header)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EDGES), st.lists(st.integers(1, PIECE * 2), max_size=12))
@example(2 * PIECE, [PIECE, PIECE])
@example(2 * PIECE, [1, PIECE])
@example(2 * PIECE + 1, [PIECE - 1, 1, 1])
def test_the_file_does_not_depend_on_how_the_plaintext_arrives(size: int, cuts: list[int]) -> None:
    def zeros(count: int) -> bytes:
        return b"0" * count

    encryptor, at, out = Encryptor([IDENTITY.recipient()], zeros), 0, []
    for cut in cuts:
        out += encryptor.update(memoryview(PLAIN)[at : min(at + cut, size)])
        at = min(at + cut, size)
    out += encryptor.update(bytearray(PLAIN[at:size]))
    out.append(encryptor.finish())
    assert b"".join(out) == encrypt(PLAIN[:size], [IDENTITY.recipient()], zeros)


def test_the_first_update_gives_out_header_and_nonce() -> None:
    encryptor = Encryptor([IDENTITY.recipient()])
    (start,) = encryptor.update(b"")
    assert start[:-16] == encryptor.header
    assert encryptor.update(b"x") == []
    assert decrypt(start + encryptor.finish(), [IDENTITY]) == b"x"


def test_a_file_is_complete_without_any_update() -> None:
    assert decrypt(Encryptor([IDENTITY.recipient()]).finish(), [IDENTITY]) == b""


def test_nothing_is_added_to_a_finished_file() -> None:
    encryptor = Encryptor([IDENTITY.recipient()])
    encryptor.finish()
    for again in (lambda: encryptor.update(b"x"), encryptor.finish):
        with pytest.raises(RuntimeError, match="finished"):
            again()


def test_what_was_given_out_does_not_change_when_the_caller_reuses_its_buffer() -> None:
    encryptor, buffer = Encryptor([IDENTITY.recipient()]), bytearray(PLAIN[: PIECE + 5])
    out = encryptor.update(buffer)
    buffer[:] = bytes(len(buffer))
    assert decrypt(b"".join([*out, encryptor.finish()]), [IDENTITY]) == PLAIN[: PIECE + 5]


def test_two_files_of_the_same_plaintext_have_nothing_in_common() -> None:
    one, two = (encrypt(b"same", [IDENTITY.recipient()]) for _ in range(2))
    assert one[header_end(one) :] != two[header_end(two) :]
    assert decode_header(one[: header_end(one)]).stanzas != decode_header(two[: header_end(two)]).stanzas


def test_encryption_for_nobody_is_refused() -> None:
    with pytest.raises(UsageError, match="recipient"):
        Encryptor([])


def test_each_of_several_recipients_reads_the_file() -> None:
    file = encrypt(b"for both", [IDENTITY.recipient(), HYBRID.recipient()])
    assert decrypt(file, [IDENTITY]) == decrypt(file, [STRANGER, HYBRID]) == b"for both"
    assert stanza_types(file) == ("X25519", "mlkem768x25519")


@pytest.mark.parametrize("identities", [[], [STRANGER], [HYBRID], [STRANGER, HYBRID]])
def test_a_stranger_reads_nothing(identities: list[X25519Identity | HybridIdentity]) -> None:
    with pytest.raises(NoIdentity):
        decrypt(FILES[1], identities)
    with pytest.raises(NoIdentity):
        AgeReader(Fetches(FILES[1]), len(FILES[1]), identities)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(EDGES), st.data())
def test_random_access_equals_the_whole(size: int, data: st.DataObject) -> None:
    edges = st.sampled_from([edge for edge in EDGES if edge <= size])
    start = data.draw(st.integers(0, size) | edges)
    end = data.draw(st.integers(start, size) | edges.map(lambda edge: max(start, edge)))
    reader, fetches = open_file(FILES[size])
    fetches.calls.clear()
    assert reader.size == size
    assert reader.read(start, end - start) == PLAIN[start:end]
    assert len(fetches.calls) <= 1
    wanted = (end + PIECE - 1) // PIECE - start // PIECE
    assert sum(length for _, length in fetches.calls) <= max(1, wanted) * (PIECE + 16)


@pytest.mark.parametrize(("start", "length"), [(0, 5 * PIECE), (-1, 2), (3 * PIECE + 8, 0), (3 * PIECE, 8), (5, -1)])
def test_a_range_outside_of_the_file_is_refused(start: int, length: int) -> None:
    reader, _ = open_file(FILES[3 * PIECE + 7])
    with pytest.raises(PayloadError, match="asked for"):
        reader.read(start, length)


def test_opening_takes_one_fetch_and_a_small_file_no_more() -> None:
    reader, fetches = open_file(FILES[1])
    assert reader.read(0, 1) == PLAIN[:1]
    assert fetches.calls == [(0, len(FILES[1]))]


@pytest.mark.parametrize("count", [3, 40])
def test_a_header_longer_than_the_first_fetch_takes_one_more(count: int) -> None:
    file = encrypt(PLAIN[:PIECE], [HYBRID.recipient()] * count)
    assert header_end(file) > 4096
    reader, fetches = open_file(file, HYBRID)
    assert len(fetches.calls) == 2
    assert reader.read(PIECE - 3, 3) == PLAIN[PIECE - 3 : PIECE]


class Padding:
    """A recipient whose stanza nobody knows, of any length."""

    def __init__(self, size: int) -> None:
        self.size = size

    def wrap(self, file_key: bytes, random: Random) -> Stanza:
        return Stanza(("example.com/padding", "a" * self.size), b"")

    def to_text(self) -> str:
        return ""


@pytest.mark.parametrize("distance", range(-20, 21, 4))
@pytest.mark.parametrize("limit", [4096, MAX_HEADER_SIZE])
def test_a_header_is_read_up_to_the_limit_and_not_over_it(limit: int, distance: int) -> None:
    bare = len(Encryptor([Padding(0), IDENTITY.recipient()]).header)
    encryptor = Encryptor([Padding(limit + distance - bare), IDENTITY.recipient()])
    assert len(encryptor.header) == limit + distance
    file = b"".join([*encryptor.update(b"x"), encryptor.finish()])
    if limit + distance <= MAX_HEADER_SIZE:
        assert read_whole(file) == decrypt(file, [IDENTITY]) == b"x"
        assert b"".join(open_stream((file[i : i + 999] for i in range(0, len(file), 999)), [IDENTITY])) == b"x"
    else:
        for read in READERS:
            with pytest.raises(HeaderError, match="longer"):
                read(file)


def test_a_huge_thing_that_is_no_age_file_costs_one_fetch() -> None:
    fetches = Fetches(bytes(10 * PIECE))
    with pytest.raises(HeaderError, match="does not begin"):
        AgeReader(fetches, len(fetches.file), [IDENTITY])
    assert fetches.calls == [(0, 4096)]


def test_a_fetch_that_gives_too_little_is_noticed() -> None:
    file = FILES[2 * PIECE]
    reader = AgeReader(lambda start, length: file[start : start + min(length, PIECE)], len(file), [IDENTITY])
    with pytest.raises(PayloadError, match="asked for"):
        reader.read(0, 2 * PIECE)


@pytest.mark.parametrize("size", [size for size in EDGES if size])
def test_a_cut_file_never_ends_well(size: int) -> None:
    file = FILES[size]
    cuts = {0, 1, header_end(file), header_end(file) + 15, header_end(file) + 16, len(file) - 16, len(file) - 1}
    cuts |= {header_end(file) + 16 + n * (PIECE + 16) + d for n in range(4) for d in (-17, -16, -1, 0, 1, 15, 16, 17)}
    for cut in sorted(cut for cut in cuts if cut < len(file)):
        for read in READERS:
            with pytest.raises(AgeError):
                read(file[:cut])


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("more", [b"\0", bytes(16), bytes(17), bytes(PIECE + 16), bytes(PIECE + 17)])
def test_a_lengthened_file_never_ends_well(size: int, more: bytes) -> None:
    for read in READERS:
        with pytest.raises(AgeError):
            read(FILES[size] + more)


def test_a_file_cut_between_pieces_reads_up_to_there_and_fails_at_its_end() -> None:
    file = FILES[3 * PIECE]
    reader, _ = open_file(file[: -(PIECE + 16)])
    assert reader.read(0, PIECE) == PLAIN[:PIECE]
    for start in (PIECE, reader.size - 1, reader.size):
        with pytest.raises(PayloadError):
            reader.read(start, reader.size - start)


def test_reading_nothing_at_the_end_proves_the_size() -> None:
    for size, file in FILES.items():
        reader, _ = open_file(file)
        assert reader.read(size, 0) == b""
        reader, _ = open_file(file[:-1] + bytes([file[-1] ^ 1]))
        with pytest.raises(PayloadError):
            reader.read(size, 0)


def test_pieces_that_change_places_are_noticed() -> None:
    file, at, sealed = FILES[3 * PIECE], header_end(FILES[3 * PIECE]) + 16, PIECE + 16
    swapped = file[:at] + file[at + sealed : at + 2 * sealed] + file[at : at + sealed] + file[at + 2 * sealed :]
    for read in READERS:
        with pytest.raises(PayloadError):
            read(swapped)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([0, 1, PIECE, PIECE + 1]), st.data())
def test_a_flipped_bit_never_gives_wrong_bytes(size: int, data: st.DataObject) -> None:
    file = bytearray(FILES[size])
    at = data.draw(st.integers(0, header_end(FILES[size]) + 40) | st.integers(0, len(file) - 1))
    at = min(at, len(file) - 1)
    file[at] ^= 1 << data.draw(st.integers(0, 7))
    for read in READERS:
        with pytest.raises((AgeError, NoIdentity)):
            read(bytes(file))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damage_never_gives_wrong_bytes_at_random(data: st.DataObject) -> None:
    file = bytearray(FILES[2 * PIECE + 1])
    file[data.draw(st.integers(header_end(FILES[2 * PIECE + 1]) + 16, len(file) - 1))] ^= 1
    reader, _ = open_file(bytes(file))
    start = data.draw(st.integers(0, reader.size))
    length = data.draw(st.integers(0, reader.size - start))
    try:
        got = reader.read(start, length)
    except PayloadError:
        return
    assert got == PLAIN[start : start + length]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EDGES), st.integers(1, 3 * PIECE))
def test_a_stream_may_arrive_in_pieces_of_any_size(size: int, step: int) -> None:
    file = FILES[size]
    step = max(step, len(file) // 500)
    out = list(open_stream((file[i : i + step] for i in range(0, len(file), step)), [IDENTITY]))
    assert b"".join(out) == PLAIN[:size]
    assert all(len(piece) <= PIECE for piece in out)


def test_a_stream_may_arrive_with_empty_pieces() -> None:
    file = FILES[PIECE + 1]
    pieces = [b"", file[:5], b"", file[5 : 300 + PIECE], b"", b"", file[300 + PIECE :], b""]
    assert b"".join(open_stream(pieces, [IDENTITY])) == PLAIN[: PIECE + 1]


def test_a_stream_asks_for_no_more_than_it_needs() -> None:
    file, taken = FILES[3 * PIECE + 7], 0

    def pieces() -> object:
        nonlocal taken
        for i in range(0, len(file), 10_000):
            taken += 1
            yield file[i : i + 10_000]

    stream = open_stream(pieces(), [IDENTITY])  # type: ignore[arg-type]
    assert taken == 1
    next(stream)
    assert taken * 10_000 <= 2 * (PIECE + 16) + 20_000


def test_a_changed_header_is_noticed_by_its_mac() -> None:
    changed = FILES[1].replace(b"\n---", b"\n-> example.com/added\n\n---", 1)
    assert stanza_types(changed) == ("X25519", "example.com/added")
    for read in READERS:
        with pytest.raises(HeaderMacError):
            read(changed)


def test_a_passphrase_file_is_refused_even_beside_our_own_stanza() -> None:
    class Passphrase(Padding):
        def wrap(self, file_key: bytes, random: Random) -> Stanza:
            return Stanza(("scrypt", "c2FsdHNhbHRzYWx0c2FsdA", "18"), bytes(32))

    file = encrypt(b"x", [IDENTITY.recipient(), Passphrase(0)])
    for read in READERS:
        with pytest.raises(PassphraseError, match="passphrase"):
            read(file)


def test_errors_of_a_forged_file_are_damage_and_those_of_a_wrong_key_are_not() -> None:
    assert issubclass(AgeError, DamageError)
    assert not issubclass(NoIdentity, DamageError)


def test_randomness_comes_from_the_argument() -> None:
    asked: list[int] = []

    def noted(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    Encryptor([IDENTITY.recipient()], noted)
    assert asked == [16, 16, 32]
