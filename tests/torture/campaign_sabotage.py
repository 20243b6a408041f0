"""11. Sabotage: each safety is taken out of a copy of the program, and some test must fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from campaigns import HERE, Campaign, Case, Outcome, Room, Violation, register
from sabotages import SABOTAGES, Sabotage

ROOT = HERE.parent.parent
COPIED = ("vaultpy", "migrations", "tests", "docs", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")
TESTS_FAILED = 1
"""pytest's exit code when tests ran and some failed; all others mean that nothing was learnt."""


def cases(room: Room) -> Iterator[Case]:
    for one in SABOTAGES:
        yield Case(one.name, one.file, "removed")


def run(room: Room, case: Case) -> Outcome:
    [sabotage] = [one for one in SABOTAGES if one.name == case.operation]
    copy = room.folder / "sabotaged"
    for name in COPIED:
        _copy(ROOT / name, copy / name)
    apply(sabotage, copy)
    try:
        done = run_tests(copy, sabotage.tests)
    finally:
        shutil.rmtree(copy)
    if done.returncode != TESTS_FAILED:
        raise Violation(
            f"{sabotage.name}: pytest ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-500:]}"
        )
    return Outcome()


def apply(sabotage: Sabotage, root: Path) -> None:
    """Change the file.  Raises Violation where the text is not in it, or more than once."""
    path = root / sabotage.file
    text = path.read_text()
    if text.count(sabotage.old) != 1:
        raise Violation(f"{sabotage.name}: its text is {text.count(sabotage.old)} times in {sabotage.file}")
    path.write_text(text.replace(sabotage.old, sabotage.new))


def run_tests(root: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """The tests of a copy on the copy's own package, until one fails."""
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    words = ["-q", "-x", "-p", "no:cacheprovider", "--no-header", *tests]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


register(
    Campaign(
        11,
        "sabotage",
        "of every safety that is taken out some test says so",
        cases,
        run,
        sample=2,
    )
)
