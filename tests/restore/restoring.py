"""A machine with one snapshot, restored and looked at."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from machine import Machine, fill, make_machine

from vaultpy.ops.restoring.restore import Restored, RestoreOptions, restore
from vaultpy.source.apply import ApplyOptions


@dataclass
class Site:
    """A machine with one snapshot, and a target that it is restored to."""

    machine: Machine
    target: Path

    @property
    def back(self) -> Path:
        return self.target / self.machine.tree.relative_to("/")

    def restore(self, *paths: Path, **options: object) -> Restored:
        named = tuple(os.fsencode(path) for path in paths)
        flags = {name: bool(options.pop(name, default)) for name, default in (("privileges", True), ("sparse", False))}
        apply = ApplyOptions(**flags)  # type: ignore[arg-type]
        asked = RestoreOptions(named, apply, **options)  # type: ignore[arg-type]
        return restore(
            self.machine.reader(), self.machine.newest(), os.fsencode(self.target), asked, lambda event: None
        )

    def fetched(self, work: Callable[[], object]) -> int:
        """Bytes of blobs that some work fetches."""
        sizes: list[int] = []

        def count(name: str, start: int, data: bytes) -> bytes:
            if name.startswith("blobs/"):
                sizes.append(len(data))
            return data

        self.machine.store.changed_on_get = count
        try:
            work()
        finally:
            self.machine.store.changed_on_get = lambda name, start, data: data
        return sum(sizes)


def make_site(folder: Path, size: int) -> Site:
    """`size`: bytes of the file `large`."""
    machine = make_machine(folder)
    fill(machine.tree)
    (machine.tree / "large").write_bytes(os.urandom(size))
    os.link(machine.tree / "folder0/file0", machine.tree / "second name")
    os.utime(machine.tree / "large", ns=(10**18, 10**18))
    machine.snapshot()
    return Site(machine, folder / "target")
