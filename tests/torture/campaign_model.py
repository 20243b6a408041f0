"""Campaign 8, "Model": the state machine of tests/model, and what it leaves out: holes, a store that is down, corruption, a
clock that jumps both ways.

A case is a few runs of fifty steps, by a seed of their own.  After each step that changed the store everything that a
snapshot needs is listed and the newest of each source comes back as the model has it; after some of them, and when a run
ends, every snapshot does, and every byte is verified.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

from campaigns import Campaign, Case, Outcome, Room, Violation, register
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from test_machine import VaultMachine, chosen_sources, is_file, numbers
from world import HOUR

from vaultpy.errors import StoreError, StoreUnavailable, VaultpyError
from vaultpy.events import ignore
from vaultpy.model import SnapshotId
from vaultpy.ops.checking.verify import VerifyRequest, verify
from vaultpy.ops.reading.catalog import Entry, read_catalog
from vaultpy.ops.reading.findings import Depth
from vaultpy.ops.restoring.restore import RestoreOptions, restore
from vaultpy.store import names

RUNS = 2000
STEPS = 50

TOGETHER = 8
"""Runs of a case, besides the first, in which Hypothesis always does the least that it can."""

WHOLE = 8
"""Of so many steps that changed the store one is followed by restores of everything."""


class TorturedMachine(VaultMachine):
    """The vault's model, and more that can happen to it."""

    looked = 0
    """Steps after which something was restored."""

    def check_what_is_there(self) -> None:
        self.looked += 1
        here = self.looked % 2 == 0
        whole = self.looked % WHOLE == 0
        for id in self.world.snapshots if whole else self.newest_ids():
            self.check_comes_back(id, here=here)
        self.check_verify(Depth.OPENED if whole else Depth.LISTED, here=here)

    def newest_ids(self) -> list[SnapshotId]:
        by_sequence = sorted(self.world.snapshots.items(), key=lambda item: item[1].seq)
        return list({known.source: id for id, known in by_sequence}.values())

    first: ClassVar[BaseException | None] = None
    """What failed first.  What Hypothesis says after it ran the same steps again can be something else: keys, ids and so the
    order of blobs are drawn anew."""

    def teardown(self) -> None:
        try:
            if sys.exc_info()[1] is None:  # else a step has failed, and what did is to be told
                self.check_everything()
        finally:
            failed = sys.exc_info()[1]
            if isinstance(failed, Exception) and not isinstance(failed, HypothesisException):
                TorturedMachine.first = TorturedMachine.first or failed
            super().teardown()

    def check_everything(self) -> None:
        self.adopt_decided()
        for id in self.world.snapshots:
            self.check_comes_back(id, here=False)
        self.check_verify(Depth.OPENED, here=False)

    @rule(which=numbers, size=st.sampled_from([1 << 16, 1 << 20, 3 << 20]))
    def make_sparse(self, which: int, size: int) -> None:
        """A hole at the end, and one that is punched by writing far behind it."""
        if (path := self.pick(which, is_file)) is not None and os.path.getsize(path) < size:
            os.truncate(path, size)
            with open(path, "r+b") as target:
                target.seek(size - 1)
                target.write(b"x")

    @rule(sources=chosen_sources, at=st.integers(1, 10))
    def create_while_the_store_goes_down(self, sources: tuple[str, ...], at: int) -> None:
        """From the n-th put on nothing answers; what was finished stays, and the next run goes on."""
        store, looks = self.world.store, self.world.looks()
        first = store.puts

        def refuse(number: int, name: str) -> None:
            if number >= first + at:
                raise StoreUnavailable("the store cannot be reached")

        store.before_put = refuse
        try:
            made = self.run(sources, False)
        except StoreError:
            if self.world.vault.paths.index.exists():
                self.world.note_decided(looks)
            self.dirty = True
        else:
            self.take_in(made, looks)
        finally:
            store.before_put = lambda number, name: None

    @rule(hours=st.sampled_from([-400, -30, -1, 1, 400]))
    def clock_jumps(self, hours: int) -> None:
        """This machine's and the store's together, as when somebody sets the time where both are one."""
        self.world.ahead += hours * HOUR

    @precondition(lambda self: self.world.snapshots)
    @rule(which=numbers, at=numbers, gone=st.booleans())
    def corrupt_and_heal(self, which: int, at: int, gone: bool) -> None:
        """A blob is spoiled, or away: verify names it, restores lose nothing in silence; then it comes back."""
        blobs = sorted(name for name in self.world.store.objects if name.startswith(names.BLOBS))
        if not blobs:
            return
        name = blobs[which % len(blobs)]
        data, modified = self.world.store.objects.pop(name)
        if not gone:
            spoiled = bytearray(data)
            spoiled[at * len(data) // 51] ^= 1 << at % 8
            self.world.store.objects[name] = bytes(spoiled), modified
        try:
            self.check_damage(name)
        finally:
            self.world.store.objects[name] = data, modified

    def check_damage(self, name: str) -> None:
        with self.world.reader() as reader:
            catalog = read_catalog(reader)
            # What only a partial snapshot needs, or one that another repaired and hides, no restore will ask for.
            needed = not self.needing(name).isdisjoint(one.id for one in catalog.entries)
            found = verify(reader, VerifyRequest(every=True, depth=Depth.HASHED), ignore).findings
            assert (name in {one.object for one in found}) >= needed, f"verify does not name {name}"
            for entry in self.two_of(catalog.entries, name):
                target = self.world.folder / "restored"
                try:
                    failed = restore(reader, entry, os.fsencode(target), RestoreOptions(), ignore).failed
                except VaultpyError as error:
                    raise AssertionError(f"a damaged blob refuses a whole restore: {error.message}") from error
                finally:
                    shutil.rmtree(target, ignore_errors=True)
                assert entry.id in self.needing(name) or not failed, "a snapshot lost what it does not need"

    def two_of(self, entries: Sequence[Entry], blob: str) -> list[Entry]:
        """One of those that need a blob and one of the others, as far as there are such."""
        needing = self.needing(blob)
        known = [one for one in entries if one.id in self.world.snapshots]
        return [
            *[one for one in known if one.id in needing][-1:],
            *[one for one in known if one.id not in needing][-1:],
        ]

    def needing(self, blob: str) -> set[object]:
        """The snapshots whose manifests name a blob."""
        from vaultpy.manifest import decode

        objects = self.world.store.objects
        manifests = [decode(data) for name, (data, _) in objects.items() if names.parse_manifest_name(name) is not None]
        return {one.snapshot for one in manifests if blob in {names.blob_name(ref.hash) for ref in one.blobs}}


def cases(room: Room) -> Iterator[Case]:
    for number in range(RUNS // TOGETHER):
        yield Case(f"{TOGETHER} runs", f"{STEPS} steps", str(number))


def run_case(room: Room, case: Case) -> Outcome:
    """A few runs of the machine; a failure is made no smaller, because its seed repeats it."""
    chance = room.random("model", case.hit).getrandbits(60)
    how = settings(
        max_examples=TOGETHER + 1,
        stateful_step_count=STEPS if not room.sample else 15,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    machine = seed(chance)(type("Seeded", (TorturedMachine,), {}))
    TorturedMachine.first = None
    try:
        run_state_machine_as_test(machine, settings=how)  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  whatever it is, the case has failed
        first = TorturedMachine.first or error
        where = traceback.extract_tb(first.__traceback__)[-1]
        raise Violation(
            f"seed {chance}: {type(first).__name__}: {first} ({where.name}, line {where.lineno})"
        ) from first
    return Outcome(count=TOGETHER)


MODEL_CAMPAIGN = register(
    Campaign(
        number=8,
        name="model",
        promise="in any order of changes, runs, deaths, purges, losses and clock jumps every snapshot comes back",
        cases=cases,
        run=run_case,
        wanted=2000,
        sample=2,
    )
)
