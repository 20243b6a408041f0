"""Where a first snapshot's time goes: py-spy's samples of all processes and threads, as a flame graph and as shares.

The graph is plain SVG without scripts: a box a function, as wide as the share of samples in it, below it what it calls.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from meter import Command, Cost, must
from recipes import Vaultpy, new_room
from rounds import Course, Sample
from trees import Tree

RATE = 100
WIDTH, LINE, LETTER = 1000, 15, 6.2
LEAST_SHARE, SHOWN = 0.004, 12
OURS, LIBRARY, STANDARD = "#8ab8d8", "#d9b38a", "#c9c9c9"

Stack = tuple[str, ...]


@dataclass
class Box:
    """A function at one place of the call tree: samples in it and below."""

    samples: int = 0
    below: dict[str, Box] = field(default_factory=dict)


def run_flame(course: Course, tree: Tree, graph: Path, leave: Callable[[str, str], None]) -> Iterator[Sample]:
    """One first snapshot under py-spy; writes the graph, and gives the shares of files of code."""
    recorder = shutil.which("py-spy")
    if recorder is None:
        leave("vaultpy", "py-spy is not on PATH")
        return
    program, room = Vaultpy(), new_room(course.work / "vaultpy", tree.path)
    program.begin(room)
    raw = room.folder / "samples"
    options = ("record", "--rate", str(RATE), "--subprocesses", "--function", "--format", "raw", "--output", str(raw))
    command = program.snapshot(room)
    recording = Command((recorder, *options, "--", *command.argv), command.environment)
    must(recording, room.folder / "flame.log")
    stacks = read_stacks(raw.read_text(errors="replace").splitlines())
    graph.parent.mkdir(parents=True, exist_ok=True)
    graph.write_text(draw_flame(stacks))
    yield Sample("flame", "first", program.name, 0, Cost(0.0, 0.0, 0, 0), 0, {"shares": shares(stacks)})


def read_stacks(lines: Iterable[str]) -> Counter[Stack]:
    """py-spy's raw form, `outermost;…;innermost COUNT`; processes become one, as their numbers say nothing.

    A process is told as its command line, which may hold semicolons itself; a call names its file behind it.
    """
    stacks: Counter[Stack] = Counter()
    for line in lines:
        calls, _, count = line.rpartition(" ")
        stack = tuple(_shown(call) for call in calls.split(";") if " (" in call and not call.startswith("process "))
        if stack and count.isdigit():
            stacks[stack] += int(count)
    return stacks


def _shown(call: str) -> str:
    """A function and the file it is in, without line numbers and folders of the machine."""
    name, _, place = call.partition(" (")
    return f"{name} ({re.sub(r':[0-9]+$', '', place.rstrip(')')).rpartition('site-packages/')[2]})"


def shares(stacks: Counter[Stack]) -> dict[str, float]:
    """The files of code in which most samples ended, and their shares of all."""
    ends: Counter[str] = Counter()
    for stack, count in stacks.items():
        ends[stack[-1].partition("(")[2].rstrip(")")] += count
    total = sum(ends.values())
    return {place: count / total for place, count in ends.most_common(SHOWN)}


def draw_flame(stacks: Counter[Stack]) -> str:
    root = _tree_of(stacks)
    boxes = list(_boxes(root, 0.0, 0, root.samples))
    height = (max((depth for _, _, depth, _ in boxes), default=0) + 1) * LINE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        "<style>text { font: 10px ui-monospace, monospace; fill: #222 }</style>",
    ]
    parts += [_drawn(name, left, depth, share) for name, left, depth, share in boxes]
    return "\n".join([*parts, "</svg>\n"])


def _tree_of(stacks: Counter[Stack]) -> Box:
    root = Box()
    for stack, count in stacks.items():
        box = root
        box.samples += count
        for call in stack:
            if "<frozen importlib" in call:
                continue  # the import system's own calls: five deep for each module
            box = box.below.setdefault(call, Box())
            box.samples += count
    return root


def _boxes(box: Box, left: float, depth: int, total: int) -> Iterator[tuple[str, float, int, float]]:
    """Name, left edge (a share), depth and share of every box that is wide enough to be seen."""
    for name, inner in sorted(box.below.items()):
        share = inner.samples / total
        if share >= LEAST_SHARE:
            yield name, left, depth, share
            yield from _boxes(inner, left, depth + 1, total)
        left += share


def _drawn(name: str, left: float, depth: int, share: float) -> str:
    place = name.partition("(")[2]
    colour = OURS if place.startswith("vaultpy") else LIBRARY if "/" in place else STANDARD
    letters = int(share * WIDTH / LETTER)
    label = name.partition(" (")[0][:letters] if letters > 3 else ""
    x, y = left * WIDTH, depth * LINE
    return (
        f'<g><title>{escape(name)}: {share * 100:.1f} %</title><rect x="{x:.1f}" y="{y}" width="{share * WIDTH:.1f}"'
        f' height="{LINE - 1}" fill="{colour}" stroke="#fff" stroke-width="0.5"/>'
        f'<text x="{x + 2:.1f}" y="{y + 11}">{escape(label)}</text></g>'
    )
