"""A body in pieces reads like a file over the joined bytes."""

from __future__ import annotations

import io
import os

from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.store.s3.upload import PieceReader

PIECES = st.lists(st.binary(max_size=6), max_size=6)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 12)),
        st.tuples(st.just("start"), st.integers(0, 36)),
        st.tuples(st.just("on"), st.integers(-40, 40)),
        st.tuples(st.just("end"), st.integers(-40, 0)),
    ),
    max_size=10,
)
WHENCE = {"start": os.SEEK_SET, "on": os.SEEK_CUR, "end": os.SEEK_END}


@given(PIECES, STEPS)
@settings(max_examples=100, deadline=None)
def test_reads_and_seeks_are_those_of_a_file(pieces: list[bytes], steps: list[tuple[str, int]]) -> None:
    ours, theirs = PieceReader(pieces), io.BytesIO(b"".join(pieces))
    size = len(theirs.getvalue())
    for step, number in steps:
        if step == "read":
            assert ours.read(number) == theirs.read(number)
        else:
            base = {"start": 0, "on": theirs.tell(), "end": size}[step]
            # Neither botocore nor urllib3 leaves the file's bounds, where files differ among themselves.
            within = min(max(base + number, 0), size) - base
            assert ours.seek(within, WHENCE[step]) == theirs.seek(within, WHENCE[step])
        assert ours.tell() == theirs.tell()


def test_a_whole_piece_is_handed_on_without_a_copy() -> None:
    piece = bytes(1000)
    assert PieceReader([piece]).read(1000) is piece
