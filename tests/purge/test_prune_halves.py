"""Hosts that begin to publish one after the other while a prune looks: each is met in the middle of it once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from sites import KEY, Site
from spies import SpiedStore

from vaultpy.errors import DamageError
from vaultpy.manifest import Manifest, encode
from vaultpy.model import SnapshotId
from vaultpy.ops.removing.needs import LOOKS, Pardon
from vaultpy.ops.removing.prune import PruneOptions, PrunePlan, plan_prune
from vaultpy.signature import MANIFEST_NAMESPACE, sign
from vaultpy.store import names
from vaultpy.store.base import ObjectInfo


class BusyStore(SpiedStore):
    """At each of so many listings of metadata/ another host has put its signature, and the one before its manifest, too."""

    def __init__(self, site: Site, hosts: int) -> None:
        super().__init__(site.store)
        self._site, self._coming = site, [site.manifest([site.blob()]) for _ in range(hosts)]
        self._begun: Manifest | None = None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        if prefix == names.METADATA:
            if self._begun is not None:
                self._site.store.put(names.manifest_name(self._begun.snapshot), encode(self._begun))
            self._begun = self._coming.pop() if self._coming else None
            if self._begun is not None:
                signature = sign(KEY, encode(self._begun), MANIFEST_NAMESPACE)
                self._site.store.put(names.signature_name(self._begun.snapshot), signature)
        return super().list(prefix)


def plan(site: Site, hosts: int, *given_up: SnapshotId) -> PrunePlan:
    reader, options = site.reader(), PruneOptions(pardon=Pardon(given_up=frozenset(given_up)))
    return plan_prune(replace(reader, at=replace(reader.at, store=BusyStore(site, hosts))), options)


@pytest.mark.parametrize("hosts", range(LOOKS))
def test_one_host_after_the_other_that_is_just_publishing_stops_no_prune(memory: Site, hosts: int) -> None:
    memory.snapshot([memory.blob()])
    assert plan(memory, hosts).manifests == 1 + hosts


@pytest.mark.parametrize("hosts", range(LOOKS))
def test_what_is_given_up_does_not_end_the_looking(memory: Site, hosts: int) -> None:
    lost = memory.snapshot([memory.blob()])
    memory.store.delete(names.manifest_name(lost.snapshot))
    planned = plan(memory, hosts, lost.snapshot)
    assert (planned.manifests, planned.given_up) == (hosts, (lost.snapshot,))


def test_a_prune_does_not_look_for_ever(memory: Site) -> None:
    memory.snapshot([memory.blob()])
    with pytest.raises(DamageError, match="no manifest"):
        plan(memory, LOOKS)


def test_what_is_missing_twice_is_missing_whoever_publishes_beside_it(memory: Site) -> None:
    lost = memory.snapshot([memory.blob()])
    memory.store.delete(names.manifest_name(lost.snapshot))
    busy = BusyStore(memory, LOOKS)
    reader = memory.reader()
    with pytest.raises(DamageError, match=str(lost.snapshot)):
        plan_prune(replace(reader, at=replace(reader.at, store=busy)))
    assert busy.listings.count(names.METADATA) == 2
