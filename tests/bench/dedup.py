"""How well known content is found again: bytes stored by a second and later snapshots of what changed in typical ways."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from meter import measure
from recipes import Program, Room, new_room
from rounds import Course, Sample, stored_bytes, tell
from trees import make_words, origins, regular_files

SHIFTED_FILES, SHIFTED_BYTES = 4, 64_000_000
IMAGE_BYTES, IMAGE_WRITES, PAGE = 1_000_000_000, 200, 4096
VERSIONS, SOURCE_FILES = 20, 2_000

Change = Callable[[Path, int], None]
"""Changes a folder into its version of that number (from 1)."""


def run_dedup(course: Course, scale: float) -> Iterator[Sample]:
    """Each case, version by version; the programs take turns, as content decides here and no clock."""
    for case, versions, build, change in (
        ("shifted content", 2, _build_shifted, _shift),
        ("disk image, scattered 4 KiB writes", 3, _build_image, _write_pages),
        ("source tree, many versions", VERSIONS, _build_sources, _edit_sources),
    ):
        source = course.work / "source"
        source.mkdir()
        build(source, scale)
        rooms = {one.name: new_room(course.work / one.name, source) for one in course.programs}
        for program in course.programs:
            program.begin(rooms[program.name])
        for version in range(versions):
            if version:
                change(source, version)
            for program in course.programs:
                yield _take(course, program, rooms[program.name], case, version, versions)
        for folder in (source, *(room.folder for room in rooms.values())):
            shutil.rmtree(folder)


def _take(course: Course, program: Program, room: Room, case: str, version: int, versions: int) -> Sample:
    cost = measure(program.snapshot(room), room.folder / "snapshot.log")
    more = {"version": version, "versions": versions}
    return tell(course, Sample("dedup", f"{case} {version}", program.name, 0, cost, stored_bytes(room.store), more))


def _build_shifted(folder: Path, scale: float) -> None:
    for number in range(SHIFTED_FILES):
        _write_material(folder / f"large{number}", int(SHIFTED_BYTES * scale), number)


def _shift(folder: Path, version: int) -> None:
    """Seven bytes at the front of each file, and a thousand in its middle: everything behind them moves."""
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        middle = len(content) // 2
        dice = random.Random(version)
        file.write_bytes(b"shifted" + content[:middle] + dice.randbytes(1000) + content[middle:])


def _build_image(folder: Path, scale: float) -> None:
    _write_material(folder / "disk.img", int(IMAGE_BYTES * scale), 7)


def _write_pages(folder: Path, version: int) -> None:
    """New bytes into pages here and there: about one in every five chunks of 1 MiB."""
    dice = random.Random(version)
    image = folder / "disk.img"
    pages = image.stat().st_size // PAGE
    with image.open("r+b") as written:
        for _ in range(max(1, pages * IMAGE_WRITES // (IMAGE_BYTES // PAGE))):
            written.seek(dice.randrange(pages) * PAGE)
            written.write(dice.randbytes(PAGE))


def _write_material(file: Path, size: int, skipped: int) -> None:
    """A file of `size` bytes, made of files of the machine end to end; of words where there are too few."""
    with file.open("wb") as made:
        for number, (part, _) in enumerate(pair for place in origins() for pair in regular_files(place)):
            if made.tell() >= size:
                return
            if number % SHIFTED_FILES == skipped % SHIFTED_FILES and os.access(part, os.R_OK):
                made.write(part.read_bytes()[: size - made.tell()])
        dice = random.Random(skipped)
        words = make_words(dice, 3000)
        while made.tell() < size:
            made.write(b" ".join(dice.choices(words, k=1000))[: size - made.tell()])


def _build_sources(folder: Path, scale: float) -> None:
    """Sources of programs, as many as a middle-sized project has, in their folders."""
    found = (
        (place, file)
        for place in origins()
        for file, status in regular_files(place)
        if file.suffix in (".py", ".h", ".go", ".rs", ".c", ".js") and status.st_size < 200_000
    )
    for (place, file), _ in zip(found, range(int(SOURCE_FILES * scale)), strict=False):
        to = folder / file.relative_to(place)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)


def _edit_sources(folder: Path, version: int) -> None:
    """What a week of work does: lines changed in one file of fifty, one of 500 renamed, a few new ones."""
    dice = random.Random(version)
    files = sorted(file for file, _ in regular_files(folder))
    for file in dice.sample(files, max(1, len(files) // 50)):
        lines = file.read_bytes().split(b"\n")
        for _ in range(dice.randint(1, 20)):
            lines.insert(dice.randint(0, len(lines)), b"    changed = %d" % dice.getrandbits(32))
        file.write_bytes(b"\n".join(lines))
    for file in dice.sample(files, max(1, len(files) // 500)):
        file.rename(file.with_name(f"renamed{version}-{file.name}"))
    words = make_words(dice, 500)
    for number in range(max(1, len(files) // 500)):
        (folder / f"new{version}-{number}.py").write_bytes(b"\n".join(dice.choices(words, k=600)))
