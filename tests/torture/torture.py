"""Runs campaigns: `make torture`, and for `make test` a sample of each.

    python tests/torture/torture.py [--campaign NAME]… [--seed N] [--budget SECONDS] [--whole] [--case NAME] [--sample]
                                    [--jobs N] [--docs FILE] [--gather]

Each campaign runs until it has as many cases as it wants, or all of them with --whole.  Prints how many held and how to
repeat one that did not; writes results/NAME.json with every case's name, and a table of all (summary.md).
Exit code 1: something did not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaigns import Campaign, Case, Outcome, Room, find_campaigns, spread
from recoverer import missing_programs
from summary import fill_in, summarise

DEFAULT_RESULTS = Path("build/torture")
SHOWN = 10
"""Violations of a campaign that are shown in full; all are in the results."""


@dataclass
class Tally:
    """What a campaign came to, in this process or in all.  `left`: cases that there was no time for; `work`: seconds of
    processors' time."""

    planned: int = 0
    left: int = 0
    cases: int = 0
    unmet: int = 0
    seconds: float = 0.0
    work: float = 0.0
    names: list[str] = field(default_factory=list)
    violations: list[dict[str, str]] = field(default_factory=list)
    invariants: Counter[str] = field(default_factory=Counter)
    silent: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    figures: dict[str, float] = field(default_factory=dict)

    def take(self, case: Case, outcome: Outcome) -> None:
        if not outcome.met:
            self.unmet += 1
            return
        self.cases += outcome.count
        self.names.append(case.name)
        self.operations[case.operation] += outcome.count
        for name, value in outcome.figures.items():
            self.figures[name] = max(value, self.figures.get(name, value))
        if outcome.report is not None:
            self.invariants.update(outcome.report.held)
            self.silent.update(f"{name}: {why}" for name, why in outcome.report.silent.items())

    def add(self, other: Tally) -> None:
        for name in ("planned", "left", "cases", "unmet", "work"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seconds = max(self.seconds, other.seconds)
        self.names += other.names
        self.violations += other.violations
        for name in ("invariants", "silent", "operations"):
            getattr(self, name).update(getattr(other, name))
        for figure, value in other.figures.items():
            self.figures[figure] = max(value, self.figures.get(figure, value))


def main(argv: Sequence[str] | None = None) -> int:
    asked = _parse(argv)
    try:
        chosen = find_campaigns(asked.campaign)
    except KeyError as unknown:
        _say(f"no such campaign: {unknown.args[0]}")
        return 2
    if missing_programs():
        _say(f"SKIPPED: {', '.join(missing_programs())} not installed")
        return 0
    if asked.share is not None:
        return _work(chosen[0], asked)
    if asked.gather:
        written = [asked.results / f"{campaign.name}.json" for campaign in chosen]
        results = [json.loads(path.read_text()) for path in written if path.exists()]
    else:
        results = [found for campaign in chosen if (found := _run(campaign, asked)) is not None]
    if len(results) > 1:
        _conclude(results, asked)
    return 1 if any(one["violations"] for one in results) else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs campaigns against vaultpy.")
    parser.add_argument("--campaign", action="append", default=[], metavar="NAME")
    parser.add_argument("--seed", type=int, default=int(time.time()) & 0xFFFFFF)
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="for each campaign at most")
    parser.add_argument("--whole", action="store_true", help="all cases of each campaign, not as many as it wants")
    parser.add_argument("--case", metavar="NAME", help="only this one, or those that begin so")
    parser.add_argument("--sample", action="store_true", help="what `make test` runs")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", type=Path, default=DEFAULT_RESULTS)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; memory is best")
    parser.add_argument("--docs", type=Path, help="a document with markers, which gets the figures")
    parser.add_argument("--gather", action="store_true", help="run nothing: the table of the results that there are")
    parser.add_argument("--share", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _run(campaign: Campaign, asked: argparse.Namespace) -> dict[str, Any] | None:
    """One campaign in `jobs` processes: what is written of it, or None where something is missing here."""
    missing = campaign.needs()
    if missing:
        _say(f"{campaign.number:2} {campaign.name}: SKIPPED: {missing}")
        return None
    _say(f"{campaign.number:2} {campaign.name} (seed {asked.seed}) …")
    tally = Tally()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        shares = [Path(folder) / f"{number}.json" for number in range(asked.jobs)]
        children = [
            subprocess.Popen(
                [sys.executable, __file__, *_words(campaign, asked), "--share", f"{number}/{asked.jobs}/{path}"]
            )
            for number, path in enumerate(shares)
        ]
        for child, path in zip(children, shares, strict=True):
            child.wait()
            tally.add(_load(path) if path.exists() else _broken(campaign, child.returncode))
    tally.seconds = time.monotonic() - began
    _tell(campaign, asked, tally)
    return _write(asked.results, campaign, asked, tally)


def _words(campaign: Campaign, asked: argparse.Namespace) -> list[str]:
    words = ["--campaign", campaign.name, "--seed", str(asked.seed)]
    if asked.budget is not None:
        words += ["--budget", str(asked.budget)]
    if asked.case is not None:
        words += ["--case", asked.case]
    if asked.folder is not None:
        words += ["--folder", str(asked.folder)]
    return [*words, *(f"--{name}" for name in ("sample", "whole") if getattr(asked, name))]


def _work(campaign: Campaign, asked: argparse.Namespace) -> int:
    """This process's share of a campaign."""
    number, of, path = asked.share.split("/", 2)
    with _workplace(asked.folder) as folder:
        only = asked.case.partition("/")[0] if asked.case else None
        room = Room(folder, asked.seed, asked.sample, asked.budget, only)
        try:
            tally = _run_share(campaign, room, asked, int(number), int(of))
        finally:
            campaign.close(room)
    Path(path).write_text(json.dumps(vars(tally)))
    return 0


def _run_share(campaign: Campaign, room: Room, asked: argparse.Namespace, number: int, of: int) -> Tally:
    began = time.monotonic()
    cases = _choose(campaign, room, asked)
    tally = Tally()
    mine = cases[number::of]
    wanted = None if asked.whole or asked.case or campaign.wanted is None else -(-campaign.wanted // of)
    gc.collect()
    gc.freeze()  # a fork then copies less
    for done, case in enumerate(mine):
        if wanted is not None and tally.cases >= wanted:
            break
        if asked.budget is not None and time.monotonic() - began > asked.budget:
            tally.left = len(mine) - done
            break
        try:
            tally.take(case, campaign.run(room, case))
        except AssertionError as violation:
            tally.take(case, Outcome())
            tally.violations.append({"case": case.name, "what": str(violation)})
        except Exception:  # noqa: BLE001  the case could not be judged; the others can
            tally.violations.append(
                {"case": case.name, "what": f"the campaign itself failed: {traceback.format_exc()}"}
            )
    tally.planned, tally.work = len(mine), _work_done()
    return tally


def _work_done() -> float:
    """Seconds of processors' time, with that of processes that have ended."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in uses)


def _choose(campaign: Campaign, room: Room, asked: argparse.Namespace) -> list[Case]:
    cases = list(dict.fromkeys(campaign.cases(room)))
    if asked.case is not None:
        return [case for case in cases if case.name == asked.case] or [
            case for case in cases if case.name.startswith(asked.case)
        ]
    if not campaign.in_order:
        cases = spread(cases, room.random(campaign.name, "order"))
    return cases[: campaign.sample] if asked.sample else cases


@contextlib.contextmanager
def _workplace(base: Path | None) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of cases wait for no disk."""
    memory = Path("/dev/shm")
    base = base or (memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix="vaultpy-torture-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _load(path: Path) -> Tally:
    said: dict[str, Any] = json.loads(path.read_text())
    for name in ("invariants", "silent", "operations"):
        said[name] = Counter(said[name])
    return Tally(**said)


def _broken(campaign: Campaign, code: int) -> Tally:
    return Tally(violations=[{"case": "-", "what": f"the campaign itself ended with exit code {code}"}])


def _write(folder: Path, campaign: Campaign, asked: argparse.Namespace, tally: Tally) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "campaign": campaign.name,
        "number": campaign.number,
        "promise": campaign.promise,
        "wanted": campaign.wanted,
        "seed": asked.seed,
        "sample": asked.sample,
        "python": platform.python_version(),
        **vars(tally),
    }
    (folder / f"{campaign.name}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    return document


def _conclude(results: list[dict[str, Any]], asked: argparse.Namespace) -> None:
    """The table of all campaigns, and where it is wanted into a document."""
    table = summarise(results, asked.jobs)
    _say("\n" + table)
    (asked.results / "summary.md").write_text(table + "\n")
    if asked.docs is not None:
        asked.docs.write_text(fill_in(asked.docs.read_text(), table))


def _tell(campaign: Campaign, asked: argparse.Namespace, tally: Tally) -> None:
    left = f", {tally.left} left for lack of time" if tally.left else ""
    unmet = f", {tally.unmet} met nothing" if tally.unmet else ""
    _say(
        f"{campaign.number:2} {campaign.name}: {tally.cases} cases, {len(tally.violations)} violations{unmet}{left};"
        f" {tally.seconds:.0f} s, {tally.work:.0f} s of processors"
    )
    for name, value in sorted(tally.figures.items()):
        _say(f"     {name}: {value:g}")
    for violation in tally.violations[:SHOWN]:
        _say(f"   VIOLATION in {violation['case']}\n     {violation['what']}")
        _say(f"     again: make torture CAMPAIGN={campaign.name} SEED={asked.seed} CASE='{violation['case']}'")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
