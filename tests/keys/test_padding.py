"""Padmé's sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultpy.padding import padme


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        (0, 0),
        (1, 1),
        (2, 2),
        (8, 8),
        (9, 10),
        (10, 10),
        (17, 18),
        (100, 104),
        (1000, 1024),
        (1023, 1024),
        (1024, 1024),
        (1025, 1088),
        (65536, 65536),
        (65537, 67584),
        (1_000_000, 1_015_808),
        (10**12, 1_005_022_347_264),
    ],
)
def test_known_sizes(size: int, padded: int) -> None:
    assert padme(size) == padded


@given(st.integers(0, 2**60))
def test_a_padded_size_holds_the_size_and_is_at_most_twelve_percent_above_it(size: int) -> None:
    assert size <= padme(size) <= size * 1.12


@given(st.integers(0, 2**60))
def test_a_padded_size_is_padded_to_itself(size: int) -> None:
    assert padme(padme(size)) == padme(size)


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_padding_keeps_the_order_of_sizes(one: int, other: int) -> None:
    assert padme(min(one, other)) <= padme(max(one, other))


def test_sizes_up_to_four_gibibytes_become_a_few_hundred() -> None:
    steps, size = 0, 1
    while size <= 1 << 32:
        steps, size = steps + 1, padme(size + 1)
    assert steps < 800
