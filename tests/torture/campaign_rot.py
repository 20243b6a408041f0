"""Campaign 5, "Rot": bits that flip, objects that are cut, swapped, brought back from earlier, or gone.

Three kinds of cases:

* every bit of every object of a small vault, 64 bytes to a case, and every length to which one can be cut: what reads the
  object is asked in this process, and answers with the right bytes, or with an error of vaultpy's own;
* objects cut (to lengths all over them, and around multiples of 64 KiB), swapped, replayed, missing singly and in pairs, and
  single flipped bits: restored whole, verified at every depth, and looked at by plain tools;
* what is damaged costs the files that need it (I8), is named (I6), and found by `verify` (I7).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from campaigns import Campaign, Case, Outcome, Room, register
from machinevault import MachineVault, check_machine
from rot_readers import Read, readers_of
from scene import Scene, Wrong, make_machine

from vaultpy.errors import UsageError, VaultpyError
from vaultpy.manifest import decode
from vaultpy.model import BlobHash, SnapshotId
from vaultpy.ops.reading.catalog import Entry, read_catalog
from vaultpy.ops.reading.findings import Depth
from vaultpy.ops.reading.reader import Reader
from vaultpy.store import names

SPAN = 64
"""Bytes whose bits are flipped in one case."""

FULL = 2400
"""Single bits with which the whole of a restore and of a verification is done."""

PIECE = 64 * 1024

Objects = dict[str, tuple[bytes, int]]
"""By name: bytes, and when they were put."""

Rot = Callable[[Objects], None]
"""Spoils the objects of a store."""


Change = Callable[[bytes, int], Iterator[bytes]]
"""The bytes of an object, each time with one change somewhere in the SPAN from a place on."""

Span = tuple[Change, str, int]


@dataclass
class Stage:
    """The vault, its objects when they were whole, and what every case does to them."""

    scene: Scene
    vault: MachineVault
    objects: Objects
    rots: dict[Case, Rot]
    spans: dict[Case, Span]
    needs: dict[SnapshotId, set[str]]
    read: dict[str, Read] = field(default_factory=dict)


def prepare(room: Room) -> Stage:
    if "stage" not in room.kept:
        scene = make_small_scene(room)
        objects = dict(scene.machine.memory.objects)
        stage = Stage(scene, MachineVault(scene, room.folder / "seen"), objects, {}, {}, all_needs(objects))
        stage.rots = dict(all_rots(room, objects))
        stage.spans = {
            Case(what, kind_of(name, objects), f"{name_of(name, objects)} from {start}"): (change, name, start)
            for what, change in (("flip every bit", every_bit), ("cut to every length", every_length))
            for name, (data, _) in objects.items()
            for start in range(0, len(data), SPAN)
        }
        stage.read = readers_of(scene, objects)
        room.kept["stage"] = stage
    stage = room.kept["stage"]
    assert isinstance(stage, Stage)
    return stage


def make_small_scene(room: Room) -> Scene:
    """Two snapshots of a few small files, and one file whose blob is of several pieces of age's."""
    machine = make_machine(room.folder / "machine")
    machine.configure(blob_size=1 << 18)
    scene = Scene(machine)
    (machine.folder / "other").mkdir()
    (machine.folder / "other" / "alone").write_bytes(b"of another source")
    (machine.tree / "folder").mkdir()
    (machine.tree / "folder" / "small").write_bytes(b"small " * 40)
    (machine.tree / "folder" / "twin").write_bytes(b"another ")
    (machine.tree / "empty").write_bytes(b"")
    (machine.tree / "link").symlink_to("folder/small")
    scene.create()
    (machine.tree / "folder" / "large").write_bytes(room.random("large").randbytes(70_000))
    scene.create("tree")
    scene.keep()
    return scene


def large_blob(objects: Objects) -> str:
    return max(objects, key=lambda name: len(objects[name][0]))


