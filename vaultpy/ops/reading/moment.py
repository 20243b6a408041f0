"""Finding a snapshot's rows: in the host's own index where that has them, else in a scratch index read from the exports."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import blake3

from vaultpy.age import Identity
from vaultpy.errors import (
    DamageError,
    IndexChanged,
    IndexDatabaseError,
    ObjectNotFound,
    StoreContradiction,
    UsageError,
)
from vaultpy.export import read_export
from vaultpy.index.at import Moment
from vaultpy.index.db import Index, create_scratch
from vaultpy.index.homes import digest_of, has_moved, homes_digest
from vaultpy.index.load import Expected, apply_export, start_chain
from vaultpy.index.snapshots import State, find_snapshot, source_id_of
from vaultpy.index.sound import check_sound
from vaultpy.manifest import Manifest
from vaultpy.model import ExportRef
from vaultpy.ops.reading.older import find_version
from vaultpy.ops.reading.reader import Reader
from vaultpy.store import names
from vaultpy.store.base import Store

SCRATCH = "vaultpy-scratch-"
"""What the names of scratch folders begin with; the number of their process follows."""

STALE_SECONDS = 24 * 3600
"""Age from which a scratch folder without a process is rubbish."""

_GET_PIECE = 8 * 1024 * 1024


@contextlib.contextmanager
def open_moment(
    reader: Reader, manifest: Manifest, identities: Sequence[Identity], *, contents: bool = True
) -> Iterator[Moment]:
    """The rows of a believed manifest's snapshot; `contents`: also where the chunks lie, which names can do without.

    The host's own index is taken where it knows the snapshot as whole: it wrote the exports from these very rows.  Not
    where a chunk was stored anew since: the index has one home of each, and the one that this snapshot names is in its
    exports.  Raises IndexChanged in the end where either happened meanwhile: then what was read is not all.
    """
    version = reader.index.version if reader.index else None
    own = _own_moment(reader.index, manifest, contents) if reader.index else None
    if own is not None:
        # Runs are not kept waiting by who reads, so they may have dropped rows, or moved chunks from blob to blob.
        try:
            yield own
        except UsageError:  # of a path that is not found, because it has gone from the index
            check_unchanged(reader, manifest, own, contents=contents)
            raise
        if own.index.version != version:
            check_unchanged(reader, manifest, own, contents=contents)
        return
    with scratch_folder() as folder, create_scratch(folder / "scratch.sqlite") as scratch:
        scratch.run("PRAGMA journal_mode = OFF")
        yield load_snapshot(scratch, reader.at.store, manifest, identities)


def check_unchanged(reader: Reader, manifest: Manifest, moment: Moment, *, contents: bool = True) -> None:
    """Raise IndexChanged where the rows are those of the host's own index, and not the snapshot's as it was published any
    more; if they still are, all that was read of them until now was right."""
    if reader.index is moment.index and _own_moment(moment.index, manifest, contents) is None:
        raise IndexChanged(
            f"index {moment.index.path} changed while snapshot {manifest.snapshot} was read from it",
            hint="what came of it is not all; run it again",
        )


def _own_moment(index: Index, manifest: Manifest, contents: bool) -> Moment | None:
    row = find_snapshot(index, manifest.snapshot)
    if row is None or row.state != State.COMPLETE:
        return None
    source_id = source_id_of(index, row.source)
    if contents and (
        homes_digest(index, source_id, row.seq) != blobs_digest(manifest) or has_moved(index, source_id, row.seq)
    ):
        return None
    return Moment(index, source_id, row.seq)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for scratch indexes, gone afterwards.  Raises IndexDatabaseError."""
    with translated():
        folder = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-"))
        _sweep(folder.parent, folder.stat().st_mtime - STALE_SECONDS)
    try:
        yield folder
    finally:
        with translated():
            shutil.rmtree(folder)


