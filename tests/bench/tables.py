"""Results as Markdown tables, and putting them into a document between its markers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from figures import Figure, Key, Results, Verdict, best_peer, judge, medians, ratio
from goals import GOALS, TREES
from rounds import STEPS

MEASURES = (
    ("wall", "s", 1.0),
    ("cpu", "CPU s", 1.0),
    ("peak", "MiB", 1024.0**2),
    ("stored", "MB stored", 1e6),
)
STORING = ("first", "changed")
NAMES = {
    "unchanged": "nothing changed",
    "changed": "1 % changed",
    "restore": "restore all",
    "one file": "restore one file",
    "verify": "verify every byte",
    "first": "first snapshot",
}

Row = Sequence[str]


def all_tables(results: Results) -> dict[str, str]:
    """Every table by the name of its marker."""
    figures = medians(results.samples)
    tables = {
        "goals": goals_table(judge(results, GOALS)),
        "machine": machine_table(results),
        "startup": startup_table(results, figures),
        "network": network_table(results),
        "line": line_table(results),
        "dedup": dedup_table(results, figures),
        "left-out": left_out(results),
        "kept": kept_table(results),
        "flame": flame_table(results),
    }
    return tables | {name: tree_table(results, figures, name) for name in (*TREES, "given")}


def goals_table(verdicts: Iterable[Verdict]) -> str:
    words = {True: "yes", False: "**no**", None: "-"}
    rows = [(one.what, one.goal, one.measured, words[one.reached]) for one in verdicts]
    return markdown(("what", "goal", "measured", "reached"), rows)


def machine_table(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    rows = [*results.machine.items(), ("programs", versions)]
    rows += [
        (f"tree `{name}`", f"{files:,} files, {size / 1e6:,.0f} MB") for name, (files, size) in results.trees.items()
    ]
    return markdown(("", ""), rows)


def tree_table(results: Results, figures: dict[Key, Figure], tree: str) -> str:
    """A tree's steps: a line a measure, a column a program, and vaultpy's part of the best peer's."""
    rows = []
    for step in STEPS:
        for measure, unit, divisor in MEASURES:
            if measure == "stored" and step not in STORING:
                continue
            cells = [_cell(figures.get((tree, step, name)), measure, divisor) for name in results.programs]
            if any(cells):
                rows.append(
                    (NAMES[step] if measure == "wall" else "", unit, *cells, _share(figures, tree, step, measure))
                )
    return markdown(("step", "", *results.programs, "of the best peer"), rows)


def _cell(figure: Figure | None, measure: str, divisor: float) -> str:
    if figure is None:
        return ""
    if figure.failed == figure.runs:
        return "failed"
    return _plain(getattr(figure, measure) / divisor) + ("*" if figure.failed else "")


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _share(figures: dict[Key, Figure], section: str, step: str, measure: str) -> str:
    share, best = ratio(figures, section, step, measure), best_peer(figures, section, step, measure)
    return "" if share is None or best is None else f"{share:.2f} ({best[0]})"


def startup_table(results: Results, figures: dict[Key, Figure]) -> str:
    steps = list(dict.fromkeys(one.step for one in results.samples if one.section in ("startup", "many")))
    rows = []
    for step in steps:
        section = next(
            one.section for one in results.samples if one.step == step and one.section in ("startup", "many")
        )
        cells = [_cell(figures.get((section, step, name)), "wall", 1.0) for name in results.programs]
        rows.append((step, *cells))
    return markdown(("seconds", *results.programs), rows)


def network_table(results: Results) -> str:
    rows = []
    for one in results.samples:
        if one.section == "network":
            kinds = ", ".join(f"{count} {method}" for method, count in sorted(one.more["requests"].items()))
            moved = (f"{one.more['up'] / 1e6:.3f}", f"{one.more['down'] / 1e6:.3f}")
            failed = "" if one.cost.code == 0 else " (failed)"
            rows.append((one.step, one.program + failed, f"{sum(one.more['requests'].values()):,}", kinds, *moved))
    return markdown(("step", "program", "requests", "by method", "MB up", "MB down"), rows)


def line_table(results: Results) -> str:
    rows = []
    for program in results.programs:
        found = [one for one in results.samples if one.section == "line" and one.program == program]
        if found:
            one = sorted(found, key=lambda sample: sample.cost.wall)[len(found) // 2]
            full = one.more["fullness"]
            cells = (
                f"{one.cost.wall:.1f}",
                f"{one.more['up'] / 1e6:,.0f}",
                f"{one.more['up'] / one.cost.wall / 1e6:.1f}",
            )
            rows.append((program, *cells, "-" if full is None else f"{full * 100:.0f} %"))
    return markdown(("program", "s", "MB up", "MB/s over all", "line full while content moves"), rows)


def dedup_table(results: Results, figures: dict[Key, Figure]) -> str:
    """For each case the store after the first version, and what all later ones added to it, in MB."""
    rows = []
    steps = [one.step for one in results.samples if one.section == "dedup"]
    for case in dict.fromkeys(step.rpartition(" ")[0] for step in steps):
        last = max(int(step.rpartition(" ")[2]) for step in steps if step.startswith(f"{case} "))
        first_cells, later_cells = [], []
        for name in results.programs:
            first, end = (figures.get(("dedup", f"{case} {version}", name)) for version in (0, last))
            first_cells.append(f"{first.stored / 1e6:.1f}" if first else "")
            later_cells.append(f"{(end.stored - first.stored) / 1e6:.2f}" if first and end else "")
        rows += [(case, "first", *first_cells), ("", f"{last} more", *later_cells)]
    return markdown(("MB stored", "", *results.programs), rows)


def left_out(results: Results) -> str:
    return "\n".join(f"- {section}: {program}: {why}" for section, program, why in results.skipped) or "- nothing"


def kept_table(results: Results) -> str:
    """What restored trees differed in, by program."""
    rows = []
    for program in results.programs:
        found = [
            one.more["differences"] for one in results.samples if one.program == program and "differences" in one.more
        ]
        kinds = sorted({kind for one in found for kind in one})
        if found:
            worst = ", ".join(f"{kind}: {max(one.get(kind, 0) for one in found):,} paths" for kind in kinds)
            rows.append((program, str(len(found)), worst or "nothing"))
    return markdown(("program", "trees compared", "what differed, at most"), rows)


def flame_table(results: Results) -> str:
    """The files of code in which a first snapshot's samples ended."""
    found = [one.more["shares"] for one in results.samples if one.section == "flame"]
    rows = [(f"`{place}`", f"{share * 100:.1f} %") for place, share in (found[-1].items() if found else ())]
    table = markdown(("in a first snapshot of the small tree, all threads and processes", "of the samples"), rows)
    graph = "[The flame graph](flame.svg): a box a function, as wide as its share; below it what it calls.\n\n"
    return (graph if found else "") + table


def markdown(columns: Row, rows: Iterable[Row]) -> str:
    """A table; words in its place where it has no rows."""
    lines = [columns, ["---"] * len(columns), *rows]
    if len(lines) == 2:
        return "not measured yet"
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(document: str, tables: dict[str, str]) -> str:
    """A document with each `<!-- bench:NAME -->` … `<!-- /bench -->` filled anew.  Raises KeyError for an unknown name."""

    def filled(found: re.Match[str]) -> str:
        return f"<!-- bench:{found[1]} -->\n{tables[found[1]]}\n<!-- /bench -->"

    put: Callable[[re.Match[str]], str] = filled
    return re.sub(r"<!-- bench:([\w-]+) -->\n.*?<!-- /bench -->", put, document, flags=re.DOTALL)
