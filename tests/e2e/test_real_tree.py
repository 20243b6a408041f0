"""A real tree goes in, comes back elsewhere, and costs nothing the second time.

With VAULTPY_BIG=1 this is at least 100,000 files where they are (this Python's installation, /usr); otherwise a copy of
some 3,000 of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Host, MakePlace, describe, make_host, rsync_differences

BIG = os.environ.get("VAULTPY_BIG") == "1"
ENOUGH = 100_000 if BIG else 3_000
PLACES = ("/usr/share", sys.base_prefix, sys.prefix, "/usr/lib", "/usr/local", "/usr/include", "/usr/bin")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], int]:
    """Folders to snapshot, and how many paths are in them."""
    if BIG:
        return choose(PLACES)
    copy = tmp_path_factory.mktemp("real") / "tree"
    copy.mkdir()
    return [copy], copy_some(Path(os.__file__).parent, copy)


def choose(places: tuple[str, ...]) -> tuple[list[Path], int]:
    chosen: list[Path] = []
    total = 0
    for place in places:
        path = Path(place).resolve()
        if total >= ENOUGH or not path.is_dir() or any(path.is_relative_to(one) for one in chosen):
            continue
        chosen.append(path)
        total += sum(len(folders) + len(files) for _, folders, files in os.walk(path))
    return chosen, total


def copy_some(source: Path, target: Path, most: int = ENOUGH) -> int:
    copied = 0
    for where, folders, files in os.walk(source):
        folders.sort()
        (target / Path(where).relative_to(source)).mkdir(exist_ok=True)
        for name in sorted(files):
            path = Path(where, name)
            shutil.copy2(path, target / path.relative_to(source), follow_symlinks=False)
            copied += 1
            if copied == most:
                break
        if copied == most:
            break
    time.sleep(2.1)  # what is younger than two seconds is read again by the next run
    return copied


def rows(host: Host) -> tuple[int, int]:
    """Rows of files in the index: of anything but folders, and of folders."""
    with contextlib.closing(sqlite3.connect(host.state / "index.sqlite")) as connection:
        counts = connection.execute("SELECT sum(kind <> 2), sum(kind = 2) FROM files").fetchone()
    return int(counts[0]), int(counts[1])


def stored(host: Host) -> int:
    return int(host.must("--json", "store", "info").json["bytes"])


@contextlib.contextmanager
def timed(what: str, figures: dict[str, float]) -> Iterator[None]:
    began = time.monotonic()
    yield
    figures[what] = round(time.monotonic() - began, 1)


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_real_tree_comes_back_and_costs_nothing_the_second_time(
    tmp_path: Path,
    make_place: MakePlace,
    real: tuple[list[Path], int],
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths, count = real
    assert count >= ENOUGH or not BIG
    figures: dict[str, float] = {"paths": count}
    place = make_place(kind)
    host = make_host(tmp_path / "host", place.url, place.environment)
    host.init()
    with timed("first snapshot (s)", figures):
        first = host.create(*paths)
    assert first["problems"] == []
    before, weight = rows(host), stored(host)
    with timed("second snapshot (s)", figures):
        host.create(*paths)
    after, uploaded = rows(host), stored(host) - weight
    assert after[0] == before[0], "no row for what did not change"
    assert after[1] - before[1] <= 6, "nothing but the folders above, which belong to the whole machine"
    assert uploaded < 20_000
    target = tmp_path / "back"
    with timed("restore (s)", figures):
        host.restore(target)
    figures |= {
        "source (bytes)": first["bytes"],
        "store (bytes)": weight,
        "rows after the first": sum(before),
        "rows added by the second": sum(after) - sum(before),
        "uploaded by the second (bytes)": uploaded,
        "index (bytes)": (host.state / "index.sqlite").stat().st_size,
    }
    with capsys.disabled():
        if BIG:
            sys.stdout.write(f"\n{kind}: {figures}\n")
    for path in paths:
        back = target / path.relative_to("/")
        differences = rsync_differences(path, back)
        if differences is None:
            assert describe(back) == describe(path)
        else:
            assert only_privileges(differences, path) == []
    shutil.rmtree(target)


def only_privileges(differences: str, top: Path) -> list[str]:
    """What differs but for the modes of setuid and setgid files, which come back without their privilege."""
    left = []
    for line in differences.splitlines():
        change, _, name = line.partition(" ")
        path = top / name.strip()
        if change.startswith(".f...p") and path.exists() and path.stat().st_mode & 0o6000:
            continue
        left.append(line)
    return left


def test_a_hundred_changed_files_cost_an_export_of_less_than_100_kb(
    tmp_path: Path, real: tuple[list[Path], int]
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    count = copy_some(real[0][0], tree, 1000)
    host = make_host(tmp_path / "host", (tmp_path / "store").as_uri())
    host.init()
    host.create(tree)
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())[:100]
    for number, path in enumerate(files):
        path.chmod(0o644)
        path.write_text(f"changed {number}")
    made = host.create(tree)
    exports = tmp_path / "store" / "metadata" / made["snapshot"] / "db.zst.age"
    assert exports.stat().st_size < 100_000, count
