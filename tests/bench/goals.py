"""What vaultpy has to reach, each row a ratio to the best peer of the same run, or a bound."""

from __future__ import annotations

from collections.abc import Callable

from figures import OURS, Figure, Goal, Key, Results, ratio
from rounds import STEPS, Sample

MIB = 1024 * 1024
TREES = ("small", "big", "tiny")
Value = Callable[[Results, dict[Key, Figure]], float | None]


def _ratio(section: str, step: str, measure: str) -> Value:
    return lambda results, figures: ratio(figures, section, step, measure)


def _ours(results: Results, section: str, step: str) -> list[Sample]:
    return [one for one in results.samples if (one.section, one.step, one.program) == (section, step, OURS)]


def _wall(section: str, begins: str) -> Value:
    """vaultpy's median wall time of the step that begins so."""

    def value(results: Results, figures: dict[Key, Figure]) -> float | None:
        found = [
            one.wall
            for (where, step, who), one in figures.items()
            if where == section and who == OURS and step == begins
        ]
        return found[0] if found else None

    return value


def _traffic(step: str, name: str) -> Callable[[Results, str], float | None]:
    def value(results: Results, program: str) -> float | None:
        found = [
            float(one.more[name])
            for one in results.samples
            if (one.section, one.step, one.program) == ("network", step, program) and one.cost.code == 0
        ]
        return min(found, default=None)

    return value


def _fetched_ratio(step: str) -> Value:
    def value(results: Results, figures: dict[Key, Figure]) -> float | None:
        fetched = _traffic(step, "down")
        ours = fetched(results, OURS)
        peers = [one for name in results.programs if name != OURS and (one := fetched(results, name)) is not None]
        return ours / min(peers) if ours is not None and peers else None

    return value


def _fetched(step: str) -> Value:
    """MB that vaultpy fetched, without the exports, which a new machine fetches once."""

    def value(results: Results, figures: dict[Key, Figure]) -> float | None:
        found = [
            (one.more["down"] - one.more.get("exports", 0)) / 1e6
            for one in results.samples
            if (one.section, one.step, one.program) == ("network", step, OURS) and one.cost.code == 0
        ]
        return max(found, default=None)

    return value


def _objects_fetched(results: Results, figures: dict[Key, Figure]) -> float | None:
    found = [float(one.more["fetched"]) for one in results.samples if one.section == "many" and "fetched" in one.more]
    return max(found, default=None)


def _list_of_many(results: Results, figures: dict[Key, Figure]) -> float | None:
    found = [
        one.wall for (section, step, _), one in figures.items() if section == "many" and not step.endswith("over S3")
    ]
    return max(found, default=None)


def _peak(results: Results, figures: dict[Key, Figure]) -> float | None:
    found = [
        one.peak / MIB
        for (section, step, program), one in figures.items()
        if program == OURS and section in TREES and step in STEPS
    ]
    return max(found, default=None)


def _peak_growth(results: Results, figures: dict[Key, Figure]) -> float | None:
    """The first snapshot's peak with all tiny files beside that with a tenth of them."""
    whole, tenth = figures.get(("tiny", "first", OURS)), figures.get(("tenth", "first", OURS))
    return whole.peak / tenth.peak if whole and tenth else None


def _growth(results: Results, figures: dict[Key, Figure]) -> float | None:
    whole, tenth = figures.get(("tiny", "first", OURS)), figures.get(("tenth", "first", OURS))
    if not whole or not tenth:
        return None
    return (whole.wall / results.trees["tiny"][0]) / (tenth.wall / results.trees["tenth"][0])


def _unchanged(name: str) -> Value:
    """The most that an unchanged snapshot of the tiny files added: `rows` to the index, or `stored` bytes to the store."""

    def value(results: Results, figures: dict[Key, Figure]) -> float | None:
        found = [one.more["after"][name] - one.more["before"][name] for one in _ours(results, "tiny", "unchanged")]
        return max(map(float, found), default=None)

    return value