def kind_of(name: str, objects: Objects) -> str:
    """What an object is, in a word."""
    ends = {"db.zst.age": "export", "manifest.json.zst": "manifest", "manifest.json.zst.sig": "signature"}
    end = name.rsplit("/", 1)[-1]
    if name == large_blob(objects):
        return "large blob"
    return ends.get(end) or {"blobs": "blob", "keys": "key", "purges": "record"}.get(name.split("/")[0], "settings")


def name_of(name: str, objects: Objects) -> str:
    """A name that is the same in every vault: the kind, and which of that kind it is, oldest first."""
    kind = kind_of(name, objects)
    same = sorted((one for one in objects if kind_of(one, objects) == kind), key=lambda one: (objects[one][1], one))
    return f"{kind} {same.index(name)}"


def all_rots(room: Room, objects: Objects) -> Iterator[tuple[Case, Rot]]:
    """Every case with the whole of a restore."""
    named = {name_of(name, objects): name for name in sorted(objects)}
    yield from _flips(room, objects, named)
    for short, name in named.items():
        size = len(objects[name][0])
        for length in cut_lengths(size):
            yield Case("cut", kind_of(name, objects), f"{short} to {length} of {size}"), _cut(name, length)
        yield Case("cut", kind_of(name, objects), f"{short} and a byte more"), _longer(name)
        yield Case("missing", "one", short), _missing(name)
    for (one, first), (other, second) in combinations(named.items(), 2):
        yield Case("missing", "two", f"{one} and {other}"), _missing(first, second)
        yield Case("swapped", "two", f"{one} and {other}"), _swapped(first, second)
        if kind_of(first, objects) == kind_of(second, objects):
            yield Case("replayed", kind_of(first, objects), f"{one} as {other}"), _replayed(first, second)
            yield Case("replayed", kind_of(first, objects), f"{other} as {one}"), _replayed(second, first)
    folders = sorted({name.rsplit("/", 1)[0] for name in objects if name.startswith(names.METADATA)})
    for number, (first, second) in enumerate(combinations(folders, 2)):
        yield Case("replayed", "folder", f"{number}, the first as the second"), _replayed_folder(first, second)
        yield Case("replayed", "folder", f"{number}, the second as the first"), _replayed_folder(second, first)


