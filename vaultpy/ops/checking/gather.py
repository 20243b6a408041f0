"""The first half of a verification: reading manifests, asking whom to believe, and noting what they name.

With a key the exports are read, too: then it is known that every file is covered, and where each chunk should lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vaultpy.age import Identity
from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, StoreDenied, UntrustedSigner
from vaultpy.events import OnEvent, StepAdvanced, StepBegan
from vaultpy.index.content import chunk_places
from vaultpy.index.inventory import NamedObject
from vaultpy.keys import FORM_LIMIT, OpenedStoreKey
from vaultpy.manifest import Manifest
from vaultpy.model import KeyId, SnapshotId
from vaultpy.ops.checking.prove import Claim, Means, claim, goes_on, prove
from vaultpy.ops.reading.chains import BadExport, ChainReader
from vaultpy.ops.reading.findings import Damage, Depth, Faults
from vaultpy.ops.reading.manifests import KeyRing, read_manifests
from vaultpy.ops.reading.reader import Reader
from vaultpy.ops.survey import Metadata
from vaultpy.signature import Trust
from vaultpy.store import names
from vaultpy.store.base import Store

PROVE_BYTES = 1024 * 1024
"""Bytes of a whole export, some 13,000 files, from which it is proven without loading all of it."""


class Gatherer:
    """Takes manifests, and fills an inventory.

    `snapshots` are those taken, in the order of their numbers in the inventory; `opened` those whose exports were read
    and found sound, each with what opens its objects; `bad_exports` what stood in the way of the others, by name; `files`
    counts the paths of the opened.
    """

    def __init__(
        self, reader: Reader, metadata: Metadata, depth: Depth, means: Means, rows: ChainReader, faults: Faults
    ) -> None:
        """`rows` reads in full what is not proven by `means`."""
        self.snapshots: list[SnapshotId] = []
        self.opened: dict[SnapshotId, Identity] = {}
        self.unchecked: list[SnapshotId] = []
        self.unopened: list[SnapshotId] = []
        self.notes: list[str] = []
        self.copies: dict[KeyId, dict[bytes, list[SnapshotId]]] = {}
        self.uncopied: dict[KeyId, list[SnapshotId]] = {}
        self.bad_exports: dict[str, str] = {}
        self.files = 0
        self._reader, self._listed, self._depth = reader, metadata.exports, depth
        self._means, self._inventory, self._rows, self._faults = means, means.inventory, rows, faults
        self._chain: list[Claim] = []
        self._keys = KeyRing(reader)

    def take_all(self, snapshots: Sequence[SnapshotId], on_event: OnEvent) -> None:
        """Read the manifests of snapshots, a source's one after the other, and with a key their exports."""
        opens = self._depth == Depth.OPENED
        on_event(StepBegan("reading exports" if opens else "reading manifests", files_total=len(snapshots)))
        for number, (snapshot, found) in enumerate(read_manifests(self._reader, snapshots), 1):
            if isinstance(found, Manifest):
                self._take(found)
            elif isinstance(found, ObjectNotFound):
                self.notes.append(f"snapshot {snapshot} was removed meanwhile")
            else:
                name = names.manifest_name(snapshot)
                self._faults.add(Damage.MANIFEST, name, found.message, [snapshot], found.hint)
            on_event(StepAdvanced(number, 0))
        self._prove()

    def _take(self, manifest: Manifest) -> None:
        snapshot = manifest.snapshot
        self._inventory.add_objects(len(self.snapshots), _objects(manifest))
        self.snapshots.append(snapshot)
        if manifest.store_config_hash != self._reader.at.settings_hash:
            detail = "its bytes are not those of when the snapshot was made"
            self._faults.add(Damage.SETTINGS, names.CONFIG, detail, [snapshot])
        for copy in manifest.wrapped_keys:
            self.copies.setdefault(manifest.key, {}).setdefault(copy, []).append(snapshot)
        if not manifest.wrapped_keys:
            self.uncopied.setdefault(manifest.key, []).append(snapshot)
        opened = self._believe(manifest)
        if opened is not None and self._depth == Depth.OPENED:
            self._line_up(manifest, opened.identity)

    def _believe(self, manifest: Manifest) -> OpenedStoreKey | None:
        """Check who signed; the opened store key, where it was needed, did open, and the signer is believed."""
        opened = None
        trust = self._reader.trust
        try:
            if self._depth == Depth.OPENED or (trust is None and self._reader.identities is not None):
                opened = self._keys.open(manifest)
                trust = trust or Trust(frozenset(opened.signers), False)
            if trust is None:
                self.unchecked.append(manifest.snapshot)
            else:
                trust.check(manifest.signer)
            return opened
        except NoIdentity:
            (self.unopened if self._depth == Depth.OPENED else self.unchecked).append(manifest.snapshot)
        except UntrustedSigner as error:
            name = names.manifest_name(manifest.snapshot)
            self._faults.add(Damage.SIGNER, name, error.message, [manifest.snapshot], error.hint)
        except DamageError as error:
            name = names.key_folder(manifest.key)
            self._faults.add(Damage.KEY, name, error.message, [manifest.snapshot], error.hint)
        except ObjectNotFound:
            self.notes.append(f"snapshot {manifest.snapshot} was removed meanwhile")
        return None

    def _line_up(self, manifest: Manifest, identity: Identity) -> None:
        """Read the exports at once, or, where they are large, together with those of the snapshots that follow."""
        if self._chain and not goes_on(self._chain, manifest):
            self._prove()
        if manifest.exports[0].size >= PROVE_BYTES and self._are_listed(manifest):
            self._chain.append(claim(manifest, identity))
        else:
            self._open(manifest, identity)

    def _prove(self) -> None:
        """Read the exports of what was lined up; in full, where they are not proven otherwise."""
        chain, self._chain = self._chain, []
        if not chain:
            return
        proven = 0
        for one, files in zip(chain, prove(self._means, chain), strict=False):
            self._note_sound(one.manifest, one.identity, files)
            proven += 1
        left = {one.manifest.snapshot: one for one in chain[proven:]}
        for snapshot, manifest in read_manifests(self._reader, list(left)):
            identity = left[snapshot].identity
            if isinstance(manifest, Manifest) and claim(manifest, identity) == left[snapshot]:
                self._open(manifest, identity)
            else:
                self.notes.append(f"snapshot {snapshot} was removed meanwhile")

    def _open(self, manifest: Manifest, identity: Identity) -> None:
        """Read the exports, check that every file is covered, and note where its chunks should be."""
        exports = [names.export_name(ref.id) for ref in manifest.exports]
        if not self.bad_exports.keys().isdisjoint(exports) or not self._are_listed(manifest):
            return
        try:
            moment = self._rows.read(manifest, [identity])
        except BadExport as error:
            self.bad_exports[names.export_name(error.ref.id)] = error.message
            return
        self._inventory.add_places(chunk_places(moment.index))
        self._note_sound(manifest, identity, int(moment.index.value("SELECT count(*) FROM files")))

    def _are_listed(self, manifest: Manifest) -> bool:
        """Whether its exports are there; if not, the comparison with the listing says which."""
        return all(ref.id in self._listed and self._listed[ref.id].size == ref.size for ref in manifest.exports)

    def _note_sound(self, manifest: Manifest, identity: Identity, files: int) -> None:
        self.opened[manifest.snapshot] = identity
        self._inventory.add_checked(names.export_name(ref.id) for ref in manifest.exports)
        self.files += files


