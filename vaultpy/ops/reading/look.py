"""Looking at snapshots: which sources have none that is recent, what one holds, and what it stands on.

Nothing here changes anything, in the store or on this machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vaultpy.age import Identity
from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, StoreFormatError, UntrustedSigner, UsageError
from vaultpy.export import read_export
from vaultpy.index.at import FileAt, chosen_by_directory
from vaultpy.index.problems import read_problems
from vaultpy.index.snapshots import find_snapshot, get_problems
from vaultpy.manifest import About, Manifest, decode_about
from vaultpy.model import Problem, SnapshotId
from vaultpy.ops.reading.catalog import Broken, Catalog, Entry, describe_source, is_called, sources_of
from vaultpy.ops.reading.choose import choose_below, read_tree
from vaultpy.ops.reading.moment import checked_pieces, open_moment
from vaultpy.ops.reading.reader import Reader, about_identities, open_key, read_manifest
from vaultpy.ops.survey import list_marked
from vaultpy.signature import fingerprint
from vaultpy.store import names
from vaultpy.units import Duration, before


def of_source(catalog: Catalog, name: str | None) -> list[Entry]:
    """The snapshots of all sources that are called `name`, whatever their host; without a name, all.

    Sources whose names cannot be told are never taken for one that is meant.  Raises UsageError where none is known to be
    called that.
    """
    if name is None:
        return list(catalog.entries)
    groups = sources_of(catalog.entries).values()
    found = {one.id for group in groups if is_called(group[-1], name) for one in group}
    if found:
        return [one for one in catalog.entries if one.id in found]
    if any(group[-1].source_name is None for group in groups):
        raise UsageError(
            "source names cannot be told without an identity", hint="give --identity FILE, or name snapshots by id"
        )
    raise UsageError(f"source {name!r} has no snapshots", hint="`vaultpy snapshot list` shows what there is")


def lost_snapshots(reader: Reader, catalog: Catalog) -> list[SnapshotId]:
    """Snapshots that the index knows, of which the store shows no manifest and no record that they were removed."""
    removed = _removed(reader) if catalog.gone else frozenset()
    return [one for one in catalog.gone if one not in removed]


def broken_snapshots(reader: Reader, catalog: Catalog) -> list[Broken]:
    """What was found broken and still is: not what had only its signature when it was listed because it was just being
    published, or removed, which begins and ends with that."""
    halves = {one.id for one in catalog.broken if one.id not in catalog.metadata.manifests}
    removed = _removed(reader) if halves else frozenset()
    return [
        one
        for one in catalog.broken
        if one.id not in halves or not (one.id in removed or _has_manifest(reader, one.id))
    ]


def _removed(reader: Reader) -> frozenset[SnapshotId]:
    """The snapshots of which some record says that they were removed."""
    with contextlib.suppress(StoreFormatError):  # a record of a newer format explains nothing to us
        return list_marked(reader.at.store).snapshots
    return frozenset()


def _has_manifest(reader: Reader, snapshot: SnapshotId) -> bool:
    return reader.at.store.stat(names.manifest_name(snapshot)) is not None


@dataclass(frozen=True, slots=True)
class Stale:
    """A source without a recent snapshot; `newest` is when its newest one began, None where it has none."""

    source: str
    newest: int | None


def stale_sources(reader: Reader, entries: Sequence[Entry], max_age: Duration, now: int) -> list[Stale]:
    """The sources of `entries` that have nothing newer than `max_age` before `now`.

    What is flagged does not count: a time from the future would hide for ever that a host has stopped (rule 8).
    """
    limit = before(now, max_age)
    stale = []
    for group in sources_of(entries).values():
        newest = max((one.started for one in group if one.flag is None), default=None)
        if newest is None or newest < limit:
            stale.append(Stale(describe_source(group[-1]), newest))
    return stale


def never_made(reader: Reader, entries: Sequence[Entry]) -> list[Stale]:
    """The sources of the configuration of which this host never made a snapshot."""
    if reader.config is None or reader.host is None:
        return []
    made = {one.source_name for one in entries if one.host == reader.host.id}
    return [Stale(name, None) for name in reader.config.sources if name not in made]


Listed = tuple[bytes, FileAt]
"""A path, absolute, and what is there."""


@contextlib.contextmanager
def open_files(reader: Reader, entry: Entry, paths: Sequence[bytes]) -> Iterator[Iterator[Listed]]:
    """The files of a snapshot that `paths` (absolute, or globs) name, and what is below those; without any, all.

    They come one by one, by folder, and in each by name.  The host's own index is asked where it knows the snapshot; else
    the exports are read, which takes an identity.  Raises NoIdentity, UntrustedSigner, DamageError, StoreError, and
    UsageError for a path that names nothing.
    """
    manifest, identities = _believed(reader, entry)
    with open_moment(reader, manifest, identities, contents=False) as moment:
        tree = read_tree(moment)
        choose_below(moment, tree, paths)
        found = chosen_by_directory(moment, tree.in_order())
        yield ((tree.path(row.directory_id, row.name), row) for row in found)


def _believed(reader: Reader, entry: Entry) -> tuple[Manifest, list[Identity]]:
    """A snapshot's manifest, and what opens its exports, where they have to be opened."""
    manifest = read_manifest(reader, entry.id, None)
    if reader.host is not None and manifest.signer == reader.host.signing_key.public_text():
        return manifest, [reader.host.index_key]
    opened, manifest = open_key(reader, manifest)
    return manifest, [opened.identity]


