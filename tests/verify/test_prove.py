"""Large exports are proven sound without being loaded: never where loading them would find them wrong."""

from __future__ import annotations

import os
import random
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from damage import check, only
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import Machine

from vaultpy.errors import DamageError
from vaultpy.export import read_export
from vaultpy.index.db import Index, create_scratch
from vaultpy.index.digests import Digests, Group
from vaultpy.index.dump import HEADERS_DELTA
from vaultpy.index.examine import Unproven
from vaultpy.index.load import Expected, apply_export
from vaultpy.index.sound import check_sound, leave_entries
from vaultpy.index.thin import Thinner
from vaultpy.index.touched import Touched
from vaultpy.manifest import Manifest, decode
from vaultpy.model import BlobHash, Places
from vaultpy.ops.checking import gather
from vaultpy.ops.reading.chains import ChainReader
from vaultpy.ops.reading.findings import Damage, Depth, Verified
from vaultpy.ops.reading.moment import add_source
from vaultpy.store import names


@pytest.fixture
def proving(monkeypatch: pytest.MonkeyPatch) -> list[Manifest]:
    """Exports of any size are proven; what is read in full all the same is noted."""
    monkeypatch.setattr(gather, "PROVE_BYTES", 0)
    in_full: list[Manifest] = []
    read = ChainReader.read

    def noted(self: ChainReader, manifest: Manifest, identities: Any) -> Any:
        in_full.append(manifest)
        return read(self, manifest, identities)

    monkeypatch.setattr(ChainReader, "read", noted)
    return in_full


def fill(tree: Path) -> None:
    """Files of every kind that an export tells apart, and folders."""
    same = random.Random(0).randbytes(5_000)
    for folder in range(4):
        place = tree / f"folder {folder}" / "in it"
        place.mkdir(parents=True)
        for number in range(6):
            (place / f"file {number}").write_bytes(random.Random(f"{folder} {number}").randbytes(1_000 + number))
        (place / "same").write_bytes(same)
        (place / "empty").touch()
        (place / ("long" * 60)).write_bytes(b"a name of 240 bytes")
        (place / "link").symlink_to("file 1")
        os.link(place / "file 2", place / "second name")
        os.mkfifo(place / "pipe")
    (tree / "large").write_bytes(random.Random(1).randbytes(3_000_000))
    (tree / "large again").write_bytes(random.Random(1).randbytes(3_000_000))
    (tree / "marked").write_bytes(b"with an attribute")
    os.setxattr(tree / "marked", "user.mark", b"here")
    with (tree / "sparse").open("wb") as file:
        file.seek(3_000_000)
        file.write(same)


def change(tree: Path) -> None:
    """What every kind of change is."""
    (tree / "folder 0/in it/file 0").write_bytes(b"changed")
    (tree / "folder 0/in it/same").unlink()
    (tree / "folder 1/in it/same").write_bytes(b"not the same any more")
    for path in (tree / "folder 2/in it").iterdir():
        path.unlink()
    (tree / "folder 2/in it").rmdir()
    (tree / "folder 3").rename(tree / "folder 4")
    (tree / "folder 1/in it/file 1").rename(tree / "folder 1/moved")
    (tree / "new folder").mkdir()
    (tree / "new folder/new").write_bytes(b"new")
    (tree / "new folder/copy").write_bytes((tree / "large").read_bytes())
    (tree / "large").write_bytes(random.Random(2).randbytes(700_000))


def look(machine: Machine) -> Verified:
    return check(machine, Depth.OPENED)