def _objects(manifest: Manifest) -> Iterator[NamedObject]:
    for blob in manifest.blobs:
        yield NamedObject(names.blob_name(blob.hash), blob.size, blob.hash)
    for ref in manifest.exports:
        yield NamedObject(names.export_name(ref.id), ref.size, ref.blake3, ref.sha256)


def compare_keys(store: Store, gathered: Gatherer, faults: Faults) -> None:
    """Every wrapped form that a manifest holds a copy of must lie in keys/; more may, for recipients added since."""
    for key in sorted(gathered.copies.keys() | gathered.uncopied.keys()):
        folder = names.key_folder(key)
        try:
            forms = _read_forms(store, folder)
        except StoreDenied:
            gathered.notes.append(f"{folder} may not be read here, and was not compared")
            continue
        copies = gathered.copies.get(key, {})
        lost = [snapshots for copy, snapshots in copies.items() if copy not in forms]
        if lost:
            detail = f"{len(lost)} of the {len(copies)} wrapped forms that manifests hold copies of are not there"
            faults.add(Damage.KEY, folder, detail, [one for snapshots in lost for one in snapshots])
        elif not forms:
            detail = "the store has no wrapped form of it, so nobody can open it"
            faults.add(Damage.KEY, folder, detail, gathered.uncopied[key])


def _read_forms(store: Store, folder: str) -> frozenset[bytes]:
    """What lies in a folder of keys/, but for what is none of ours or too large to be."""
    listed = [info for info in store.list(folder) if names.parse_key_name(info.name) is not None]
    return frozenset(store.get(info.name) for info in listed if info.size <= FORM_LIMIT)
