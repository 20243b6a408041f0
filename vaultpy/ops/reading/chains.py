"""The rows of snapshot after snapshot, out of their exports alone: a chain that goes on where the last one ended is read on
from there, so that all snapshots of a source together cost little more than the newest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vaultpy.age import Identity
from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, StoreContradiction
from vaultpy.export import read_export
from vaultpy.index.at import Moment
from vaultpy.index.db import Index, create_scratch
from vaultpy.index.load import Expected, apply_export
from vaultpy.index.sound import check_sound
from vaultpy.manifest import Manifest
from vaultpy.model import ExportRef, HostId, SourceId
from vaultpy.ops.reading.moment import add_source, blobs_digest, check_blobs, checked_pieces, translated
from vaultpy.store.base import Store


class BadExport(DamageError):
    """An export of a snapshot's chain cannot be used: `ref` names it."""

    def __init__(self, ref: ExportRef, message: str) -> None:
        super().__init__(message)
        self.ref = ref


class ChainReader:
    """Reads chains of exports into a scratch index in `folder`, one source at a time.  The index never is the host's own:
    what is looked at is what the store holds."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._path = store, folder / "rows.sqlite"
        self._scratch: Index | None = None
        self._source: tuple[HostId, SourceId] | None = None
        self._applied: tuple[ExportRef, ...] = ()

    def read(self, manifest: Manifest, identities: Sequence[Identity]) -> Moment:
        """The rows of a believed manifest's snapshot, sound and in agreement with it; good until the next call.

        Raises BadExport, and StoreError where the store fails.
        """
        going_on = (
            self._source == (manifest.host, manifest.source) and manifest.exports[: len(self._applied)] == self._applied
        )
        scratch = self._scratch
        if scratch is None or not going_on:
            scratch = self._begin(manifest)
        source_id = add_source(scratch, manifest)
        ref = manifest.exports[-1]
        try:
            for ref in manifest.exports[len(self._applied) :]:
                self._apply(scratch, source_id, manifest, ref, identities)
            check_sound(scratch, source_id)
            check_blobs(scratch, source_id, manifest, blobs_digest(manifest))
        except (DamageError, NoIdentity, ObjectNotFound, StoreContradiction) as error:
            self.close()
            raise BadExport(ref, error.message) from error
        return Moment(scratch, source_id, manifest.sequence)

    def close(self) -> None:
        """Forget what was read."""
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None
            with translated():
                self._path.unlink()
        self._source, self._applied = None, ()

    def _begin(self, manifest: Manifest) -> Index:
        self.close()
        self._scratch = create_scratch(self._path)
        self._source = manifest.host, manifest.source
        return self._scratch

    def _apply(
        self, scratch: Index, source_id: int, manifest: Manifest, ref: ExportRef, identities: Sequence[Identity]
    ) -> None:
        expected = Expected(manifest.snapshot, manifest.source, manifest.host, manifest.sequence)
        lines = read_export(checked_pieces(self._store, ref), identities)
        with scratch.transaction():
            apply_export(scratch, lines, expected, source_id=source_id, whole=not self._applied, close_seq=None)
        self._applied += (ref,)
