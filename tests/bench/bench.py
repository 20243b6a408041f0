"""Runs the benchmark: `make bench`.

    python tests/bench/bench.py [--only SECTION]… [--peers NAMES] [--rounds N] [--scale F] [--tree FOLDER] [--work FOLDER]
                                [--docs FILE]

Sections: small, big, tiny (the trees' rounds), tenth (a tenth of tiny: how cost grows), startup, many, network, line,
dedup, flame; `none` runs nothing.  Results are kept in build/bench/results.json: a section that runs again replaces its
own, the others stay.  Tables and chart are made from all that is kept.  Exit code 1: vaultpy failed somewhere, or brought
a tree back otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from chart import draw
from dedup import run_dedup
from figures import OURS, Results, did_it
from flame import run_flame
from goals import TREES
from keeping import load_results, merge, save_results
from many import run_many, run_startup
from meter import CommandFailed
from network import run_network, run_slow_line, server_name
from recipes import choose_programs
from rounds import STEPS, Course, Sample, run_rounds
from tables import all_tables, fill
from trees import Tree, build_tree, copy_tree

SECTIONS = ("small", "big", "tiny", "tenth", "startup", "many", "network", "line", "dedup", "flame")
NETWORK_SHARE, LINE_SHARE, FLAME_SHARE = 0.1, 0.15, 0.2
"""How much of the small and of the big tree goes over the network, and of the small one under the profiler."""

KEPT = Path("build/bench")

BROKEN_OFF = "the rest"
"""Stands among what was left out for what a section did not come to."""


@dataclass
class Notes:
    """What a run finds besides samples."""

    trees: dict[str, tuple[int, int]] = field(default_factory=dict)
    skipped: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """One section's run: where, with whom, how large, and the tree that was given instead of ours."""

    course: Course
    notes: Notes
    scale: float
    given: Path | None
    kept: Path

    def tree(self, name: str, kind: str, share: float = 1.0) -> Tree:
        self.course.say(f"building the tree {name}")
        path = self.course.work / "tree"
        made = copy_tree(self.given, path) if self.given else build_tree(kind, path, self.scale * share)
        self.notes.trees[name] = made.files, made.bytes
        return replace(made, name=name)

    def leaver(self, section: str) -> Callable[[str, str], None]:
        def leave(program: str, why: str) -> None:
            self.course.say(f"{section}: {program} is left out: {why}")
            self.notes.skipped.append((section, program, why))

        return leave


def main() -> int:
    asked = _parse()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that the workplace is removed
    programs, missing = choose_programs(tuple(asked.peers.split(",")) if asked.peers is not None else None)
    versions = {one.name: one.version() for one in programs}
    _say(", ".join(f"{name} {version}" for name, version in versions.items()))
    for name in missing:
        _say(f"{name} is not on PATH: left out everywhere")
    results = load_results(asked.results)
    for section in _sections(asked):
        notes = Notes(skipped=[(section, name, "not on PATH") for name in missing])
        with _workplace(asked.work) as work:
            course = Course(work, programs, asked.rounds, _say)
            samples = _collect(section, Plan(course, notes, asked.scale, asked.tree, asked.results.parent))
        new = Results(samples, notes.trees, versions, _machine(asked.work or _memory()), tuple(notes.skipped))
        results = merge(results, section, new)
        save_results(asked.results, results)
    _write(results, asked.results.parent, asked.docs)
    return verdict_of(results)


def _collect(section: str, plan: Plan) -> list[Sample]:
    """A section's samples; one that cannot go on is told, and what it has so far is kept."""
    samples: list[Sample] = []
    try:
        samples.extend(_run(section, plan))
    except CommandFailed as error:
        plan.leaver(section)(BROKEN_OFF, str(error))
    return samples