def _index_bytes(results: Results, figures: dict[Key, Figure]) -> float | None:
    found = [one.more["after"]["index"] / results.trees["tiny"][0] for one in _ours(results, "tiny", "first")]
    return max(found, default=None)


def _fullness(results: Results, figures: dict[Key, Figure]) -> float | None:
    found = sorted(
        one.more["fullness"] * 100 for one in _ours(results, "line", "first") if one.more["fullness"] is not None
    )
    return found[len(found) // 2] if found else None


# Not among them: an unchanged big tree, 200 files, where a run is little more than the start of a program.
GOALS = (
    Goal("first snapshot, small tree: wall time", 0.50, " of the best peer", _ratio("small", "first", "wall")),
    Goal("first snapshot, small tree: stored", 0.85, " of the best peer", _ratio("small", "first", "stored")),
    Goal("first snapshot, tiny tree: wall time", 0.75, " of the best peer", _ratio("tiny", "first", "wall")),
    Goal("first snapshot, tiny tree: stored", 0.55, " of the best peer", _ratio("tiny", "first", "stored")),
    Goal("first snapshot, big tree: wall time", 0.60, " of the best peer", _ratio("big", "first", "wall")),
    Goal("first snapshot, big tree: stored", 1.02, " of the best peer", _ratio("big", "first", "stored")),
    Goal("nothing changed, small tree", 0.30, " of the best peer", _ratio("small", "unchanged", "wall")),
    Goal("nothing changed, tiny tree", 0.30, " of the best peer", _ratio("tiny", "unchanged", "wall")),
    Goal("1 % changed, small tree", 0.35, " of the best peer", _ratio("small", "changed", "wall")),
    Goal("1 % changed, tiny tree", 0.35, " of the best peer", _ratio("tiny", "changed", "wall")),
    Goal("restore all, small tree", 0.60, " of the best peer", _ratio("small", "restore", "wall")),
    Goal("restore all, big tree", 0.60, " of the best peer", _ratio("big", "restore", "wall")),
    Goal("restore all, tiny tree", 0.60, " of the best peer", _ratio("tiny", "restore", "wall")),
    Goal("restore one file of 100 kB, on the host: fetched", 0.50, " of the best peer", _fetched_ratio("one file")),
    Goal("the same, in MB", 3, " MB", _fetched("one file")),
    Goal("the same on a new machine, besides the exports", 3, " MB", _fetched("one file, new machine")),
    Goal("verify every byte, small tree", 0.60, " of the best peer", _ratio("small", "verify", "wall")),
    Goal("verify every byte, big tree", 0.60, " of the best peer", _ratio("big", "verify", "wall")),
    Goal("verify every byte, tiny tree", 0.60, " of the best peer", _ratio("tiny", "verify", "wall")),
    Goal("list with 1,000 snapshots", 0.50, " s", _list_of_many),
    Goal("objects fetched for it", 0, "", _objects_fetched),
    Goal("peak memory, all trees and steps", 256, " MiB", _peak),
    Goal("peak memory of ten times the files", 1.20, " times", _peak_growth),
    Goal("`vaultpy --help`", 0.12, " s", _wall("startup", "help")),
    Goal("`vaultpy snapshot list`", 0.35, " s", _wall("startup", "list")),
    Goal("unchanged, 1,000,000 files: wall time", 10, " s", _wall("tiny", "unchanged")),
    Goal("unchanged, 1,000,000 files: new rows of files", 0, "", _unchanged("rows")),
    Goal("unchanged, 1,000,000 files: uploaded", 20_000, " bytes", _unchanged("stored")),
    Goal("the index, a small file", 400, " bytes", _index_bytes),
    Goal("time a file, 1,000,000 files beside 100,000", 1.20, " times", _growth),
    Goal("upload over the slow line: the line is full", 90, " % of the time", _fullness, is_floor=True),
)
