"""The table of a run: a row for each campaign, between the markers of a document and nowhere else."""

from __future__ import annotations

import pytest
from campaigns import HERE
from summary import fill_in, summarise

RESULT = {
    "campaign": "kill",
    "number": 1,
    "cases": 1500,
    "planned": 18936,
    "names": ["a"] * 1500,
    "violations": [],
    "seconds": 90.0,
    "work": 120.0,
    "seed": 7,
    "python": "3.11.7",
}


def test_a_campaign_is_a_row_with_its_cases_violations_and_minutes() -> None:
    table = summarise([RESULT, RESULT | {"campaign": "model", "number": 8, "cases": 16, "names": ["a", "b"]}], jobs=2)
    assert "| 1 | kill | 1,500 | 18,936 | 0 | 1.5 |" in table.splitlines()
    assert "| 8 | model | 16 |  | 0 | 1.5 |" in table.splitlines()
    assert table.startswith(
        "Seed 7, Python 3.11.7, 2 cases at a time: 3 minutes, and 4 minutes of processors' time.\n\n| | campaign |"
    )


def test_a_document_is_filled_between_its_markers_only() -> None:
    document = "before\n<!-- torture -->\nold\n<!-- /torture -->\nafter\n"
    assert fill_in(document, "new") == "before\n<!-- torture -->\nnew\n<!-- /torture -->\nafter\n"


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="0 places"):
        fill_in("nothing", "new")


def test_the_guarantees_have_a_place_for_the_figures() -> None:
    fill_in((HERE.parent.parent / "docs" / "guarantees.md").read_text(), "new")
