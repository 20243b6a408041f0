"""A bucket that keeps what was deleted or overwritten: a restore finds the version whose hash is right."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from machine import Machine
from s3server import Server, serve_minio

sys.path.insert(0, str(Path(__file__).parents[1] / "verify"))  # before their modules are imported below
sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from damage import flip, lose
from hosts import Host

from vaultpy.errors import ObjectNotFound, StoreDenied
from vaultpy.events import Noticed
from vaultpy.ops.restoring.restore import Restored, RestoreOptions, restore
from vaultpy.store import names
from vaultpy.store.memory import MemoryStore
from vaultpy.store.versions import ObjectVersion


class Keeping:
    """A store that shows what another has, and keeps versions."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner, self.url = inner, inner.url
        self.put, self.get, self.stat, self.list = inner.put, inner.get, inner.stat, inner.list
        self.delete, self.clock = inner.delete, inner.clock
        self.kept = dict(inner.objects)
        self.fetched: list[str] = []
        self.denied = False

    def list_versions(self, prefix: str) -> Iterator[ObjectVersion]:
        if self.denied:
            raise StoreDenied("list versions: access denied")
        for name, (data, modified) in sorted(self.kept.items()):
            if name.startswith(prefix):
                yield ObjectVersion(name, "rubbish", len(data), modified + 1, False)
                yield ObjectVersion(name, "right", len(data), modified, False)

    def get_version(self, version: ObjectVersion) -> bytes:
        self.fetched.append(version.name)
        if version.name not in self.kept:
            raise ObjectNotFound("no such version")
        data = self.kept[version.name][0]
        return data if version.id == "right" else bytes(len(data))

    def is_locked(self, version: ObjectVersion, now: int) -> bool:
        return False


def bring_back(machine: Machine, store: Keeping) -> Restored:
    reader = machine.reader()
    reader = replace(reader, at=replace(reader.at, store=store))
    return restore(
        reader, machine.newest(), os.fsencode(machine.folder / "back"), RestoreOptions(), machine.events.append
    )


@pytest.mark.parametrize("what", ["blobs/", "metadata/"])
@pytest.mark.parametrize("how", ["lost", "bad"])
def test_what_was_deleted_or_overwritten_comes_out_of_its_versions(machine: Machine, what: str, how: str) -> None:
    machine.snapshot()
    store = Keeping(machine.memory)
    victims = [name for name in machine.objects(what) if name.endswith("db.zst.age") or what == names.BLOBS]
    for name in victims:
        lose(machine, name) if how == "lost" else flip(machine, name, 500)
    machine.events.clear()
    assert bring_back(machine, store).failed == ()
    assert set(store.fetched) == set(victims)
    assert not [event for event in machine.events if isinstance(event, Noticed)], "nothing will be missing"


def test_no_version_is_asked_for_where_all_is_well(machine: Machine) -> None:
    machine.snapshot()
    store = Keeping(machine.memory)
    assert bring_back(machine, store).failed == ()
    assert store.fetched == []


def test_who_may_not_see_versions_restores_what_there_is(machine: Machine) -> None:
    machine.snapshot()
    store = Keeping(machine.memory)
    store.denied = True
    lose(machine, *machine.objects(names.BLOBS))
    assert len(bring_back(machine, store).failed) == 6


@pytest.fixture
def minio(tmp_path: Path) -> Iterator[Server]:
    if shutil.which("minio") is None:
        pytest.skip("minio is not on PATH: versions are tried on the model alone")
    with serve_minio(tmp_path / "minio") as server:
        yield server


def test_a_bucket_with_versions_gives_back_what_somebody_replaced_and_deleted(tmp_path: Path, minio: Server) -> None:
    bucket = f"test-{secrets.token_hex(6)}"
    client = minio.client()
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    home = tmp_path / "home"
    home.mkdir()
    host = Host(home, minio.url(bucket, "p"), minio.environment)
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(3):
        (tree / f"file{number}").write_bytes(os.urandom(100_000))
        host.init() if number == 0 else None
        host.create(tree)
    keys = [one["Key"] for one in client.list_objects_v2(Bucket=bucket, Prefix="p/blobs/")["Contents"]]
    client.put_object(Bucket=bucket, Key=keys[0], Body=b"rubbish")
    client.delete_object(Bucket=bucket, Key=keys[1])
    client.close()
    host.restore(tmp_path / "back")
    for number in range(3):
        back = tmp_path / "back" / tree.relative_to("/") / f"file{number}"
        assert back.read_bytes() == (tree / f"file{number}").read_bytes()
