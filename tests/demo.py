"""The main job once, by the program itself: set up, two snapshots with a change between, verify, restore, compare.

Run by `make demo`.  Everything it makes lies in one folder; the source is only read.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 200 << 20
PROGRAM = Path(sys.executable).with_name("vaultpy")


class Demo:
    """The demo's folder, and the environment of a machine that knows nothing but it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.identity = folder / "identity.txt"
        self.changing = folder / "documents"
        self.restored = folder / "restored"

    def run(self, home: str, *arguments: str | Path) -> None:
        """Runs vaultpy as on the machine whose home is `home`, showing the command and what it says."""
        words = [str(word) for word in arguments]
        print(f"\n$ vaultpy {shlex.join(words)}", flush=True)
        place = self.folder / home
        place.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("VAULTPY_", "XDG_"))}
        began = time.monotonic()
        xdg = {"XDG_CONFIG_HOME": f"{place}/config", "XDG_STATE_HOME": f"{place}/state"}
        done = subprocess.run([PROGRAM, *words], check=False, env=kept | {"HOME": str(place)} | xdg)
        if done.returncode != 0:
            sys.exit(f"\nthe demo stops: exit code {done.returncode}")
        print(f"  ({time.monotonic() - began:.1f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, help="the folder to snapshot; it is only read")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where the demo works; emptied first")
    given = parser.parse_args()
    source = (given.source or default_source()).resolve()
    demo = Demo(given.folder.resolve())
    if not source.is_dir():
        sys.exit(f"{source}: no such folder")
    if demo.folder.is_relative_to(source):
        sys.exit(f"{demo.folder} lies inside {source}: choose another SRC")
    begin(demo, source)
    play(demo, source)


def default_source() -> Path:
    """Python's own library, or a part of it where the whole would take long."""
    library = Path(sysconfig.get_path("stdlib"))
    places = [library, library / "test", library / "encodings"]
    return next((place for place in places if place.is_dir() and is_small(place)), library)


def is_small(folder: Path) -> bool:
    total = 0
    for path in below(folder):
        total += path.lstat().st_size
        if total > MOST_BYTES:
            return False
    return True


def below(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        yield from (Path(where, name) for name in [*folders, *files])


def begin(demo: Demo, source: Path) -> None:
    shutil.rmtree(demo.folder, ignore_errors=True)
    demo.changing.mkdir(parents=True)
    regular = (path for path in below(source) if path.is_file() and not path.is_symlink())
    for number, path in zip(range(20), regular, strict=False):
        shutil.copy(path, demo.changing / f"{number:02} {path.name}")
    print(f"source: {source} (only read) and {demo.changing}, where the change will be")


def play(demo: Demo, source: Path) -> None:
    demo.run("host", "init", "--store", demo.store.as_uri(), "--new-identity", demo.identity)
    create = ("snapshot", "create", "--path", source, "--path", demo.changing, "--name", "demo")
    demo.run("host", *create)
    after_first = stored(demo.store)
    change(demo.changing)
    demo.run("host", *create)
    after_second = stored(demo.store)
    demo.run("host", "snapshot", "list")
    demo.run("host", "snapshot", "verify", "--deep", "--all", "--identity", demo.identity)
    print("\nas on another machine, that has only the store's URL and the identity:")
    restore = ("snapshot", "restore", "latest", demo.restored, "--store", demo.store.as_uri())
    demo.run("elsewhere", *restore, "--identity", demo.identity)
    for original in (source, demo.changing):
        compare(original, demo.restored / original.relative_to("/"))
    report(demo, (source, demo.changing), (after_first, after_second))


def change(folder: Path) -> None:
    edited, removed, renamed = sorted(folder.iterdir())[:3]
    edited.write_bytes(edited.read_bytes() + b"one more line\n")
    removed.unlink()
    renamed.rename(folder / "renamed")
    (folder / "new").write_text("written between the two snapshots\n")
    print(f"\nthe change, in {folder}: one file edited, one removed, one renamed, one new")


def compare(original: Path, restored: Path) -> None:
    """Every path of each against the other: kind, mode, owner, modification time, link target, every byte."""
    ours, theirs = ({path.relative_to(top) for path in below(top)} for top in (original, restored))
    different = sorted(ours ^ theirs)
    different += [path for path in sorted(ours & theirs) if differs(original / path, restored / path)]
    if different:
        sys.exit(f"\n{len(different)} paths of {original} differ in {restored}, among them {different[0]}")
    print(f"\ncompared with {original}: {len(ours)} paths, no difference")


def differs(one: Path, other: Path) -> bool:
    first, second = one.lstat(), other.lstat()
    for name in ("st_mode", "st_uid", "st_gid", "st_mtime_ns"):
        if getattr(first, name) != getattr(second, name):
            return True
    if stat.S_ISLNK(first.st_mode):
        return os.readlink(one) != os.readlink(other)
    return stat.S_ISREG(first.st_mode) and not filecmp.cmp(one, other, shallow=False)


def stored(store: Path) -> int:
    return sum(path.stat().st_size for path in below(store) if path.is_file())


def report(demo: Demo, sources: tuple[Path, ...], after: tuple[int, int]) -> None:
    raw = sum(path.lstat().st_size for source in sources for path in below(source) if path.is_file())
    print(f"\nthe source:                {megabytes(raw)}")
    print(f"stored by the first:       {megabytes(after[0])}, {100 * (1 - after[0] / raw):.0f} % saved")
    print(f"added by the second:       {megabytes(after[1] - after[0])}")
    print(f"two full copies would be:  {megabytes(2 * raw)}, {100 * (1 - after[1] / raw / 2):.0f} % saved")
    print(f"\nall of it lies in {demo.folder}; the store is the folder `store`, and `identity.txt` opens it")


def megabytes(size: int) -> str:
    return f"{size / 1e6:10.3f} MB"


if __name__ == "__main__":
    main()
