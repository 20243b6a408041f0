"""Objects looked at in processes: what is found is what threads of this process find."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import signal
from array import array
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from vaultpy.age import X25519Identity
from vaultpy.blob.frames import FrameBuilder, FrameCompressor
from vaultpy.blob.writer import BlobWriter
from vaultpy.chunker import hash_chunk
from vaultpy.errors import StoreError, VaultpyError
from vaultpy.index.inventory import NamedObject
from vaultpy.model import Places
from vaultpy.ops.checking import crew as crews
from vaultpy.ops.checking.check_process import CheckProcess, Place
from vaultpy.ops.checking.crew import Crew
from vaultpy.ops.checking.inspect import Job, Seen
from vaultpy.ops.checking.scrub import START_BYTES, START_CHUNKS, scrub, worth_processes
from vaultpy.store import names
from vaultpy.store.limit import line_of
from vaultpy.store.local import LocalStore, create_local
from vaultpy.store.memory import MemoryStore

SIZES = [1, 7, 300, 300, 20_000, 262_144, 700_000, 2_500_000, 40, 41]


@pytest.fixture(scope="module")
def identity() -> X25519Identity:
    return X25519Identity.generate(os.urandom)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return create_local(tmp_path / "store")


def put_blob(store: LocalStore, identity: X25519Identity, seed: int) -> Job:
    """A blob of chunks of all sizes, and the job that looks at all of them."""
    contents = [random.Random(f"{seed} {number}").randbytes(size) for number, size in enumerate(SIZES)]
    builder, compressor = FrameBuilder(), FrameCompressor(1)
    writer = BlobWriter([identity.recipient()], random=os.urandom)
    groups = [group for data in contents for group in builder.add(hash_chunk(data), data)]
    for group in [*groups, *builder.flush()]:
        writer.add(compressor.compress(group))
    sealed = writer.seal(last=True)
    store.put(names.blob_name(sealed.hash), b"".join(sealed.pieces))
    places = sorted(sealed.places(), key=lambda place: place.raw_offset)
    columns = (
        array("Q", (place.raw_offset for place in places)),
        array("Q", (place.size for place in places)),
        b"".join(place.hash for place in places),
    )
    return Job(NamedObject(names.blob_name(sealed.hash), sealed.size, sealed.hash), Places(*columns))


def spoil(store: LocalStore, name: str, at: int) -> None:
    path = Path(store.url.removeprefix("file://"), name)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def with_places(job: Job, **changed: Any) -> Job:
    assert job.places is not None
    return replace(job, places=replace(job.places, **changed))


def test_processes_find_what_threads_find(store: LocalStore, identity: X25519Identity) -> None:
    jobs = [put_blob(store, identity, seed) for seed in range(6)]
    spoil(store, jobs[1].object.name, 300_000)
    Path(store.url.removeprefix("file://"), jobs[2].object.name).unlink()
    places = jobs[3].places
    assert places is not None
    jobs[3] = with_places(jobs[3], hashes=places.hashes[:32] + bytes(32) + places.hashes[64:])
    jobs[4] = with_places(jobs[4], offsets=array("Q", [*places.offsets[:-1], 1 << 40]))
    jobs[5] = replace(jobs[5], places=None)
    with Crew() as crew:
        found = list(scrub(store, [identity], jobs, crew))
        assert len(crew._processes) == 2
    assert found == list(scrub(store, [identity], jobs))
    assert [one.object for one in found] == [job.object for job in jobs]
    assert [one.right for one in found] == [True, False, False, False, False, True]
    assert found[1].changed and found[1].bad
    assert found[2].lost is not None
    assert [places[1].raw_offset] == [place.raw_offset for place in found[3].bad]
    assert found[4].why == f"the blob has no raw byte {1 << 40}"


@pytest.mark.parametrize("call", ["send_bytes", "recv_bytes"])
def test_a_line_that_the_system_fails_is_said(
    store: LocalStore, identity: X25519Identity, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    job = put_blob(store, identity, 1)
    monkeypatch.setattr(Connection, call, fail)
    with (
        pytest.raises(VaultpyError, match="verifying process cannot be reached: no buffer space available"),
        Crew() as crew,
    ):
        list(scrub(store, [identity], [job], crew))


@pytest.mark.parametrize("beyond", [0, 1, 5_000_000])
def test_a_place_that_reaches_beyond_its_frame_is_bad_and_its_neighbours_are_not(
    store: LocalStore, identity: X25519Identity, beyond: int
) -> None:
    job = put_blob(store, identity, 0)
    assert job.places is not None
    sizes = array("Q", [*job.places.sizes[:-1], job.places.sizes[-1] + beyond])
    [seen] = scrub(store, [identity], [with_places(job, sizes=sizes)])
    assert len(seen.bad) == (1 if beyond else 0)


@pytest.mark.parametrize(("cores", "expected"), [(1, 0), (2, 2), (3, 3), (4, 4), (64, 4)])
def test_there_is_a_process_a_core_and_four_at_most(monkeypatch: pytest.MonkeyPatch, cores: int, expected: int) -> None:
    monkeypatch.setattr(crews, "usable_cores", lambda: cores)
    monkeypatch.setattr(crews, "CheckProcess", lambda seed: contextlib.nullcontext(seed))
    with Crew() as crew:
        assert crew.start() == crew.start() == (expected > 0)
        assert len(crew._processes) == expected


def test_a_store_that_processes_cannot_open_is_looked_at_here(store: LocalStore, identity: X25519Identity) -> None:
    with Crew() as crew:
        for one in (MemoryStore(lambda: 0), LocalStore(store.root, line_of(None, 1 << 20))):
            assert list(scrub(one, [identity], [], crew)) == []
        assert crew._processes == []


def test_much_is_a_number_of_chunks_or_of_bytes() -> None:
    for chunks, size in itertools.product((0, 1, START_CHUNKS, START_CHUNKS + 1), (0, START_BYTES, START_BYTES + 1)):
        much = chunks > START_CHUNKS or (chunks > 0 and size > START_BYTES)
        assert worth_processes(chunks, size) == much


def test_a_process_that_dies_ends_it_with_one_clear_line(store: LocalStore, identity: X25519Identity) -> None:
    job = put_blob(store, identity, 0)
    with CheckProcess(1) as process:
        process.tell(Place(store.url, (identity.to_text(),)))
        assert process.ask(job) == Seen(job.object, len(SIZES))
        process._process.send_signal(signal.SIGKILL)
        process._process.wait()
        with pytest.raises(VaultpyError, match="verifying process was killed by signal 9 before it was done"):
            process.ask(job)


def test_a_store_that_fails_in_a_process_fails_here(store: LocalStore, identity: X25519Identity) -> None:
    job = put_blob(store, identity, 0)
    path = Path(store.url.removeprefix("file://"), job.object.name)
    path.unlink()
    path.symlink_to(path)  # which no open goes through
    with Crew() as crew:
        for who in (None, crew):
            with pytest.raises(StoreError):
                list(scrub(store, [identity], [job], who))