def _flips(room: Room, objects: Objects, named: Mapping[str, str]) -> Iterator[tuple[Case, Rot]]:
    """Bits spread over all objects alike, the small ones in full sooner than the large."""
    chance = room.random("bits")
    each = -(-FULL // len(named))
    for short, name in named.items():
        bits = len(objects[name][0]) * 8
        for bit in sorted(chance.sample(range(bits), min(each, bits))):
            yield Case("flip", kind_of(name, objects), f"{short} bit {bit} of {bits}"), _flipped(name, bit)


def cut_lengths(size: int) -> list[int]:
    """The first 32 and the last, every 23rd up to 8 KiB, and those around multiples of 64 KiB and of a sealed piece."""
    near = {edge + off for piece in (PIECE, PIECE + 16) for edge in range(0, size + 1, piece) for off in range(-2, 18)}
    some = {*range(32), *range(0, min(size, 8192), 23), *range(max(0, size - 32), size)}
    return sorted(length for length in near | some if 0 <= length < size)


def _cut(name: str, length: int) -> Rot:
    def rot(objects: Objects) -> None:
        objects[name] = objects[name][0][:length], objects[name][1]

    return rot


def _longer(name: str) -> Rot:
    def rot(objects: Objects) -> None:
        objects[name] = objects[name][0] + b"\n", objects[name][1]

    return rot


def _flipped(name: str, bit: int) -> Rot:
    def rot(objects: Objects) -> None:
        data, modified = objects[name]
        objects[name] = flip(data, bit), modified

    return rot


def _missing(*gone: str) -> Rot:
    def rot(objects: Objects) -> None:
        for name in gone:
            del objects[name]

    return rot


def _swapped(one: str, other: str) -> Rot:
    def rot(objects: Objects) -> None:
        objects[one], objects[other] = objects[other], objects[one]

    return rot


def _replayed(one: str, other: str) -> Rot:
    def rot(objects: Objects) -> None:
        objects[other] = objects[one][0], objects[other][1]

    return rot


def _replayed_folder(one: str, other: str) -> Rot:
    """All that lies in one folder of metadata/ in the place of another's."""

    def rot(objects: Objects) -> None:
        for name in [name for name in objects if name.startswith(other + "/")]:
            del objects[name]
        for name in [name for name in objects if name.startswith(one + "/")]:
            objects[name.replace(one, other)] = objects[name]

    return rot


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def all_needs(objects: Objects) -> dict[SnapshotId, set[str]]:
    """Whatever a snapshot's restore may have to read, by its manifest when that was whole."""
    found = {}
    for name, (data, _) in objects.items():
        if names.parse_manifest_name(name) is not None:
            said = decode(data)
            own = {name, name + ".sig", names.CONFIG, *(one for one in objects if one.startswith(names.KEYS))}
            blobs = {names.blob_name(ref.hash) for ref in said.blobs}
            found[said.snapshot] = own | blobs | {names.export_name(ref.id) for ref in said.exports}
    return found


def run_case(room: Room, case: Case) -> Outcome:
    stage = prepare(room)
    if case in stage.spans:
        return read_changed(stage, *stage.spans[case])
    scene = stage.scene
    scene.reset()
    objects = scene.machine.memory.objects
    stage.rots[case](objects)
    damaged = {name for name in stage.objects.keys() | objects.keys() if objects.get(name) != stage.objects.get(name)}
    try:
        scene.reopen()
    except VaultpyError:
        return Outcome()  # what vaultpy.json has become is no vaultpy store, and it says so
    lost = check_restores(stage, damaged)
    check_verify(stage, damaged)
    report = check_machine(stage.vault, scene, None, {}, damaged=damaged)
    return Outcome(report, figures={"files lost at most": lost})


def every_bit(data: bytes, start: int) -> Iterator[bytes]:
    return (flip(data, bit) for bit in range(start * 8, min(start + SPAN, len(data)) * 8))


def every_length(data: bytes, start: int) -> Iterator[bytes]:
    return (data[:length] for length in range(start, min(start + SPAN, len(data))))


def read_changed(stage: Stage, change: Change, name: str, start: int) -> Outcome:
    """Every change of 64 bytes of an object: whoever reads it notices, or gives the right answer all the same."""
    data = stage.objects[name][0]
    read = stage.read[kind_of(name, stage.objects).removeprefix("large ")]
    right = read(name, data)
    count = 0
    for changed in change(data, start):
        count += 1
        try:
            found = read(name, changed)
        except VaultpyError:
            continue
        if found != right:
            raise Wrong(f"I6 {name} with change {count} from {start} on is read as something else")
    return Outcome(count=count)


def check_restores(stage: Stage, damaged: set[str]) -> int:
    """I6, I8: every snapshot comes back whole but for files that need something damaged, or is refused with a reason.
    Returns how many files one of them lost at most."""
    lost = 0
    for here in (False, True):
        with stage.scene.reader(here=here) as reader:
            for entry in read_catalog(reader).entries:
                if entry.id in stage.scene.told:
                    lost = max(lost, check_restore(stage, reader, entry, damaged & stage.needs[entry.id]))
    shutil.rmtree(stage.scene.machine.folder / "back", ignore_errors=True)
    return lost


def check_restore(stage: Stage, reader: Reader, entry: Entry, hurt: set[str]) -> int:
    try:
        restored, target = stage.scene.restore(entry, reader)
    except VaultpyError as error:
        if all(one.startswith(names.BLOBS) for one in hurt):
            raise Wrong(
                f"I8 {entry.id} could come back but for what lies in {sorted(hurt)}: {error.message}"
            ) from error
        return 0
    if restored.snapshot != entry.id:
        raise Wrong(f"I6 asked for {entry.id}, got {restored.snapshot}")
    stage.scene.check_restored(restored, target)
    hit = paths_in(stage, entry, hurt)
    more = {path for path, _ in restored.failed} - hit
    if more:
        raise Wrong(f"I8 {sorted(more)[0]!r} lies in no damaged blob, and did not come back")
    return len(restored.failed)


def paths_in(stage: Stage, entry: Entry, hurt: set[str]) -> set[bytes]:
    """The files that need one of these blobs, by the index as it was."""
    rows = stage.scene.machine.rows(_PATHS, entry.source.bytes, entry.seq)
    return {bytes(path) for path, hash in rows if names.blob_name(BlobHash(hash)) in hurt}


_PATHS = """
    WITH RECURSIVE paths(id, path) AS (
        SELECT d.id, CAST('/' AS BLOB) FROM directories d JOIN sources s ON s.id = d.source_id
        WHERE d.parent_id IS NULL AND s.uuid = ?1
        UNION ALL SELECT d.id, CAST(p.path || d.name || '/' AS BLOB) FROM directories d JOIN paths p ON d.parent_id = p.id)
    SELECT CAST(p.path || f.name AS BLOB), b.hash FROM files f JOIN paths p ON p.id = f.directory_id
    JOIN file_content t ON t.file_id = f.id JOIN chunks c ON c.id = t.chunk_id JOIN blobs b ON b.id = c.blob_id
    JOIN runs r ON r.no = f.id >> 32 WHERE r.seq <= ?2 AND (f.last_seq IS NULL OR f.last_seq >= ?2)"""


def check_verify(stage: Stage, damaged: set[str]) -> None:
    """I7: by bytes and with the key every damaged object that is needed is named; by listing what is gone or of another
    size, and whatever of a manifest is wrong."""
    objects = stage.scene.machine.memory.objects
    wanted = findable(stage, objects, damaged)
    for depth in Depth:
        try:
            named = {one.object for one in stage.scene.verify(depth)}
        except UsageError:
            continue  # nothing says that there ever was a snapshot
        seen_by_listing = {name for name in wanted if is_listed_otherwise(stage, objects, name)}
        unseen = {one for one in (wanted if depth > Depth.LISTED else seen_by_listing) if not is_named(one, named)}
        if unseen:
            raise Wrong(f"I7 verify at depth {depth} does not name {sorted(unseen)[0]}, only {sorted(named)}")


def findable(stage: Stage, objects: Objects, damaged: set[str]) -> set[str]:
    """Damaged objects of which something in the store still tells: what whole manifests need, and manifests of which one
    half is there."""
    found: set[str] = set()
    for id, needed in stage.needs.items():
        manifest = {names.manifest_name(id), names.signature_name(id)}
        if not manifest & damaged:
            found |= needed & damaged
        elif manifest & objects.keys():
            found |= manifest & damaged
    return found


def is_listed_otherwise(stage: Stage, objects: Objects, name: str) -> bool:
    """Whether a listing can tell: a manifest is always read, a blob or export only by its size."""
    if not name.startswith(names.BLOBS) and names.parse_export_name(name) is None:
        return True
    return name not in objects or len(objects[name][0]) != len(stage.objects[name][0])


def is_named(name: str, named: set[str]) -> bool:
    """A signature is named as its manifest, a form of a key by its folder; with another store id in vaultpy.json, all
    manifests are another store's."""
    if name == names.CONFIG:
        return bool(named)
    if name.startswith(names.KEYS):
        return any(one.startswith(names.KEYS) for one in named)
    return name.removesuffix(".sig") in named


def close(room: Room) -> None:
    if "stage" in room.kept:
        prepare(room).vault.close()


ROT_CAMPAIGN = register(
    Campaign(
        number=5,
        name="rot",
        promise="whatever becomes of the bytes in a store, what is restored is right, or is named as lost",
        cases=lambda room: [*prepare(room).rots, *prepare(room).spans],
        run=run_case,
        sample=18,
        close=close,
    )
)
