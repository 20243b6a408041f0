"""Keeping results between runs: JSON, a section of which is replaced when it runs again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from figures import Results
from meter import Cost
from rounds import Sample


def save_results(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": results.machine,
        "versions": results.versions,
        "trees": results.trees,
        "skipped": results.skipped,
        "samples": [asdict(one) for one in results.samples],
    }
    # A sample a line: kept results are compared by people, too.
    text = json.dumps(document | {"samples": []}, indent=1)
    lines = ",\n".join(f"  {json.dumps(one)}" for one in document["samples"])
    path.write_text(text.replace('"samples": []', f'"samples": [\n{lines}\n ]') + "\n")


def load_results(path: Path) -> Results:
    """What is kept; nothing where nothing is."""
    if not path.exists():
        return Results(())
    found = json.loads(path.read_text())
    return Results(
        tuple(_sample(one) for one in found["samples"]),
        {name: (files, size) for name, (files, size) in found["trees"].items()},
        found["versions"],
        found["machine"],
        tuple((section, program, why) for section, program, why in found["skipped"]),
    )


def merge(old: Results, section: str, new: Results) -> Results:
    """Old results with those of one section replaced."""
    return Results(
        (*(one for one in old.samples if one.section != section), *new.samples),
        old.trees | new.trees,
        old.versions | new.versions,
        new.machine,
        (*(one for one in old.skipped if one[0] != section), *new.skipped),
    )


def _sample(found: dict[str, Any]) -> Sample:
    return Sample(**(found | {"cost": Cost(**found["cost"])}))
