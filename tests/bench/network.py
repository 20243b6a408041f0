"""What passes between a program and an S3 server: requests and bytes, and how full a slow line is.

A real server runs behind a proxy of ours (lines.py); programs that cannot speak S3 are left out, and named.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lines import Line, open_line
from meter import Command, measure
from recipes import Bucket, Lacks, Program, Room, new_room
from rounds import Course, Sample, rotated, tell
from s3server import Server, free_port, rclone_path, serve_minio, serve_rclone
from trees import Tree, change_tree, one_file

RATE, ROUND_TRIP = 20_000_000.0, 0.05
"""The slow line: bytes a second in each direction, and seconds there and back."""

Leave = Callable[[str, str], None]
"""Told the program that is left out, and why."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """The S3 server that is there: MinIO, else rclone.  Raises FileNotFoundError."""
    with (serve_minio if shutil.which("minio") else serve_rclone)(folder) as server:
        yield server


def server_name() -> str | None:
    return "minio" if shutil.which("minio") else "rclone serve s3" if rclone_path() else None


def run_network(course: Course, tree: Tree, leave: Leave) -> Iterator[Sample]:
    """One round over S3: how many requests and bytes each step takes, on the host and on a new machine."""
    time.sleep(course.settle)
    with serving(course.work / "server") as server, line_to(server) as line:
        rooms = dict(_begin_all(course, tree, server, line, 0, leave))
        here = [one for one in course.programs if one.name in rooms]
        for step in ("first", "unchanged", "changed", "one file"):
            if step == "changed":
                change_tree(tree.path, 0)
                time.sleep(course.settle)
            for program in here:
                yield _take(course, program, rooms[program.name], line, step)
        for program in here:
            away = rooms[program.name].moved()
            away.home.mkdir(parents=True)
            program.meet(away, rooms[program.name])
            sample = _take(course, program, away, line, "one file, new machine")
            yield replace(sample, more=sample.more | {"exports": _export_bytes(server, away)})


def run_slow_line(course: Course, tree: Tree, leave: Leave) -> Iterator[Sample]:
    """First snapshots over a slow line, each into a new bucket."""
    time.sleep(course.settle)
    with serving(course.work / "server") as server, line_to(server, rate=RATE, round_trip=ROUND_TRIP) as line:
        for number in range(course.rounds):
            rooms = dict(_begin_all(course, tree, server, line, number, leave))
            for program in rotated([one for one in course.programs if one.name in rooms], number):
                yield _take(course, program, rooms[program.name], line, "first", "line")
            for room in rooms.values():
                shutil.rmtree(room.folder)


@contextlib.contextmanager
def line_to(server: Server, *, rate: float | None = None, round_trip: float = 0.0) -> Iterator[Line]:
    """A line that ends at a server."""
    target = urlsplit(server.endpoint).port
    assert target is not None
    with open_line(free_port(), target, rate=rate, round_trip=round_trip) as line:
        yield line


def _begin_all(
    course: Course, tree: Tree, server: Server, line: Line, number: int, leave: Leave
) -> Iterator[tuple[str, Room]]:
    for program in course.programs:
        bucket = Bucket(f"127.0.0.1:{line.port}", server.make_bucket(), server.access_key, server.secret_key)
        room = new_room(course.work / f"{program.name}-s3-{number}", tree.path, bucket)
        try:
            program.begin(room)
        except Lacks as why:
            leave(program.name, str(why))
        else:
            yield program.name, room


def _take(course: Course, program: Program, room: Room, line: Line, step: str, section: str = "network") -> Sample:
    target = room.folder / "target"
    target.mkdir()
    command = _command(program, room, step, target)
    line.reset()
    cost = measure(command, room.folder / f"{step}.log")
    shutil.rmtree(target)
    if cost.code != 0:
        course.say((room.folder / f"{step}.log").read_text(errors="replace")[-1000:])
    traffic = line.traffic
    more: dict[str, Any] = {
        "requests": dict(traffic.requests),
        "up": traffic.up,
        "down": traffic.down,
        "fullness": traffic.fullness(),
    }
    course.say(
        f"    {sum(traffic.requests.values())} requests, {traffic.up / 1e6:.3f} MB up, {traffic.down / 1e6:.3f} MB down"
    )
    return tell(course, Sample(section, step, program.name, 0, cost, 0, more))


def _export_bytes(server: Server, room: Room) -> int:
    """The sizes of the exports in a bucket of vaultpy's: what a new machine fetches once; 0 in a peer's."""
    assert room.bucket is not None
    with contextlib.closing(server.client()) as client:
        listed = client.list_objects_v2(Bucket=room.bucket.name, Prefix="vault/metadata/")
    return sum(one["Size"] for one in listed.get("Contents", ()) if one["Key"].endswith("/db.zst.age"))


def _command(program: Program, room: Room, step: str, target: Path) -> Command:
    if step.startswith("one file"):
        return program.restore_one(room, one_file(room.source), target)
    return program.snapshot(room)