@dataclass(frozen=True, slots=True)
class Shown:
    """All about one snapshot.  `about` and `problems` are None where nothing here opens them; `trusted`: whether the signer
    (whose fingerprint this is) is a known one, None where nothing says; `recipients`: forms of its store key in keys/."""

    entry: Entry
    manifest: Manifest
    about: About | None
    fingerprint: str
    trusted: bool | None
    recipients: int
    problems: tuple[Problem, ...] | None


def show_snapshot(reader: Reader, entry: Entry) -> Shown:
    """All about a snapshot, as far as what is here opens it.  Raises DamageError, StoreError."""
    manifest = read_manifest(reader, entry.id, None)
    identities, trusted = _access(reader, manifest)
    return Shown(
        entry,
        manifest,
        _about(manifest, identities),
        fingerprint(manifest.signer),
        trusted,
        sum(
            names.parse_key_name(info.name) is not None for info in reader.at.store.list(names.key_folder(manifest.key))
        ),
        _problems(reader, manifest, identities if trusted else []),
    )


def _access(reader: Reader, manifest: Manifest) -> tuple[list[Identity], bool | None]:
    """What opens a snapshot's exports here, and whether its signer is believed."""
    identities = about_identities(reader)
    trusted = None if reader.trust is None else _is_trusted(reader, manifest)
    if reader.identities is not None:
        try:
            opened, _ = open_key(reader, manifest)
        except UntrustedSigner:
            return identities, False
        except (NoIdentity, DamageError):
            return identities, trusted
        return [*identities, opened.identity], True
    return identities, trusted


def _is_trusted(reader: Reader, manifest: Manifest) -> bool:
    assert reader.trust is not None
    try:
        reader.trust.check(manifest.signer)
    except UntrustedSigner:
        return False
    return True


def _about(manifest: Manifest, identities: Sequence[Identity]) -> About | None:
    try:
        return decode_about(manifest.about, identities)
    except (NoIdentity, DamageError):
        return None


def _problems(reader: Reader, manifest: Manifest, identities: Sequence[Identity]) -> tuple[Problem, ...] | None:
    """From the index, else from the snapshot's own export, the last of its chain."""
    if reader.index is not None:
        found = get_problems(reader.index, manifest.snapshot)
        # Only now: a run that forgets the snapshot forgets its problems, too.
        if find_snapshot(reader.index, manifest.snapshot) is not None:
            return tuple(found)
    if not identities or not manifest.exports:
        return None
    lines = read_export(checked_pieces(reader.at.store, manifest.exports[-1]), identities)
    try:
        return tuple(read_problems(lines, manifest.snapshot))
    except (NoIdentity, ObjectNotFound):
        return None
