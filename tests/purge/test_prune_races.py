"""Prunes and hosts at the same time: every way in which their steps can fall between each other.

A host is played by its two steps that matter: it puts a manifest that names an object it has long had, and looks again,
by the functions and in the order of the real second look.  Where that look is clean, the object must be there for good.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from sites import DAY, HOUR, Site, memory_site
from spies import SpiedStore

from vaultpy.model import BlobRef
from vaultpy.ops.removing.prune import apply_prune, plan_prune
from vaultpy.ops.survey import list_marked, listed_blobs
from vaultpy.store import names
from vaultpy.store.base import Store


@dataclass
class Scene:
    """A store with a due record that names an object of the host's, and another that nobody wants."""

    site: Site = field(default_factory=memory_site)
    wanted: BlobRef = field(init=False)
    clean: bool = False

    def __post_init__(self) -> None:
        self.wanted, unwanted = self.site.blob(), self.site.blob()
        self.site.pass_time(DAY + HOUR)
        self.record = self.site.record(blobs=(self.wanted.hash, unwanted.hash))
        self.site.pass_time(DAY + HOUR)

    def publish(self) -> None:
        self.site.snapshot([self.wanted])

    def look_again(self) -> None:
        marked = list_marked(self.site.store)
        self.clean = self.wanted.hash in {hash for hash, _ in listed_blobs(self.site.store) if hash not in marked.blobs}

    def prune(self, store: Store | None = None) -> None:
        reader = self.site.reader()
        store = store or self.site.store
        apply_prune(store, plan_prune(replace(reader, at=replace(reader.at, store=store))), os.urandom)

    def is_lost(self) -> bool:
        return self.clean and self.site.has(self.wanted) == [False]


def run(scene: Scene, *steps: tuple[int, Callable[[], None]]) -> None:
    """A prune, with each step before its call of that number, or after its end."""
    actions: dict[int, list[Callable[[], None]]] = {}
    for number, step in steps:
        actions.setdefault(number, []).append(step)
    spied = SpiedStore(scene.site.store, actions)
    scene.prune(spied)
    spied.run_late()


def calls_of_a_prune() -> int:
    scene = Scene()
    spied = SpiedStore(scene.site.store)
    scene.prune(spied)
    return spied.calls


CALLS = calls_of_a_prune()


@pytest.mark.parametrize("published", range(CALLS + 1))
def test_a_clean_second_look_during_a_prune_is_right(published: int) -> None:
    for looked in range(published, CALLS + 1):
        scene = Scene()
        run(scene, (published, scene.publish), (looked, scene.look_again))
        assert not scene.is_lost(), looked


@pytest.mark.parametrize("published", range(CALLS + 1))
def test_a_clean_second_look_during_two_prunes_is_right(published: int) -> None:
    for other in range(published, CALLS + 1):
        for first, second in itertools.permutations(("prune", "look_again")):
            scene = Scene()
            run(
                scene,
                (published, scene.publish),
                (other, getattr(scene, first)),
                (other, getattr(scene, second)),
            )
            assert not scene.is_lost(), (other, first)


def test_a_prune_reads_the_clock_then_records_then_manifests_then_objects() -> None:
    scene = Scene()
    spied = SpiedStore(scene.site.store, {0: [lambda: scene.site.pass_time(1)]})
    reader = scene.site.reader()
    plan = plan_prune(replace(reader, at=replace(reader.at, store=spied)))
    assert plan.window.now == scene.site.now
    assert spied.listings == [names.PURGES, names.METADATA, names.BLOBS]


def test_two_prunes_between_a_runs_listing_and_its_publishing_are_noticed() -> None:
    """The run listed the object before the first of them recorded it."""
    scene = Scene()
    scene.site.store.delete(scene.record)
    scene.prune()
    scene.site.pass_time(DAY + HOUR)
    scene.prune()
    scene.publish()
    scene.look_again()
    assert not scene.clean


def test_a_recorded_object_makes_the_second_look_unclean_though_it_is_there() -> None:
    scene = Scene()
    scene.publish()
    scene.look_again()
    assert not scene.clean
    assert scene.site.has(scene.wanted) == [True]


def test_a_prune_whose_record_is_gone_deletes_nothing() -> None:
    """Another prune ended it, and hosts see no warning any more."""
    scene = Scene()
    plan = plan_prune(scene.site.reader())
    assert plan.doomed.blobs == 2
    scene.site.store.delete(scene.record)
    assert apply_prune(scene.site.store, plan, os.urandom).deleted.blobs == 0


def test_a_prune_that_stood_still_until_its_record_was_void_deletes_nothing() -> None:
    scene = Scene()
    plan = plan_prune(scene.site.reader())
    scene.site.pass_time(DAY)
    assert apply_prune(scene.site.store, plan, os.urandom).deleted.blobs == 0
    assert names.parse_purge_name(scene.record) is not None
    assert scene.record in scene.site.listed()


def test_a_prune_looks_at_its_record_again_every_few_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultpy.ops.removing.prune.BATCH", 1)
    scene = Scene()
    plan = plan_prune(scene.site.reader())
    spied = SpiedStore(scene.site.store, {2: [lambda: scene.site.pass_time(DAY)]})
    # Record, clock, delete; then the time is over.
    assert apply_prune(spied, plan, os.urandom).deleted.blobs == 1
