"""Quick starts: `--help`, a list of one snapshot, and a list of a thousand.

Run as a program, it makes snapshots one after the other in one process, because starting Python a thousand times is not
what is measured:  python many.py SOURCE COUNT
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from lines import Traffic
from meter import Command, Cost, measure, must
from network import line_to
from recipes import Program, Room, Vaultpy, new_room
from rounds import Course, Sample, rotated, stored_bytes, tell
from s3server import serve_rclone

STARTS = 11
SNAPSHOTS = 1000


def run_startup(course: Course) -> Iterator[Sample]:
    """`--help`, and the list of a store with one snapshot of five files; interleaved."""
    source = _small_source(course.work / "source")
    rooms = {one.name: new_room(course.work / one.name, source) for one in course.programs}
    for program in course.programs:
        room = rooms[program.name]
        program.begin(room)
        must(program.snapshot(room), room.folder / "snapshot.log")
    for number in range(STARTS):
        for program in rotated(course.programs, number):
            room = rooms[program.name]
            yield _take(course, program, room, "help", program.help(room), number)
            yield _take(course, program, room, "list", program.listing(room), number)


def run_many(course: Course, scale: float) -> Iterator[Sample]:
    """vaultpy's list of 1,000 snapshots: from a folder, and what it asks an S3 server for."""
    program = Vaultpy()
    room = new_room(course.work / "many", _small_source(course.work / "source"))
    program.begin(room)
    count = max(1, int(SNAPSHOTS * scale))
    making = room.command(sys.executable, __file__, room.source, str(count), PYTHONPATH=os.pathsep.join(sys.path))
    must(making, room.folder / "making.log")
    for number in range(STARTS):
        yield _take(course, program, room, f"list of {count}", program.listing(room), number, "many")
    cost, traffic = _list_over_s3(course, program, room)
    fetched = sum(method == "GET" and "/metadata/" in path and "?" not in path for method, path in traffic.paths)
    course.say(f"    over S3: {sum(traffic.requests.values())} requests, {fetched} objects of metadata/ fetched")
    more = {"requests": dict(traffic.requests), "fetched": fetched}
    yield tell(course, Sample("many", f"list of {count} over S3", program.name, 0, cost, 0, more))


def _list_over_s3(course: Course, program: Vaultpy, room: Room) -> tuple[Cost, Traffic]:
    """One list, and its traffic; the store's folder, moved, is served as a bucket: its names are the same there."""
    with serve_rclone(course.work / "server") as server, line_to(server) as line:
        bucket = course.work / "server/buckets/bench"
        bucket.mkdir()
        shutil.move(room.store, bucket / "vault")
        config = room.home / "config/vaultpy/config.toml"
        url = f"s3://bench/vault?endpoint=http://127.0.0.1:{line.port}&addressing=path"
        config.write_text(config.read_text().replace(f"file://{room.store}", url))
        command = Command(program.listing(room).argv, room.environment | server.environment)
        return must(command, room.folder / "list-s3.log"), line.traffic


def _take(
    course: Course, program: Program, room: Room, step: str, command: Command, number: int, section: str = "startup"
) -> Sample:
    cost = measure(command, room.folder / "start.log")
    return tell(course, Sample(section, step, program.name, number, cost, stored_bytes(room.store), {}))


def _small_source(folder: Path) -> Path:
    folder.mkdir()
    for number in range(5):
        (folder / f"file{number}").write_bytes(os.urandom(1000))
    return folder


def _make_snapshots(source: Path, count: int) -> None:
    from vaultpy.cli.main import main

    for number in range(count):
        (source / "file0").write_bytes(f"as it is at {number}".encode())
        code = main(["snapshot", "create", "--quiet"])
        if code != 0:
            sys.exit(code)


if __name__ == "__main__":
    _make_snapshots(Path(sys.argv[1]), int(sys.argv[2]))
