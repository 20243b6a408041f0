"""`snapshot restore`: the way of the data, backwards.

    manifest → key → rows → choose → folders → contents, in the order of the blobs → links and nodes → folders' metadata

Every file appears whole under its name, or not at all.  What the store lost or spoiled costs the files that needed it;
the rest comes back, and the result names what did not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vaultpy.errors import UsageError
from vaultpy.events import OnEvent, StepAdvanced, StepBegan
from vaultpy.index.at import Moment, chosen_files, group_links, piece_counts, pieces, totals
from vaultpy.model import Kind, SnapshotId
from vaultpy.ops.catalog import Entry
from vaultpy.ops.choose import choose, read_tree
from vaultpy.ops.fetch import fetch_pieces
from vaultpy.ops.moment import open_moment
from vaultpy.ops.reader import Reader, open_key, read_manifest
from vaultpy.ops.write import Writer
from vaultpy.source.apply import ApplyOptions
from vaultpy.source.target import TargetTree

REPORT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """`paths`: what to restore (nothing: all); `apply`: which metadata, and whose the files shall be."""

    paths: tuple[bytes, ...] = ()
    apply: ApplyOptions = field(default_factory=ApplyOptions)


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: paths and bytes; `failed` names each path that did not and why; `missed` counts, per kind, metadata
    that the target did not take."""

    snapshot: SnapshotId
    files: int
    failed: tuple[tuple[bytes, str], ...]
    missed: dict[str, int]
    bytes: int


def restore(reader: Reader, entry: Entry, target: bytes, options: RestoreOptions, on_event: OnEvent) -> Restored:
    """Write what a snapshot holds below `target`.

    Raises NoIdentity, UntrustedSigner, DamageError where nothing can be believed, StoreError where the store fails, and
    UsageError for a path that the snapshot does not have.
    """
    opened, manifest = open_key(reader, read_manifest(reader, entry.id, None))
    with open_moment(reader, manifest, [opened.identity]) as moment, TargetTree(target) as tree:
        directories = read_tree(moment)
        if not choose(moment, directories, options.paths):
            raise UsageError(f"snapshot {entry.id}: nothing to restore")
        group_links(moment)
        files, size = totals(moment)
        on_event(StepBegan(f"restore of {entry.id}", files, size))
        writer = Writer(moment, directories, tree, options.apply)
        for row in chosen_files(moment, kind=Kind.DIRECTORY):
            writer.make_directory(row)
        wanted = pieces(moment)
        writer.expect(piece_counts(moment))
        reported = 0
        for piece, data in fetch_pieces(reader.at.store, moment, opened.identity, wanted):
            writer.write_piece(piece, data)
            if writer.bytes - reported >= REPORT_BYTES:
                reported = writer.bytes
                on_event(StepAdvanced(writer.files, writer.bytes))
        _write_rest(moment, writer)
        on_event(StepAdvanced(writer.files, writer.bytes))
    return Restored(manifest.snapshot, writer.files, tuple(writer.failed), dict(Counter(writer.missed)), writer.bytes)


def _write_rest(moment: Moment, writer: Writer) -> None:
    """What has no content, then second names (links only to what this run made), then folders, the deepest first."""
    for row in chosen_files(moment, leaders=True):
        if row.kind == Kind.FILE and row.size == 0:
            writer.write_empty(row)
        elif row.kind not in (Kind.FILE, Kind.DIRECTORY):
            writer.make_special(row)
    for row in chosen_files(moment, leaders=False):
        writer.make_link(row)
    for row in reversed(list(chosen_files(moment, kind=Kind.DIRECTORY))):
        writer.finish_directory(row)
