"""docs/lessons-tested.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "lessons-tested.md").read_text()


def test_every_test_that_a_lesson_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)
    assert len(named) >= 60
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).exists() or (name and f"def {name}(" not in (ROOT / path).read_text())
    ]
    assert missing == []


def test_every_lesson_names_a_test_or_a_campaign() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| elsewhere")]
    assert len(rows) >= 35
    assert [row for row in rows if "tests/" not in row and "**" not in row] == []
