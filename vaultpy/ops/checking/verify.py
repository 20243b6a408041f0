"""`snapshot verify`: is what snapshots need there, whole, and what was stored?

    manifests → their objects, each once → listing → every byte → which files it costs

One listing of metadata/ and one of blobs/ serve all snapshots together, and no object is fetched twice because several
share it.  What disappears meanwhile because its snapshot was removed is no damage.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from vaultpy.errors import NoIdentity, StoreFormatError, UsageError
from vaultpy.events import OnEvent, StepAdvanced, StepBegan
from vaultpy.index.at import Moment
from vaultpy.index.content import files_at_places
from vaultpy.index.db import Index, create_scratch
from vaultpy.index.homes import has_moved
from vaultpy.index.inventory import Inventory
from vaultpy.index.snapshots import State, find_snapshot, source_id_of
from vaultpy.manifest import Manifest
from vaultpy.model import SnapshotId
from vaultpy.ops.checking.crew import Crew
from vaultpy.ops.checking.gather import Gatherer, compare_keys
from vaultpy.ops.checking.inspect import Job, Seen
from vaultpy.ops.checking.prove import Means, has_large
from vaultpy.ops.checking.scrub import scrub, worth_processes
from vaultpy.ops.reading.catalog import Broken, Catalog, Entry, read_catalog, sources_of
from vaultpy.ops.reading.chains import BadExport, ChainReader
from vaultpy.ops.reading.checked import EVERYTHING, Share, leave_in, remember
from vaultpy.ops.reading.choose import read_tree
from vaultpy.ops.reading.findings import PATHS_NAMED, Damage, Depth, Fault, Faults, Finding, Verified
from vaultpy.ops.reading.look import of_source
from vaultpy.ops.reading.manifests import read_manifests
from vaultpy.ops.reading.moment import scratch_folder
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.reading.resolve import resolve_snapshot
from vaultpy.ops.survey import list_marked
from vaultpy.store import names

REPORT_BYTES = 16 * 1024 * 1024

LEAST_PREFIX = 4
"""Letters of an id that name a broken snapshot, as they do a whole one."""


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """`snapshots` as people name them; without any the newest of each source, or with `every` all; `source` leaves out
    other sources; `share`: which of the objects are read, of those that `depth` means to read."""

    snapshots: tuple[str, ...] = ()
    every: bool = False
    source: str | None = None
    depth: Depth = Depth.LISTED
    share: Share = EVERYTHING


def verify(
    reader: Reader, request: VerifyRequest, on_event: OnEvent, *, clock: Callable[[], int] = time.time_ns
) -> Verified:
    """Look at snapshots; damage comes back as findings, and a host's index remembers it (the only thing that changes).

    Raises UsageError for a name that says nothing, NoIdentity for Depth.OPENED without any identity, StoreError where the
    store fails.
    """
    if request.depth == Depth.OPENED and reader.identities is None:
        raise NoIdentity("no identity was given", hint="give --identity FILE, or set VAULTPY_IDENTITY")
    catalog = read_catalog(reader)
    entries, broken = _choose(catalog, request)
    large = request.depth == Depth.OPENED and has_large(catalog.metadata)
    with (
        Crew(at_once=large) as crew,  # they start while we read manifests
        scratch_folder() as folder,
        create_scratch(folder / "inventory.sqlite") as scratch,
        contextlib.closing(ChainReader(reader.at.store, folder)) as rows,
    ):
        means = Means(reader.at.store, folder, Inventory(scratch), crew)
        run = _Verification(reader, catalog, request, means, rows)
        run.look(entries, broken, clock(), on_event)
        run.remember(clock())
        return run.result(whole=not request.snapshots)


def _choose(catalog: Catalog, request: VerifyRequest) -> tuple[list[Entry], list[Broken]]:
    """The snapshots to look at, a source's one after the other; and those of which no manifest can be believed.

    Whose a broken one is cannot be told, so it is among whatever was asked for, unless that was named.
    """
    if request.snapshots:
        return _named(catalog, request)
    groups = sources_of(of_source(catalog, request.source))
    if not groups and not catalog.broken:
        raise UsageError("the store has no snapshots", hint="`vaultpy snapshot list` shows what there is")
    chosen = (entries if request.every else entries[-1:] for _, entries in sorted(groups.items()))
    return [entry for entries in chosen for entry in entries], list(catalog.broken)


def _named(catalog: Catalog, request: VerifyRequest) -> tuple[list[Entry], list[Broken]]:
    entries: dict[SnapshotId, Entry] = {}
    broken: dict[SnapshotId, Broken] = {}
    for text in request.snapshots:
        begun = [one for one in catalog.broken if len(text) >= LEAST_PREFIX and str(one.id).startswith(text.lower())]
        if len(begun) == 1 and not any(str(one.id).startswith(text.lower()) for one in catalog.entries):
            broken[begun[0].id] = begun[0]
        else:
            entry = resolve_snapshot(catalog, text, request.source)
            entries[entry.id] = entry
    return sorted(entries.values(), key=lambda one: (one.host, one.source, one.seq)), list(broken.values())


class _Verification:
    """One verification on its way: what was named so far, and what was found."""

    def __init__(
        self, reader: Reader, catalog: Catalog, request: VerifyRequest, means: Means, rows: ChainReader
    ) -> None:
        self._reader, self._store, self._catalog = reader, means.store, catalog
        self._request, self._depth = request, request.depth
        self._inventory, self._crew, self._rows, self._faults = means.inventory, means.crew, rows, Faults()
        self._gathered = Gatherer(reader, catalog.metadata, request.depth, means, rows, self._faults)
        self._fetched = 0

    def look(self, entries: Sequence[Entry], broken: Sequence[Broken], now: int, on_event: OnEvent) -> None:
        self._take_broken(broken)
        self._gathered.take_all([entry.id for entry in entries], on_event)
        compare_keys(self._store, self._gathered, self._faults)
        self._compare_listing()
        if self._depth > Depth.LISTED:
            leave_in(self._inventory, self._reader.index, self._request.share, now)
            self._fetch_all(on_event)
        self._name_files()

    def remember(self, now: int) -> None:
        """Keep what was found in the host's index; not being able to is no damage."""
        request = self._request
        if self._reader.index is not None:
            whole = request.every and request.source is None
            path = self._reader.index.path
            trouble = remember(path, self._inventory, self._faults, self._depth, now, whole=whole)
            if trouble is not None:
                self._gathered.notes.append(trouble)

    def _take_broken(self, broken: Sequence[Broken]) -> None:
        """Snapshots without a manifest that can be believed.  One of which only the signature is left may have been
        removed, or be about to appear."""
        listed = self._catalog.metadata.manifests
        removed = self._removed() if any(one.id not in listed for one in broken) else frozenset()
        for one in broken:
            if one.id in listed or not (one.id in removed or self._has_manifest(one.id)):
                self._faults.add(Damage.MANIFEST, names.manifest_name(one.id), one.why, [one.id])

    def _compare_listing(self) -> None:
        """Is every object there, with the right size?"""
        exports = self._catalog.metadata.exports.values()
        self._inventory.add_listing((info.name, info.size) for info in exports)
        self._inventory.add_listing((info.name, info.size) for info in self._store.list(names.BLOBS))
        for object, listed in self._inventory.not_as_listed():
            if listed is None:
                self._faults.add(Damage.MISSING, object.name, "it is not in the store", None)
            else:
                detail = f"it has {listed} bytes in the store, not the {object.size} that it was put with"
                self._faults.add(Damage.SIZE, object.name, detail, None)
            self._mark_lost(object.name)

    def _fetch_all(self, on_event: OnEvent) -> None:
        """Look at every byte of the objects that are there."""
        size = self._inventory.to_fetch()[1]
        on_event(StepBegan("checking objects", bytes_total=size))
        done = reported = 0
        self._fetched = self._inventory.count_checked()
        identities = tuple(dict.fromkeys(self._gathered.opened.values()))
        crew = self._crew if worth_processes(self._inventory.estimate_places(), size) else None
        for seen in scrub(self._store, identities, self._jobs(), crew):
            self._note(seen)
            self._fetched += 1
            done += seen.object.size
            if done - reported >= REPORT_BYTES:
                reported = done
                on_event(StepAdvanced(self._fetched, done))
        for name, why in self._gathered.bad_exports.items():
            if not self._faults.names(name):
                self._faults.add(Damage.CONTENT, name, why, None)

    def _jobs(self) -> Iterator[Job]:
        for object in self._inventory.each_to_fetch():
            blob = names.parse_blob_name(object.name)
            yield Job(object, self._inventory.places_in(blob) if blob is not None and self._gathered.opened else None)

    def _note(self, seen: Seen) -> None:
        name = seen.object.name
        if seen.right:
            self._inventory.add_checked([name])
        elif seen.lost is not None:
            self._faults.add(Damage.MISSING, name, f"it is listed, yet {seen.lost}", None)
            self._mark_lost(name)
        else:
            kind = Damage.CHANGED if seen.changed else Damage.CONTENT
            self._faults.add(kind, name, _describe(seen), None)
            blob = names.parse_blob_name(name)
            if blob is not None and seen.places:
                self._inventory.add_bad((blob, place.raw_offset) for place in seen.bad)
            else:
                self._mark_lost(name)

    def _mark_lost(self, name: str) -> None:
        blob = names.parse_blob_name(name)
        if blob is not None:
            self._inventory.add_bad([(blob, None)])

    def _name_files(self) -> None:
        """Find the files that the damage costs: by the exports where they were opened, else by the host's own index."""
        if not self._inventory.has_bad():
            return
        for moment in self._moments():
            tree = read_tree(moment)
            found = files_at_places(moment, self._inventory.bad_places())
            self._inventory.add_affected((blob, tree.path(folder, name)) for blob, folder, name in found)

    def _moments(self) -> Iterator[Moment]:
        opened = self._gathered.opened
        for _, manifest in read_manifests(self._reader, list(opened)):
            if isinstance(manifest, Manifest):
                with contextlib.suppress(BadExport):
                    yield self._rows.read(manifest, [opened[manifest.snapshot]])
        if self._reader.index is not None and self._depth < Depth.OPENED:
            yield from _own_moments(self._reader.index, self._gathered.snapshots)

    def result(self, *, whole: bool) -> Verified:
        """`whole`: whether all that there is was asked for, so that what is gone is worth a word."""
        gathered = self._gathered
        objects, size = self._inventory.totals()
        if whole and self._catalog.gone:
            self._note_gone()
        return Verified(
            depth=self._depth,
            snapshots=tuple(gathered.snapshots),
            findings=tuple(self._findings()),
            objects=objects,
            bytes=size,
            fetched=self._fetched,
            files=gathered.files,
            chunks=self._inventory.count_places(),
            unchecked=tuple(gathered.unchecked),
            unopened=tuple(gathered.unopened),
            notes=tuple(gathered.notes),
        )

    def _note_gone(self) -> None:
        removed = self._removed()
        gone = [one for one in self._catalog.gone if one not in removed]
        if gone:
            self._gathered.notes.append(
                f"{len(gone)} snapshots (the first: {gone[0]}) are in this host's index and not in the store: right, if"
                " another machine removed them"
            )

    def _findings(self) -> Iterator[Finding]:
        removed: dict[SnapshotId, bool] = {}
        for fault in self._faults:
            snapshots = fault.snapshots
            if snapshots is None:
                numbers = self._inventory.snapshots_of(fault.object)
                snapshots = [self._gathered.snapshots[number] for number in numbers]
            for one in snapshots:
                if one not in removed:
                    removed[one] = one in self._catalog.metadata.manifests and not self._has_manifest(one)
            left = tuple(dict.fromkeys(one for one in snapshots if not removed[one]))
            if left:
                yield self._finding(fault, left)

    def _finding(self, fault: Fault, snapshots: tuple[SnapshotId, ...]) -> Finding:
        blob = names.parse_blob_name(fault.object)
        finding = Finding(fault.kind, fault.object, fault.detail, snapshots, fault.advice)
        if blob is None or not self._knows_files(snapshots):
            return finding
        paths, count = self._inventory.affected(blob, PATHS_NAMED)
        return replace(finding, files=count, paths=paths)

    def _knows_files(self, snapshots: Sequence[SnapshotId]) -> bool:
        """Whether the rows of one of these snapshots were looked at, so that a count of none means none."""
        if self._depth == Depth.OPENED:
            return not self._gathered.opened.keys().isdisjoint(snapshots)
        index = self._reader.index
        return index is not None and any(True for _ in _own_moments(index, snapshots))

    def _removed(self) -> frozenset[SnapshotId]:
        """Which snapshots some record says were removed."""
        try:
            return list_marked(self._store).snapshots
        except StoreFormatError as error:
            self._gathered.notes.append(f"what was removed cannot be told: {error.message}")
            return frozenset()

    def _has_manifest(self, snapshot: SnapshotId) -> bool:
        return self._store.stat(names.manifest_name(snapshot)) is not None


def _own_moments(index: Index, snapshots: Sequence[SnapshotId]) -> Iterator[Moment]:
    """The rows that the host's own index has of snapshots; not where a chunk was stored anew since, because the index has
    one home of each, and an older snapshot names the other."""
    for snapshot in snapshots:
        row = find_snapshot(index, snapshot)
        if row is not None and row.state == State.COMPLETE:
            source_id = source_id_of(index, row.source)
            if not has_moved(index, source_id, row.seq):
                yield Moment(index, source_id, row.seq)


def _describe(seen: Seen) -> str:
    said = ["its bytes are not those that were put"] if seen.changed else []
    if seen.bad:
        said.append(f"{len(seen.bad)} of the {seen.places} chunks that are needed of it cannot be had: {seen.why}")
    elif seen.places:
        said.append(f"the {seen.places} chunks that are needed of it are right, though")
    return "; ".join(said)
