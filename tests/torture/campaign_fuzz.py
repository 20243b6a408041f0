"""Campaign 9, "Fuzz": every reader of bytes that somebody else may have written, given true ones that were changed, and junk.

A reader answers, or raises an error of vaultpy's own; it takes neither long nor much memory.  Chance is Hypothesis's kind
of changes, by a seed that each case has in its name, so that a case is its own example.
"""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from campaigns import Campaign, Case, Outcome, Room, register
from fuzz_readers import Reader, make_readers
from machinevault import MachineVault, check_machine
from scene import Scene, Wrong, make_scene

from vaultpy.errors import VaultpyError

BATCH = 200
"""Inputs of a case."""

BATCHES = 60
"""Cases of each reader."""

SECONDS = 20
"""Of this process's own time for one input, after which a reader hangs."""

GROWTH = 300 * 1024
"""KiB by which the process may have grown after any input."""


@dataclass
class Stage:
    scene: Scene
    vault: MachineVault
    readers: dict[str, Reader]
    memory: int


def prepare(room: Room) -> Stage:
    if "stage" not in room.kept:
        scene = make_scene(room.folder / "machine")
        scene.keep()
        readers = {one.name: one for one in make_readers(scene, room.folder)}
        vault = MachineVault(scene, room.folder / "seen")
        signal.signal(signal.SIGVTALRM, _hangs)
        for one in readers.values():
            for sample in one.samples:
                one.read(sample)  # an honest one is read, or nothing here means anything
        room.kept["stage"] = Stage(scene, vault, readers, _memory())
    stage = room.kept["stage"]
    assert isinstance(stage, Stage)
    return stage


def close(room: Room) -> None:
    if "stage" in room.kept:
        prepare(room).vault.close()


def cases(room: Room) -> Iterator[Case]:
    for name in prepare(room).readers:
        for way in WAYS:
            for number in range(BATCHES // len(WAYS) * (3 if way == "changed" else 1)):
                yield Case(name, way, str(number))


def run_case(room: Room, case: Case) -> Outcome:
    stage = prepare(room)
    reader = stage.readers[case.operation]
    chance = room.random(case.name)
    for number in range(BATCH):
        data = WAYS[case.point](chance, reader.samples)
        try:
            _read(reader, data)
        except VaultpyError:
            continue
        except Wrong as wrong:
            raise Wrong(f"{case.name}, input {number}: {wrong}: {data[:200]!r} ({len(data)} bytes)") from wrong
    if _memory() - stage.memory > GROWTH:
        raise Wrong(f"I11 the process grew by {_memory() - stage.memory} KiB")
    report = check_machine(stage.vault, stage.scene, None, {}) if case.hit == "0" else None
    return Outcome(report, count=BATCH, figures={"KiB grown at most": _memory() - stage.memory})


def _read(reader: Reader, data: bytes) -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        reader.read(data)
    except (VaultpyError, Wrong):
        raise
    except Exception as error:
        raise Wrong(f"I12 {type(error).__name__}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _hangs(number: int, frame: FrameType | None) -> None:
    raise Wrong(f"I11 not done after {SECONDS} s")


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# Ways to make inputs.


def junk(chance: random.Random, samples: tuple[bytes, ...]) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 2, 16, 100, 1000, 70_000)))


def changed(chance: random.Random, samples: tuple[bytes, ...]) -> bytes:
    """A true one with a few changes."""
    data = bytearray(chance.choice(samples))
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        chance.choice(_CHANGES)(chance, data)
    return bytes(data)


def spliced(chance: random.Random, samples: tuple[bytes, ...]) -> bytes:
    """The beginning of one and the end of another."""
    one, other = chance.choice(samples), chance.choice(samples)
    return one[: chance.randint(0, len(one))] + other[chance.randint(0, len(other)) :]


def _flip(chance: random.Random, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(chance: random.Random, data: bytearray) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(b"\x00\xff\x80\n\r \"'{}[],:-09aAzZ/.=\\")


def _insert(chance: random.Random, data: bytearray) -> None:
    at = chance.randint(0, len(data))
    data[at:at] = chance.choice(_WORDS)


def _delete(chance: random.Random, data: bytearray) -> None:
    at = chance.randint(0, len(data))
    del data[at : at + chance.choice((1, 2, 16, 500))]


def _double(chance: random.Random, data: bytearray) -> None:
    at = chance.randint(0, len(data))
    part = bytes(data[at : at + chance.choice((1, 8, 100, 3000))])
    data[at:at] = part * chance.choice((1, 2, 50))


def _number(chance: random.Random, data: bytearray) -> None:
    """Four bytes of a binary format become an edge."""
    at = chance.randint(0, len(data))
    data[at : at + 4] = chance.choice(
        (b"\x00" * 4, b"\xff" * 4, b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"\x01\x00\x00\x00")
    )


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[chance.randint(0, len(data)) :]


_CHANGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip, _flip, _set, _set, _insert, _insert, _delete, _double, _number, _cut,
)  # fmt: skip

_WORDS = (
    b"\0", b"\n", b"\xff\xfe", b"null", b"-1", b"9" * 30, b"1e400", b"NaN", b'"\\ud800"', b"[" * 2000, b"{" * 2000, b"'" * 50,
    b"X'", b"NULL", b",", b"\xc0\x80", b"\x1b[2J", b"AGE-SECRET-KEY-1", b"-> scrypt AAAA 30\n", b"---", b"\x28\xb5\x2f\xfd",
    b"\x50\x2a\x4d\x18\xff\xff\xff\xff", b"\xb1\xea\x92\x8f", b"../", b"?region=", b"%00", b"[sources.x]\n", b'"""',
)  # fmt: skip

WAYS = {"changed": changed, "spliced": spliced, "junk": junk}

FUZZ_CAMPAIGN = register(
    Campaign(
        number=9,
        name="fuzz",
        promise="every reader of foreign bytes answers or raises an error of vaultpy's own, in bounded memory and time",
        cases=cases,
        run=run_case,
        wanted=400000,
        sample=45,
        close=close,
    )
)
