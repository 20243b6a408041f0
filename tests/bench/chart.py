"""A picture of the wall times: for each tree and step a bar a program, as long as its time beside vaultpy's."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from figures import OURS, Figure, Key, Results, medians
from goals import TREES
from rounds import STEPS
from tables import NAMES

COLOURS = {"vaultpy": "#1b6ca8", "restic": "#d9822b", "borg": "#5d9c59", "kopia": "#9c5d8f", "rustic": "#a8a29e"}
PANEL, LABEL, BAR, GAP, HEAD = 270, 118, 11, 10, 66
LONGEST = 8.0
"""Bars end here, in multiples of vaultpy's time; the number beside one says how long it is."""

STYLE = """\
text { font: 11px system-ui, sans-serif; fill: #333 } .title { font-weight: 600; font-size: 13px }
.line { stroke: #999; stroke-dasharray: 2 2 } @media (prefers-color-scheme: dark) { text { fill: #ccc } }"""


def draw(results: Results) -> str:
    """The chart as an SVG document."""
    figures = medians(results.samples)
    trees = [tree for tree in (*TREES, "given") if (tree, STEPS[0], OURS) in figures]
    programs = [name for name in results.programs if name in COLOURS]
    height = HEAD + len(STEPS) * _row_height(programs) + 10
    width = LABEL + max(1, len(trees)) * PANEL
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        "<title>Wall time of each step beside vaultpy's</title>",
        f"<style>{STYLE}</style>",
        *_legend(results, programs),
        *(
            _text(4, HEAD + row * _row_height(programs) + len(programs) * BAR // 2 + 3, NAMES[step])
            for row, step in enumerate(STEPS)
        ),
    ]
    for number, tree in enumerate(trees):
        parts += _panel(results, figures, programs, tree, LABEL + number * PANEL)
    return "\n".join([*parts, "</svg>\n"])


def _row_height(programs: Sequence[str]) -> int:
    return len(programs) * BAR + GAP


def _legend(results: Results, programs: Sequence[str]) -> list[str]:
    parts = [_text(4, 16, "wall time, vaultpy = 1; shorter is faster", "title")]
    for number, name in enumerate(programs):
        left = LABEL + number * 120
        parts.append(_bar(left, 26, 10, name))
        parts.append(_text(left + 15, 35, f"{name} {results.versions.get(name, '')}".strip()))
    return parts


def _panel(results: Results, figures: dict[Key, Figure], programs: Sequence[str], tree: str, left: int) -> list[str]:
    files, size = results.trees.get(tree, (0, 0))
    unit = (PANEL - 70) / LONGEST
    bottom = HEAD + len(STEPS) * _row_height(programs)
    parts = [_text(left, HEAD - 8, f"{tree}: {files:,} files, {size / 1e9:.1f} GB", "title")]
    parts.append(f'<line class="line" x1="{left + unit:.1f}" x2="{left + unit:.1f}" y1="{HEAD}" y2="{bottom - GAP}"/>')
    for row, step in enumerate(STEPS):
        ours = figures.get((tree, step, OURS))
        for line, name in enumerate(programs):
            theirs = figures.get((tree, step, name))
            top = HEAD + row * _row_height(programs) + line * BAR
            if ours and theirs and not theirs.failed:
                times = theirs.wall / ours.wall
                width = min(times, LONGEST) * unit
                parts.append(_bar(left, top, width, name))
                parts.append(
                    _text(left + width + 4, top + BAR - 2, f"{times:.1f}" if name != OURS else f"{ours.wall:.1f} s")
                )
    return parts


def _bar(left: float, top: float, width: float, name: str) -> str:
    return f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BAR - 1}" fill="{COLOURS[name]}"/>'


def _text(left: float, bottom: float, text: str, kind: str | None = None) -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{left:.1f}" y="{bottom}"{named}>{escape(text)}</text>'
