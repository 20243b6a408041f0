"""Retry-After as servers write it, and as they should not."""

from __future__ import annotations

import pytest

from vaultpy.store.s3.faults import retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("\x1f7", 7.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-1", None),
        (None, None),
    ],
)
def test_a_wait_is_a_number_of_seconds_or_a_time(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, 10.0) == seconds
