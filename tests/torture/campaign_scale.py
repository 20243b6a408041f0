"""10. Scale: a million files in one folder and in ten thousand, a file of 100 GB that is mostly hole, 100,000 blobs.

Every step is made at a tenth of the size and at the whole: memory stays flat, and no step is worse than linear.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from campaigns import Campaign, Case, Outcome, Room, Violation, register
from smallvault import Arm, Ran, SmallVault, warm_up

FLAT = 256 * 1024
"""KiB that any step may take at any size, beyond the interpreter with all that is imported."""

GROWTH = 100 * 1024
"""KiB that ten times as much may take more, but for what a run has to keep of each."""

WORSE = 15.0
"""How many times the processors' time ten times as much may take; below QUICK seconds starting is most of it."""

QUICK = 2.0

SHRUNK = 200
"""How much smaller all of it is in `make test`, which looks at memory alone."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Something large: how to make it of a size below a folder, its whole size, what a run must be armed with, and the
    KiB that each of it may take: a manifest names every blob, and is put together in memory.  `room`: the bytes that it
    takes of a file system in memory; where there are not so many it is made on a disk."""

    make: Callable[[Path, int], None]
    size: int
    arm: Arm | None = None
    each: int = 0
    room: int = 0


def _flat(place: Path, size: int) -> None:
    _write_files(place, range(size))