def test_what_is_found_is_what_reading_in_full_finds(
    machine: Machine, proving: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(machine.tree)
    machine.snapshot()
    machine.snapshot()
    change(machine.tree)
    machine.snapshot()
    (machine.tree / "folder 1/in it/file 3").unlink()
    machine.snapshot()
    proven = look(machine)
    assert proven.exit_code == 0
    assert proving == [], "all were proven"
    monkeypatch.setattr(gather, "PROVE_BYTES", 1 << 60)
    assert look(machine) == proven
    assert len(proving) == 4


def test_processes_prove_what_is_proven_here(
    machine: Machine, proving: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(machine.tree)
    machine.snapshot()
    change(machine.tree)
    machine.snapshot()
    here = look(machine)
    monkeypatch.setattr("vaultpy.ops.checking.prove.START_BYTES", 0)
    monkeypatch.setattr("vaultpy.index.thin.PIECE", 2_500)
    assert look(machine) == here
    assert proving == []
    monkeypatch.setattr("vaultpy.index.touched.LIMIT", 10)
    assert look(machine) == here
    assert len(proving) == 2


def test_each_snapshot_is_proven_by_itself(machine: Machine, proving: list[Manifest]) -> None:
    fill(machine.tree)
    made = [machine.snapshot()]
    for number in range(3):
        (machine.tree / f"folder {number}/in it/file 5").unlink()
        made.append(machine.snapshot())
    for one in made:
        verified = check(machine, Depth.OPENED, snapshots=(str(one.id),))
        assert (verified.exit_code, verified.snapshots) == (0, (one.id,))
    assert proving == []


def test_an_object_is_fetched_once_though_its_exports_are_proven(machine: Machine, proving: list[Manifest]) -> None:
    fill(machine.tree)
    for _ in range(3):
        machine.snapshot()
        (machine.tree / "new").write_bytes(os.urandom(100))
    machine.store.forget_calls()
    look(machine)
    fetched = [name for name in machine.store.names_of("get") if name.endswith(".age") and "metadata/" in name]
    assert len(fetched) == len(set(fetched)) == 3


def test_a_bad_export_costs_no_snapshot_before_it(machine: Machine, proving: list[Manifest]) -> None:
    fill(machine.tree)
    made = []
    for _ in range(3):
        (machine.tree / "new").write_bytes(os.urandom(100))
        made.append(machine.snapshot())
    name = names.export_name(made[1].id)
    data = bytearray(machine.memory.objects[name][0])
    data[-1] ^= 1
    machine.memory.objects[name] = bytes(data), machine.memory.objects[name][1]
    verified = look(machine)
    finding = only(verified)
    assert (finding.kind, finding.object) == (Damage.CHANGED, name)
    assert set(finding.snapshots) == {made[1].id, made[2].id}
    assert verified.files == check(machine, Depth.OPENED, snapshots=(str(made[0].id),)).files > 0


def test_changes_that_name_too_much_are_read_in_full(
    machine: Machine, proving: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(machine.tree)
    machine.snapshot()
    change(machine.tree)
    machine.snapshot()
    monkeypatch.setattr("vaultpy.index.touched.LIMIT", 10)
    assert look(machine).exit_code == 0
    assert len(proving) == 2


class Sample:
    """A whole export of every kind of line, and two ways to judge others like it."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        snapshot = machine.snapshot()
        self.manifest = decode(machine.memory.objects[names.manifest_name(snapshot.id)][0])
        data = machine.memory.objects[names.export_name(snapshot.id)][0]
        self.lines = list(read_export([data], [machine.vault.host.index_key]))
        self._folder = folder

    def load(
        self,
        read: Callable[[list[bytes]], Iterator[bytes]],
        lines: list[bytes],
        changes: Sequence[bytes] = (),
        *,
        thin: bool,
    ) -> None:
        path = self._folder / "judged.sqlite"
        path.unlink(missing_ok=True)
        with create_scratch(path) as index:
            source = add_source(index, self.manifest)
            manifest = self.manifest
            expected = Expected(manifest.snapshot, manifest.source, manifest.host, manifest.sequence)
            with index.transaction():
                apply_export(index, read(lines), expected, source_id=source, whole=True, close_seq=None)
                if thin:
                    leave_entries(index, source)
                if changes:
                    apply_export(
                        index, [HEADERS_DELTA[0], *changes], expected, source_id=source, whole=False, close_seq=None
                    )
            check_sound(index, source)
            self.left = counts(index)

    def is_sound(self, lines: list[bytes], changes: Sequence[bytes] = ()) -> bool:
        try:
            self.load(iter, lines, changes, thin=False)
        except DamageError:
            return False
        return True

    def is_proven(
        self, lines: list[bytes], touched: Touched | None = None, piece: int = 3_000, changes: Sequence[bytes] = ()
    ) -> bool:
        places: list[tuple[BlobHash, Places]] = []

        def find(hashes: set[bytes]) -> Iterator[tuple[BlobHash, int, int, Any]]:
            for blob, found in places:
                for place in map(found.__getitem__, range(len(found))):
                    if place.hash in hashes:
                        yield blob, place.raw_offset, place.size, place.hash

        with Digests(self._folder, 3) as digests:
            thinner = Thinner(digests, lambda *one: places.append(one), find)

            def thin(lines: list[bytes]) -> Iterator[bytes]:
                text = b"".join(lines)
                pieces = (text[at : at + piece] for at in range(0, len(text), piece))
                return thinner.lines(pieces, touched or Touched(), self.manifest.sequence)

            try:
                self.load(thin, lines, changes, thin=True)
            except (DamageError, Unproven):
                return False
        self.left_out = thinner.files
        return True


def counts(index: Index) -> dict[str, int]:
    tables = ("files", "chunks", "directories", "file_chunks", "xattrs")
    return {table: int(index.value(f"SELECT count(*) FROM {table}")) for table in tables}


@pytest.fixture
def sample(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sample:
    fill(machine.tree)
    monkeypatch.setattr("vaultpy.index.thin.PIECE", 2_500)  # so that there are many
    return Sample(machine, tmp_path)


def test_most_files_are_left_out_and_nothing_is_lost(sample: Sample) -> None:
    assert sample.is_sound(sample.lines)
    whole = sample.left
    assert sample.is_proven(sample.lines)
    assert sample.left_out > 40
    assert sample.left["files"] + sample.left_out == whole["files"]
    assert sample.left["file_chunks"] == whole["file_chunks"] > 0
    assert sample.left["directories"] == whole["directories"]
    assert sample.left["files"] < whole["directories"]  # not even the directories' own
    assert sample.left["xattrs"] == whole["xattrs"] == 1
    assert sample.left["chunks"] < whole["chunks"] / 2


@pytest.mark.parametrize("table", [b"files", b"chunks", b"blobs", b"directories", b"file_chunks", b"xattrs"])
@pytest.mark.parametrize("how", ["left out", "twice", "at the end", "changed"])
def test_nothing_is_proven_that_is_not_sound(sample: Sample, table: bytes, how: str) -> None:
    """The first lines of a kind, the last, and some between, each by itself."""
    numbers = [at for at, line in enumerate(sample.lines) if line.startswith(b"INSERT INTO %s " % table)]
    proven = [
        lines[at]
        for at in {*numbers[:3], *numbers[-2:], *numbers[:: len(numbers) // 8 + 1]}
        for lines in spoilt(sample.lines, at, how)
        if sample.is_proven(lines) and not sample.is_sound(lines)
    ]
    assert numbers
    assert proven == []


def test_changes_that_take_a_directory_its_entry_are_not_proven(sample: Sample) -> None:
    """Its entry in the base was left out, so nothing but what is known of that can tell."""
    of_directories = [
        line for line in sample.lines if line.startswith(b"INSERT INTO directories ") and b"NULL" not in line
    ]
    of_files = {line[62:].split(b",")[1]: line for line in sample.lines if line.startswith(b"INSERT INTO files ")}
    for line in of_directories:
        id, source, parent, name = line[len(b"INSERT INTO directories VALUES (") : -3].split(b",")
        entry = of_files[name][26:61]
        again = b"INSERT INTO directories VALUES (%s,%s,%s,%%s);\n" % (id, source, parent)
        gone = b"DELETE FROM directories WHERE id = %s;\n" % id
        for changes, sound in (
            ([], True),
            ([b"DELETE FROM files WHERE id = %s;\n" % entry], False),
            ([gone, again % name], True),
            ([gone, again % b"X'6F74686572'"], False),
        ):
            touched = Touched()
            touched.add(b"".join(changes))
            assert sample.is_sound(sample.lines, changes) is sound
            assert sample.is_proven(sample.lines, touched, changes=changes) is sound


def spoilt(lines: list[bytes], at: int, how: str) -> Iterator[list[bytes]]:
    line, before, after = lines[at], lines[:at], lines[at + 1 :]
    if how == "left out":
        yield before + after
    elif how == "twice":
        yield [*before, line, line, *after]
    elif how == "at the end":
        yield [*before, *after, line]
    else:
        dice = random.Random(at)
        values = list(re.finditer(rb"X'[0-9A-F]*'|NULL|-?\d+", line))
        for one in dice.sample(values, min(3, len(values))):
            for new in dice.sample([b"NULL", b"0", b"-1", b"7", b"9223372036854775808", b"X''", b"X'2F'", b"X'61'"], 2):
                yield [*before, line[: one.start()] + new + line[one.end() :], *after]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_was_touched_is_not_left_out(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    sample = _shared(tmp_path_factory)
    files = [line for line in sample.lines if line.startswith(b"INSERT INTO files ")]
    chosen = data.draw(st.lists(st.sampled_from(files), max_size=8, unique=True))
    touched = Touched()
    for line in chosen:
        touched.add(b"DELETE FROM files WHERE id = %s;\n" % line[26:61])
    assert sample.is_proven(sample.lines, touched, piece=data.draw(st.sampled_from([100, 2_000, 10**6])))
    assert sample.left["files"] >= len(chosen)


_SHARED: dict[str, Sample] = {}


def _shared(factory: pytest.TempPathFactory) -> Sample:
    """One sample for all examples."""
    if not _SHARED:
        from machine import make_machine

        folder = factory.mktemp("sample")
        machine = make_machine(folder)
        fill(machine.tree)
        _SHARED["one"] = Sample(machine, folder)
    return _SHARED["one"]


def values(digests: list[int]) -> array[int]:
    return array("q", sorted(digests))


@pytest.mark.parametrize("parts", [0, 3, 64, 1_000])
def test_digests_agree_only_where_all_is_there_once_and_before_it_is_needed(tmp_path: Path, parts: int) -> None:
    dice = random.Random(3)
    many = [dice.getrandbits(64) - (1 << 63) for _ in range(5_000)] + [-(1 << 63), (1 << 63) - 1, 0, -1]
    with Digests(tmp_path, parts) as digests:
        for start in range(0, len(many), 700):
            for group in (Group.FILE, Group.PATH, Group.CHUNK, Group.SIZED, Group.NEEDED):
                digests.add(group, values(many[start : start + 700]))
        assert digests.agree()
    for group, more in ((Group.FILE, many[17]), (Group.PATH, many[-1]), (Group.CHUNK, many[-3])):
        with Digests(tmp_path, parts) as digests:
            digests.add(group, values(many))
            digests.add(group, values([more]))
            assert not digests.agree()
    with Digests(tmp_path, parts) as digests:
        digests.add(Group.NEEDED, values(many[5:6]))
        digests.add(Group.SIZED, values(many))
        assert not digests.agree()
    with Digests(tmp_path, parts) as digests:
        digests.add(Group.FOLDER, values(many))
        digests.add(Group.USED, values([5]))
        assert not digests.agree()
    assert list(tmp_path.iterdir()) == []
