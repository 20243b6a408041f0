"""`snapshot verify`: is what snapshots need there, whole, and what was stored?

    manifests → their objects, each once → listing → every byte → which files it costs

One listing of metadata/ and one of blobs/ serve all snapshots together, and no object is fetched twice because several
share it.  What disappears meanwhile because its snapshot was removed is no damage.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vaultpy.age import Identity
from vaultpy.errors import (
    DamageError,
    NoIdentity,
    ObjectNotFound,
    StoreDenied,
    StoreFormatError,
    UntrustedSigner,
    UsageError,
    VaultpyError,
)
from vaultpy.events import OnEvent, StepAdvanced, StepBegan
from vaultpy.index.at import Moment
from vaultpy.index.content import chunk_places, files_at_places
from vaultpy.index.db import create_index
from vaultpy.index.inventory import Inventory, NamedObject
from vaultpy.index.snapshots import State, find_snapshot, source_id_of
from vaultpy.keys import OpenedStoreKey
from vaultpy.manifest import Manifest
from vaultpy.model import KeyId, SnapshotId
from vaultpy.ops.catalog import Broken, Catalog, Entry, read_catalog, sources_of
from vaultpy.ops.chains import BadExport, ChainReader
from vaultpy.ops.choose import read_tree
from vaultpy.ops.findings import PATHS_NAMED, Damage, Depth, Finding, Verified, advice_for
from vaultpy.ops.look import only_named
from vaultpy.ops.reader import Reader, open_key, read_manifest
from vaultpy.ops.resolve import resolve_snapshot
from vaultpy.ops.scrub import Job, scrub
from vaultpy.ops.survey import list_marked
from vaultpy.signature import Trust
from vaultpy.store import names

MANIFESTS = 8
"""Manifests fetched ahead."""

REPORT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """`snapshots` as people name them; without any the newest of each source, or with `every` all; `source` leaves out
    other sources."""

    snapshots: tuple[str, ...] = ()
    every: bool = False
    source: str | None = None
    depth: Depth = Depth.LISTED


def verify(reader: Reader, request: VerifyRequest, on_event: OnEvent) -> Verified:
    """Look at snapshots; damage comes back as findings.

    Raises UsageError for a name that says nothing, NoIdentity for Depth.OPENED without any identity, StoreError where the
    store fails.
    """
    if request.depth == Depth.OPENED and reader.identities is None:
        raise NoIdentity("no identity was given", hint="give --identity FILE, or set VAULTPY_IDENTITY")
    catalog = read_catalog(reader)
    entries, broken = _choose(catalog, request)
    folder = Path(tempfile.mkdtemp(prefix="vaultpy-"))
    try:
        with create_index(folder / "inventory.sqlite") as scratch, contextlib.ExitStack() as stack:
            # Lost with the process, so nothing of it needs to be durable.
            scratch.run("PRAGMA synchronous = OFF")
            rows = ChainReader(reader.at.store, folder)
            stack.callback(rows.close)
            run = _Verification(reader, catalog, request.depth, on_event, Inventory(scratch), rows)
            run.take_broken(broken)
            run.take_all(entries)
            run.compare_keys()
            run.compare_listing()
            if request.depth > Depth.LISTED:
                run.fetch_all()
            run.name_files(entries)
            return run.result(all_asked=not request.snapshots)
    finally:
        shutil.rmtree(folder)


def _choose(catalog: Catalog, request: VerifyRequest) -> tuple[list[Entry], list[Broken]]:
    """The snapshots to look at, a source's one after the other; and those of which no manifest can be believed.

    Whose a broken one is cannot be told, so it is among whatever was asked for, unless that was named.
    """
    if request.snapshots:
        return _named(catalog, request)
    groups = sources_of(only_named(catalog, request.source))
    if not groups and not catalog.broken:
        raise UsageError("the store has no snapshots", hint="`vaultpy snapshot list` shows what there is")
    chosen = (entries if request.every else entries[-1:] for _, entries in sorted(groups.items()))
    return [entry for entries in chosen for entry in entries], list(catalog.broken)


def _named(catalog: Catalog, request: VerifyRequest) -> tuple[list[Entry], list[Broken]]:
    entries: dict[SnapshotId, Entry] = {}
    broken: dict[SnapshotId, Broken] = {}
    for text in request.snapshots:
        begun = [one for one in catalog.broken if str(one.id).startswith(text.lower())]
        if len(begun) == 1 and not any(str(one.id).startswith(text.lower()) for one in catalog.entries):
            broken[begun[0].id] = begun[0]
        else:
            entry = resolve_snapshot(catalog, text, request.source)
            entries[entry.id] = entry
    return sorted(entries.values(), key=lambda one: (one.host, one.source, one.seq)), list(broken.values())


@dataclass(slots=True)
class _Fault:
    """Damage before it is known whom it hurts: `snapshots` None where the inventory knows."""

    detail: str
    advice: str
    snapshots: list[SnapshotId] | None


class _Verification:
    """One verification on its way: what was named so far, and what was found."""

    def __init__(
        self,
        reader: Reader,
        catalog: Catalog,
        depth: Depth,
        on_event: OnEvent,
        inventory: Inventory,
        rows: ChainReader,
    ) -> None:
        self._reader, self._store, self._catalog = reader, reader.at.store, catalog
        self._depth, self._on_event = depth, on_event
        self._inventory, self._rows = inventory, rows
        self._keys = _KeyRing(reader)
        self._snapshots: list[SnapshotId] = []
        self._opened: dict[SnapshotId, Identity] = {}
        self._copies: dict[KeyId, dict[bytes, list[SnapshotId]]] = {}
        self._without_copy: dict[KeyId, list[SnapshotId]] = {}
        self._faults: dict[tuple[Damage, str], _Fault] = {}
        self._bad_exports: set[str] = set()
        self._unchecked: list[SnapshotId] = []
        self._unopened: list[SnapshotId] = []
        self._notes: list[str] = []
        self._files = self._fetched = 0

    def take_broken(self, broken: Sequence[Broken]) -> None:
        """Snapshots without a manifest that can be believed.  One of which only the signature is left may have been
        removed, or be about to appear."""
        unexplained = [one for one in broken if one.id not in self._catalog.metadata.manifests]
        removed = self._removed() if unexplained else frozenset()
        for one in broken:
            if one in unexplained and (one.id in removed or self._has_manifest(one.id)):
                continue
            self._add(Damage.MANIFEST, names.manifest_name(one.id), one.why, [one.id])

    def take_all(self, entries: Sequence[Entry]) -> None:
        """Read the manifests, and with a key the exports; note what they name."""
        if self._depth == Depth.OPENED:
            self._on_event(StepBegan("reading exports", files_total=len(entries)))
        for number, (entry, found) in enumerate(_read_manifests(self._reader, entries), 1):
            if isinstance(found, Manifest):
                self._take(found)
            elif isinstance(found, ObjectNotFound):
                self._notes.append(f"snapshot {entry.id} was removed meanwhile")
            else:
                self._add(Damage.MANIFEST, names.manifest_name(entry.id), found.message, [entry.id], found.hint)
            self._on_event(StepAdvanced(number, 0))

    def _take(self, manifest: Manifest) -> None:
        snapshot = manifest.snapshot
        self._inventory.add_objects(len(self._snapshots), _objects(manifest))
        self._snapshots.append(snapshot)
        if manifest.store_config_hash != self._reader.at.settings_hash:
            detail = "its bytes are not those of when the snapshot was made"
            self._add(Damage.SETTINGS, names.CONFIG, detail, [snapshot])
        for copy in manifest.wrapped_keys:
            self._copies.setdefault(manifest.key, {}).setdefault(copy, []).append(snapshot)
        if not manifest.wrapped_keys:
            self._without_copy.setdefault(manifest.key, []).append(snapshot)
        opened = self._believe(manifest)
        if opened is not None and self._depth == Depth.OPENED:
            self._open(manifest, opened.identity)

    def _believe(self, manifest: Manifest) -> OpenedStoreKey | None:
        """Check who signed; the opened store key, where it was needed, did open, and the signer is believed."""
        opened = None
        trust = self._reader.trust
        name = names.manifest_name(manifest.snapshot)
        try:
            if self._depth == Depth.OPENED or (trust is None and self._reader.identities is not None):
                opened = self._keys.open(manifest)
                trust = trust or Trust(frozenset(opened.signers), False)
            if trust is None:
                self._unchecked.append(manifest.snapshot)
            else:
                trust.check(manifest.signer)
            return opened
        except NoIdentity:
            (self._unopened if self._depth == Depth.OPENED else self._unchecked).append(manifest.snapshot)
        except UntrustedSigner as error:
            self._add(Damage.SIGNER, name, error.message, [manifest.snapshot], error.hint)
        except DamageError as error:
            folder = names.key_folder(manifest.key)
            self._add(Damage.KEY, folder, error.message, [manifest.snapshot], error.hint)
        except ObjectNotFound:
            self._notes.append(f"snapshot {manifest.snapshot} was removed meanwhile")
        return None

    def _open(self, manifest: Manifest, identity: Identity) -> None:
        """Read the exports, check that every file is covered, and note where its chunks should be."""
        exports = [names.export_name(ref.id) for ref in manifest.exports]
        listed = self._catalog.metadata.exports
        if any(ref.id not in listed or listed[ref.id].size != ref.size for ref in manifest.exports):
            return  # the comparison with the listing names it
        if not self._bad_exports.isdisjoint(exports):
            return
        self._opened[manifest.snapshot] = identity
        try:
            moment = self._rows.read(manifest, [identity])
        except BadExport as error:
            name = names.export_name(error.ref.id)
            self._bad_exports.add(name)
            self._inventory.add_checked([name])
            self._add(Damage.CONTENT, name, error.message, None)
            return
        self._inventory.add_places(chunk_places(moment.index))
        self._inventory.add_checked(exports)
        self._files += int(moment.index.value("SELECT count(*) FROM files"))

    def compare_keys(self) -> None:
        """Every wrapped form that a manifest copied must still lie in keys/; more may, for recipients added since."""
        for key in sorted(self._copies.keys() | self._without_copy.keys()):
            forms = self._read_forms(key)
            if forms is None:
                continue
            copies = self._copies.get(key, {})
            lost = {copy: snapshots for copy, snapshots in copies.items() if copy not in forms}
            if lost:
                detail = f"{len(lost)} of its {len(copies)} wrapped forms that manifests hold copies of are not there"
                self._add(Damage.KEY, names.key_folder(key), detail, [one for found in lost.values() for one in found])
            elif not forms:
                detail = "the store has no wrapped form of it, so that nobody can open it"
                self._add(Damage.KEY, names.key_folder(key), detail, self._without_copy[key])

    def _read_forms(self, key: KeyId) -> frozenset[bytes] | None:
        """The forms in keys/, None where they may not be read."""
        try:
            return frozenset(self._store.get(one.name) for one in list(self._store.list(names.key_folder(key))))
        except StoreDenied:
            self._notes.append(f"{names.key_folder(key)} may not be read here, and was not compared")
            return None

    def compare_listing(self) -> None:
        """Is every object there, with the right size?"""
        exports = self._catalog.metadata.exports.values()
        self._inventory.add_listing((info.name, info.size) for info in exports)
        self._inventory.add_listing((info.name, info.size) for info in self._store.list(names.BLOBS))
        for object, listed in self._inventory.not_as_listed():
            if listed is None:
                self._add(Damage.MISSING, object.name, "it is not in the store", None)
            else:
                self._add(Damage.SIZE, object.name, f"it has {listed} bytes, {object.size} are named", None)
            self._mark_lost(object.name)

    def fetch_all(self) -> None:
        """Look at every byte of the objects that are there."""
        _, size = self._inventory.to_fetch()
        self._on_event(StepBegan("checking objects", bytes_total=size))
        done = reported = 0
        for seen in scrub(self._store, self._jobs()):
            name = seen.object.name
            self._fetched += 1
            if seen.lost is not None:
                self._add(Damage.MISSING, name, f"it is listed, yet: {seen.lost}", None)
                self._mark_lost(name)
            elif seen.changed or seen.bad:
                kind = Damage.CHANGED if seen.changed else Damage.CONTENT
                self._add(kind, name, self._describe(seen.changed, len(seen.bad), seen.why), None)
                blob = names.parse_blob_name(name)
                if blob is not None and seen.bad:
                    self._inventory.add_bad((blob, place.raw_offset) for place in seen.bad)
                elif self._depth < Depth.OPENED:
                    self._mark_lost(name)
            done += seen.object.size
            if done - reported >= REPORT_BYTES:
                reported = done
                self._on_event(StepAdvanced(self._fetched, done))

    def _jobs(self) -> Iterator[Job]:
        identities = tuple(dict.fromkeys(self._opened.values()))
        for object in self._inventory.each_to_fetch():
            blob = names.parse_blob_name(object.name)
            places = self._inventory.places_in(blob) if blob is not None and identities else ()
            yield Job(object, places, identities)

    def _describe(self, changed: bool, bad: int, why: str | None) -> str:
        said = ["its bytes are not those that were put"] if changed else []
        if bad:
            said.append(f"{bad} of its chunks cannot be had: {why}")
        elif self._depth == Depth.OPENED and self._opened:
            said.append("every chunk that is needed of it is right, though")
        return "; ".join(said)

    def _mark_lost(self, name: str) -> None:
        blob = names.parse_blob_name(name)
        if blob is not None:
            self._inventory.add_bad([(blob, None)])

    def name_files(self, entries: Sequence[Entry]) -> None:
        """Find the files that the damage costs: by the exports where they were opened, else by the host's own index."""
        if not self._inventory.has_bad():
            return
        for moment in self._moments(entries):
            tree = read_tree(moment)
            found = files_at_places(moment, self._inventory.bad_places())
            self._inventory.add_affected((blob, tree.path(folder, name)) for blob, folder, name in found)

    def _moments(self, entries: Sequence[Entry]) -> Iterator[Moment]:
        index = self._reader.index
        if self._depth < Depth.OPENED:
            for snapshot in self._snapshots if index else ():
                row = find_snapshot(index, snapshot) if index else None
                if index and row and row.state == State.COMPLETE:
                    yield Moment(index, source_id_of(index, row.source), row.seq)
            return
        for _, manifest in _read_manifests(self._reader, [one for one in entries if one.id in self._opened]):
            if isinstance(manifest, Manifest):
                with contextlib.suppress(BadExport):
                    yield self._rows.read(manifest, [self._opened[manifest.snapshot]])

    def result(self, *, all_asked: bool) -> Verified:
        objects, size = self._inventory.totals()
        if all_asked and self._catalog.gone:
            self._note_gone()
        return Verified(
            depth=self._depth,
            snapshots=tuple(self._snapshots),
            findings=tuple(self._findings()),
            objects=objects,
            bytes=size,
            fetched=self._fetched,
            files=self._files,
            chunks=self._inventory.count_places(),
            unchecked=tuple(self._unchecked),
            unopened=tuple(self._unopened),
            notes=tuple(self._notes),
        )

    def _note_gone(self) -> None:
        gone = [one for one in self._catalog.gone if one not in self._removed()]
        if gone:
            self._notes.append(
                f"{len(gone)} snapshots (the first: {gone[0]}) are in this host's index and not in the store: right, if"
                " another machine removed them"
            )

    def _findings(self) -> Iterator[Finding]:
        there: dict[SnapshotId, bool] = {}
        for (kind, object), fault in self._faults.items():
            snapshots = fault.snapshots
            if snapshots is None:
                snapshots = [self._snapshots[number] for number in self._inventory.snapshots_of(object)]
            if kind != Damage.MANIFEST:
                for one in snapshots:
                    if one not in there:
                        there[one] = self._has_manifest(one)
                snapshots = [one for one in snapshots if there[one]]
            if snapshots:
                yield self._finding(kind, object, fault, tuple(dict.fromkeys(snapshots)))

    def _finding(self, kind: Damage, object: str, fault: _Fault, snapshots: tuple[SnapshotId, ...]) -> Finding:
        blob = names.parse_blob_name(object)
        if blob is None or not self._names_files(snapshots):
            return Finding(kind, object, fault.detail, snapshots, fault.advice)
        paths, count = self._inventory.affected(blob, PATHS_NAMED)
        return Finding(kind, object, fault.detail, snapshots, fault.advice, count, paths)

    def _names_files(self, snapshots: Iterable[SnapshotId]) -> bool:
        """Whether the rows of one of these snapshots were looked at, so that a count of none means none."""
        index = self._reader.index
        if self._depth == Depth.OPENED:
            return any(one in self._opened for one in snapshots)
        return index is not None and any(find_snapshot(index, one) is not None for one in snapshots)

    def _add(
        self,
        kind: Damage,
        object: str,
        detail: str,
        snapshots: list[SnapshotId] | None,
        advice: str | None = None,
    ) -> None:
        known = self._faults.get((kind, object))
        if known is not None and known.snapshots is not None and snapshots is not None:
            known.snapshots += snapshots
            return
        is_export = names.parse_export_name(object) is not None
        self._faults[kind, object] = _Fault(detail, advice or advice_for(kind, is_export=is_export), snapshots)

    def _removed(self) -> frozenset[SnapshotId]:
        """Which snapshots some record says were removed."""
        try:
            return list_marked(self._store).snapshots
        except (DamageError, StoreFormatError) as error:
            self._notes.append(f"purges/ cannot be read: {error.message}")
            return frozenset()

    def _has_manifest(self, snapshot: SnapshotId) -> bool:
        return self._store.stat(names.manifest_name(snapshot)) is not None


def _objects(manifest: Manifest) -> list[NamedObject]:
    blobs = [NamedObject(names.blob_name(blob.hash), blob.size, blob.hash) for blob in manifest.blobs]
    exports = [NamedObject(names.export_name(ref.id), ref.size, ref.blake3, ref.sha256) for ref in manifest.exports]
    return blobs + exports