def _spread(place: Path, size: int) -> None:
    folders = max(size // 100, 1)
    for number in range(folders):
        folder = place / f"{number:05}"
        folder.mkdir()
        _write_files(folder, range(number, size, folders))


def _write_files(folder: Path, numbers: range) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number in numbers:
            file = os.open(f"file {number}", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd)
            os.write(file, b"%d" % number)
            os.close(file)
    finally:
        os.close(fd)


def _hole(place: Path, size: int) -> None:
    with (place / "mostly hole").open("wb") as file:
        for part in range(4):
            file.seek(size // 5 * (part + 1))
            file.write(os.urandom(10_000))
        file.truncate(size)


def _contents(place: Path, size: int) -> None:
    for number in range(size):
        (place / f"{number}").write_bytes(os.urandom(300))


def _many_blobs() -> None:
    """Let every file be a blob, of a size that is none of a real one's."""
    from vaultpy.blob import frames, writer
    from vaultpy.ops.making import crew

    frames.FRAME_SIZE, writer.STEP = 256, 256
    writer.BlobWriter.full = property(lambda self: not self.empty)  # type: ignore[assignment,method-assign]
    crew.START_FILES = crew.START_BYTES = 1 << 62  # a worker process would know nothing of this


SHAPES = {
    "files in one folder": Shape(_flat, 1_000_000, room=16 << 30),
    "bytes of a file that is mostly hole": Shape(_hole, 100 * 10**9),
    "files in 10,000 folders": Shape(_spread, 1_000_000, room=16 << 30),
    "blobs": Shape(_contents, 100_000, _many_blobs, each=1),
}
"""In an order in which two processes, each of which takes every other one, never hold a million files at a time each."""


def cases(room: Room) -> Iterator[Case]:
    for name, shape in SHAPES.items():
        yield Case(name, "every step", str(_size(room, shape)))


def run(room: Room, case: Case) -> Outcome:
    warm_up()
    shape = SHAPES[case.operation]
    size = int(case.hit)
    with tempfile.TemporaryDirectory(prefix="vaultpy-scale-", dir=room.folder if _has_room(shape) else None) as folder:
        small, whole = (_measure(Path(folder) / "vault", shape, part) for part in (size // 10, size))
    figures: dict[str, float] = {}
    wrong: list[str] = []
    for step, ran in whole.items():
        before = small[step]
        figures[f"{case.operation}: {step}, seconds"] = round(ran.seconds, 1)
        figures[f"{case.operation}: {step}, seconds of processors"] = round(ran.work, 1)
        figures[f"{case.operation}: {step}, of a tenth"] = round(before.work, 1)
        figures[f"{case.operation}: {step}, MiB"] = ran.memory // 1024
        wrong += _check_memory(case, step, before, ran, shape.each)
        wrong += [] if room.sample else _check_time(case, step, before, ran)
    if wrong:
        raise Violation("; ".join(wrong))
    return Outcome(count=len(whole), figures=figures)


def _has_room(shape: Shape) -> bool:
    words = Path("/proc/meminfo").read_text().split()
    return int(words[words.index("MemAvailable:") + 1]) * 1024 > shape.room


def _size(room: Room, shape: Shape) -> int:
    return shape.size // SHRUNK if room.sample else shape.size


def _measure(folder: Path, shape: Shape, size: int) -> dict[str, Ran]:
    """Every step on something of a size, in a vault of its own."""
    vault = SmallVault(folder, grace="1h")
    try:
        vault.init(blob_size="32MiB")
        vault.arm = shape.arm
        place = vault.tree / "moving"
        place.mkdir()
        shape.make(place, size)
        return _steps(vault, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _steps(vault: SmallVault, place: Path) -> dict[str, Ran]:
    found = {
        "first snapshot": vault.must("--json", "snapshot", "create"),
        "second snapshot": vault.must("--json", "snapshot", "create"),
        "list": vault.must("--json", "snapshot", "list"),
        "verify": vault.must("--json", "snapshot", "verify"),
        "deep": vault.must("--json", "snapshot", "verify", "--deep", "--identity", str(vault.identity)),
        "restore": vault.restore("latest", vault.target),
    }
    if found["restore"].code:
        raise Violation(f"restore: exit {found['restore'].code}: {found['restore'].err}")
    _compare(place, vault.target / place.relative_to("/"))
    shutil.rmtree(vault.target)
    shutil.rmtree(place)
    place.mkdir()
    (place / "left").write_bytes(b"something")
    found |= {
        "all removed": vault.must("--json", "snapshot", "create"),
        "purge": vault.must("--json", "snapshot", "purge", "--keep-last", "1", "--force"),
    }
    vault.age(3660)
    found["record"] = vault.must("--json", "store", "prune")
    vault.age(3660)
    found["prune"] = vault.must("--json", "store", "prune")
    return found


def _compare(place: Path, back: Path) -> None:
    """Names, sizes and times of all, blocks of what is mostly hole, bytes of one small one in ten."""
    for folder, _, names in os.walk(place):
        other = back / Path(folder).relative_to(place)
        if sorted(names) != sorted(one.name for one in os.scandir(other) if not one.is_dir()):
            raise Violation(f"{other}: other names than were backed up")
        for name in names:
            path = Path(folder) / name
            status, restored = path.stat(), (other / name).stat()
            if (status.st_size, status.st_mtime_ns) != (restored.st_size, restored.st_mtime_ns):
                raise Violation(f"{name}: {restored.st_size} bytes came back of {status.st_size}")
            if status.st_size < 1_000 and path.name.endswith("7") and path.read_bytes() != (other / name).read_bytes():
                raise Violation(f"{name}: other bytes came back")
            if restored.st_blocks > status.st_blocks + 64 * 1024:
                raise Violation(f"{name}: its holes came back as {restored.st_blocks} blocks")


def _check_memory(case: Case, step: str, small: Ran, whole: Ran, each: int) -> list[str]:
    growth = GROWTH + each * int(case.hit) * 9 // 10
    if whole.memory <= FLAT and whole.memory - small.memory <= growth:
        return []
    return [f"{step} of {case.hit} {case.operation} took {whole.memory} KiB, of a tenth of them {small.memory} KiB"]


def _check_time(case: Case, step: str, small: Ran, whole: Ran) -> list[str]:
    if whole.work <= max(QUICK, small.work * WORSE):
        return []
    took = f"{whole.work:.0f} s of processors' time, of a tenth of them {small.work:.1f} s"
    return [f"{step} of {case.hit} {case.operation} took {took}"]


register(
    Campaign(
        10,
        "scale",
        "at a million files, 100 GB of hole, 100,000 blobs, memory is flat and no step is worse than linear",
        cases,
        run,
        sample=len(SHAPES),
        in_order=True,
    )
)