def _sweep(place: Path, before: float) -> None:
    """Remove what processes left that were killed or cut off: names of files are in there.

    Not what is young: a container beside this one may share the folder, and not the numbers of its processes.
    """
    for path in place.glob(f"{SCRATCH}*-*"):
        pid = path.name.removeprefix(SCRATCH).partition("-")[0]
        with contextlib.suppress(OSError):
            found = path.lstat()
            if found.st_uid != os.geteuid() or found.st_mtime > before:
                continue
            if pid.isdecimal() and not _runs(int(pid)):
                shutil.rmtree(path)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Failures of the disk that scratch indexes lie on, as ours."""
    try:
        yield
    except OSError as error:
        raise IndexDatabaseError(
            f"no place for a scratch index: {(error.strerror or str(error)).lower()}",
            hint="set TMPDIR to a folder with room, on a disk that is well",
        ) from error


def load_snapshot(scratch: Index, store: Store, manifest: Manifest, identities: Sequence[Identity]) -> Moment:
    """Read a manifest's chain of exports into an empty index, check that it is sound and agrees with the manifest."""
    source_id = add_source(scratch, manifest)
    expected = Expected(manifest.snapshot, manifest.source, manifest.host, manifest.sequence)
    with scratch.transaction():
        start_chain(scratch, source_id, None)
        for position, ref in enumerate(manifest.exports):
            lines = read_export(checked_pieces(store, ref), identities)
            apply_export(scratch, lines, expected, source_id=source_id, whole=position == 0, close_seq=None)
    check_sound(scratch, source_id)
    check_blobs(scratch, source_id, manifest, blobs_digest(manifest))
    return Moment(scratch, source_id, manifest.sequence)


def add_source(index: Index, manifest: Manifest) -> int:
    """The row of a manifest's source, made where there is none; its name is learnt elsewhere."""
    known = index.value("SELECT id FROM sources WHERE uuid = ?", (manifest.source.bytes,))
    if known is None:
        known = index.value(
            "INSERT INTO sources (uuid, name, host) VALUES (?, ?, ?) RETURNING id",
            (manifest.source.bytes, str(manifest.source), manifest.host.bytes),
        )
    return int(known)


def check_blobs(index: Index, source_id: int, manifest: Manifest, digest: bytes) -> None:
    """The export and the manifest, whose blobs have this digest, must name the same, or one of them is not of this snapshot."""
    if homes_digest(index, source_id, manifest.sequence) != digest:
        raise DamageError(f"snapshot {manifest.snapshot}: its export names other blobs than its manifest")


def blobs_digest(manifest: Manifest) -> bytes:
    """The digest of the blobs that a manifest names, as `homes_digest` makes it."""
    return digest_of((blob.hash, blob.size) for blob in manifest.blobs)


def checked_pieces(store: Store, ref: ExportRef) -> Iterator[bytes]:
    """An export's bytes, whose hashes the signed manifest gives.  The last piece comes only after both were right.

    Where it is missing, or damaged and no longer than one piece, an older version is taken, if the store has one that is right.
    """
    name, digest, other = names.export_name(ref.id), blake3.blake3(), hashlib.sha256()
    pending = b""
    for start in range(0, ref.size, _GET_PIECE):
        try:
            piece = store.get(name, start, min(_GET_PIECE, ref.size - start))
        except (ObjectNotFound, StoreContradiction):
            if start or (piece := _older(store, ref) or b"") == b"":
                raise
            yield piece
            return
        digest.update(piece)
        other.update(piece)
        if pending:
            yield pending
        pending = piece
    if (digest.digest(), other.digest()) != (ref.blake3, ref.sha256):
        older = _older(store, ref) if ref.size <= _GET_PIECE else None
        if older is None:
            raise DamageError(f"export {ref.id} is not what its manifest says: its hash differs")
        pending = older
    yield pending


def _older(store: Store, ref: ExportRef) -> bytes | None:
    return find_version(store, names.export_name(ref.id), ref.size, ref.blake3, ref.sha256)
