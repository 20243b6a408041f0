"""What a run of all campaigns came to, as a Markdown table, and putting that into a document between its markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_MARKED = re.compile(r"(<!-- torture -->\n).*?(<!-- /torture -->)", re.DOTALL)


def summarise(results: Sequence[dict[str, Any]], jobs: int) -> str:
    """A line of what the run was, and a table with a row for each campaign."""
    minutes = sum(one["seconds"] for one in results) / 60
    work = sum(one["work"] for one in results) / 60
    first = results[0]
    said = (
        f"Seed {first['seed']}, Python {first['python']}, {jobs} cases at a time: {minutes:.0f} minutes, and {work:.0f}"
        " minutes of processors' time."
    )
    head = ["| | campaign | cases | of | violations | minutes |", "|---|---|---:|---:|---:|---:|"]
    return "\n".join([said, "", *head, *map(_row, results)])


def _row(one: dict[str, Any]) -> str:
    # A case may be many distinct ones (runs, inputs, bits): then what there is besides is not known in their number.
    planned = f"{one['planned']:,}" if len(one["names"]) == one["cases"] else ""
    cells = (one["number"], one["campaign"], f"{one['cases']:,}", planned, len(one["violations"]))
    return "| " + " | ".join(map(str, (*cells, f"{one['seconds'] / 60:.1f}"))) + " |"


def fill_in(document: str, table: str) -> str:
    """A document with what lies between its markers replaced.  Raises ValueError where it has none."""
    filled, count = _MARKED.subn(lambda found: f"{found[1]}{table}\n{found[2]}", document)
    if count != 1:
        raise ValueError(f"the document has {count} places for the figures of torture")
    return filled