def _run(section: str, plan: Plan) -> Iterator[Sample]:
    course = plan.course
    if section in (*TREES, "given"):
        yield from run_rounds(course, plan.tree(section, section))
    elif section == "tenth":
        yield from run_rounds(course, plan.tree(section, "tiny", 0.1), STEPS[:1])
    elif section == "startup":
        yield from run_startup(course)
    elif section == "many":
        yield from run_many(course, plan.scale)
    elif section == "dedup":
        yield from run_dedup(course, plan.scale)
    elif section == "flame":
        tree = plan.tree(section, "small", FLAME_SHARE)
        yield from run_flame(course, tree, plan.kept / "flame.svg", plan.leaver(section))
    elif server_name() is None:
        plan.leaver(section)("every program", "neither minio nor rclone is here")
    elif section == "network":
        yield from run_network(course, plan.tree("network", "small", NETWORK_SHARE), plan.leaver(section))
    else:
        yield from run_slow_line(course, plan.tree("line", "big", LINE_SHARE), plan.leaver(section))


def _sections(asked: argparse.Namespace) -> list[str]:
    if asked.tree is not None:
        return ["given"]
    wanted = asked.only.split(",") if asked.only else list(SECTIONS)
    if unknown := set(wanted) - {*SECTIONS, "none"}:
        sys.exit(f"no such section: {', '.join(sorted(unknown))} (there are {', '.join(SECTIONS)}, none)")
    return [one for one in SECTIONS if one in wanted]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="SECTIONS", help="some sections, with commas between them")
    parser.add_argument("--peers", metavar="NAMES", help="some peers, with commas between them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="a part of each tree")
    parser.add_argument("--tree", type=Path, help="this folder instead of the trees that are built")
    parser.add_argument("--work", type=Path, help="where trees and stores lie meanwhile (a tmpfs, where there is one)")
    parser.add_argument("--docs", type=Path, help="a document with markers to fill; chart and results go beside it")
    parser.add_argument("--results", type=Path, default=KEPT / "results.json")
    return parser.parse_args()


def _memory() -> Path:
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


@contextlib.contextmanager
def _workplace(base: Path | None) -> Iterator[Path]:
    """A folder that is gone afterwards; in memory, where disks are too uneven to compare anything on them."""
    folder = Path(tempfile.mkdtemp(prefix="vaultpy-bench-", dir=base or _memory()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _machine(work: Path) -> dict[str, str]:
    """What the figures depend on."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    fitting = [(len(parts[1]), parts[2]) for parts in mounts if work.resolve().is_relative_to(parts[1])]
    return {
        "processor": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "file system": max(fitting, default=(0, "?"))[1],
        "Python": platform.python_version(),
    }


def _write(results: Results, folder: Path, document: Path | None) -> None:
    tables = all_tables(results)
    text = "\n".join(f"## {name}\n\n{table}\n" for name, table in tables.items())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text(text)
    (folder / "chart.svg").write_text(draw(results))
    _say(f"\n{tables['goals']}\n\nall tables: {folder}/tables.md; chart: {folder}/chart.svg")
    if document is not None:
        document.write_text(fill(document.read_text(), tables))
        document.with_suffix(".svg").write_text(draw(results))
        if (folder / "flame.svg").exists():
            shutil.copy(folder / "flame.svg", document.with_name("flame.svg"))
        save_results(document.with_suffix(".json"), results)


def verdict_of(results: Results) -> int:
    """1 where vaultpy did not do what was asked, or brought anything back otherwise, or a section was broken off."""
    wrong = [one for one in results.samples if one.program == OURS and not (did_it(one) and _is_same(one))]
    for one in wrong:
        _say(f"vaultpy, {one.section}, {one.step}: exit code {one.cost.code}, {one.more.get('differences', {})}")
    broken_off = [section for section, what, _ in results.skipped if what == BROKEN_OFF]
    for section in broken_off:
        _say(f"section {section} was broken off")
    return 1 if wrong or broken_off else 0


def _is_same(sample: Sample) -> bool:
    return not sample.more.get("differences")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
