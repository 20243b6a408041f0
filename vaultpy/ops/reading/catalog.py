"""Which snapshots there are: one listing of the store beside the index, and the manifests that the index does not know.

Names and counts of other hosts' snapshots are inside the encryption; without what opens them they are None, never guessed.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vaultpy.age import AgeError, Identity
from vaultpy.errors import DamageError, NoIdentity, ObjectNotFound, UntrustedSigner, UsageError
from vaultpy.index.snapshots import Counts, SnapshotRow, State, all_snapshots
from vaultpy.manifest import About, Manifest, decode_about
from vaultpy.model import HostId, KeyId, SnapshotId, SnapshotState, SourceId
from vaultpy.ops.reading.hurt import Hurt, find_hurt
from vaultpy.ops.reading.manifests import read_manifests
from vaultpy.ops.reading.reader import Reader, about_identities, open_wrapped
from vaultpy.ops.survey import Metadata, list_metadata
from vaultpy.store.base import ObjectInfo

FUTURE_NS = 24 * 3600 * 1_000_000_000
"""A snapshot signed this much later than the store's clock says is flagged (rule 8)."""


_PUBLISHED = (State.COMPLETE, State.UNCLEAN)


@dataclass(frozen=True, slots=True)
class Entry:
    """A snapshot as lists show it; times in nanoseconds.  `signed`: whether a known signer's signature was seen (None: the
    index vouches, or nothing says whom to believe).  `flag` says what is odd about it, or is None."""

    id: SnapshotId
    source: SourceId
    host: HostId
    seq: int
    started: int
    completed: int
    state: SnapshotState
    key_id: KeyId
    repairs: SnapshotId | None
    pinned: bool
    signer: str | None
    source_name: str | None = None
    host_name: str | None = None
    tags: tuple[str, ...] | None = None
    counts: Counts | None = None
    problems: int | None = None
    signed: bool | None = None
    flag: str | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A snapshot of which the store shows something, but no manifest that can be believed; `why` for people."""

    id: SnapshotId
    why: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a store holds: complete snapshots, oldest first; partial ones; what is broken, or was just then on its way in or
    out (`look.broken_snapshots` tells which); what the index alone knows.
    `mended`: the snapshots that others repair and hide, each with the one that stands for it now."""

    entries: tuple[Entry, ...]
    partial: tuple[Entry, ...]
    broken: tuple[Broken, ...]
    gone: tuple[SnapshotId, ...]
    metadata: Metadata
    mended: Mapping[SnapshotId, SnapshotId] = field(default_factory=dict)


def read_catalog(reader: Reader) -> Catalog:
    """One listing of metadata/; only what the index does not know is fetched."""
    # The index first: what its host publishes between the two is then listed and not known, and not the other way round.
    known = {row.id: row for row in all_snapshots(reader.index)} if reader.index else {}
    metadata = list_metadata(reader.at.store)
    hurt = find_hurt(reader, metadata)
    entries = [
        _from_row(row, reader, metadata.manifests[row.id], hurt)
        for row in known.values()
        if row.id in metadata.manifests
    ]
    fetched, broken = _fetch(reader, sorted(metadata.manifests.keys() - known.keys()), metadata, hurt)
    broken += [
        Broken(snapshot, "it has a signature and no manifest")
        for snapshot in sorted(metadata.signatures.keys() - metadata.manifests.keys())
    ]
    everything = sorted([*entries, *fetched], key=lambda entry: (entry.seq, entry.id))
    ordered = _without_repaired(everything)
    return Catalog(
        tuple(_flag_order(one for one in ordered if one.state == SnapshotState.COMPLETE)),
        tuple(one for one in ordered if one.state == SnapshotState.PARTIAL),
        tuple(broken),
        # Of partial ones, too, the index knows before they are put.
        tuple(row.id for row in known.values() if row.id not in metadata.manifests and row.state in _PUBLISHED),
        metadata,
        _standing(everything, ordered),
    )


def own_host_name(reader: Reader) -> str | None:
    """What this machine is called, for the rows that its own index vouches for."""
    return os.uname().nodename if reader.host else None


def _fetch(
    reader: Reader, wanted: Sequence[SnapshotId], metadata: Metadata, hurt: Hurt
) -> tuple[list[Entry], list[Broken]]:
    entries: list[Entry] = []
    broken: list[Broken] = []
    openers = _Openers(reader)
    for snapshot, found in read_manifests(reader, wanted):
        if isinstance(found, Manifest):
            entry = _from_manifest(found, _is_trusted(reader, found), openers, metadata.manifests[snapshot])
            entries.append(replace(entry, flag=entry.flag or hurt.flag_of_manifest(found)))
        elif not isinstance(found, ObjectNotFound):  # that was removed since it was listed
            broken.append(Broken(snapshot, found.message))
    return entries, broken


def _is_trusted(reader: Reader, manifest: Manifest) -> bool | None:
    """Whether its signer is known; None where nothing says who is."""
    if reader.trust is None:
        return None
    try:
        reader.trust.check(manifest.signer)
    except UntrustedSigner:
        return False
    return True


class _Openers:
    """What opens the names in manifests; a store key is opened once, when the first manifest needs it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._keys: dict[KeyId, list[Identity]] = {}

    def open(self, manifest: Manifest) -> About | None:
        try:
            return decode_about(manifest.about, self._identities(manifest))
        except (NoIdentity, AgeError, DamageError):
            return None

    def _identities(self, manifest: Manifest) -> list[Identity]:
        known = self._keys.get(manifest.key)
        if known is None:
            known = about_identities(self._reader)
            if self._reader.identities is not None:
                with contextlib.suppress(NoIdentity, DamageError):
                    known = [*known, open_wrapped(self._reader, manifest.key, manifest.wrapped_keys).identity]
            self._keys[manifest.key] = known
        return known


def _from_row(row: SnapshotRow, reader: Reader, info: ObjectInfo, hurt: Hurt) -> Entry:
    return Entry(
        id=row.id,
        source=row.source,
        host=row.host,
        seq=row.seq,
        started=row.started_at,
        completed=row.completed_at or row.started_at,
        state=SnapshotState.PARTIAL if row.state == State.PARTIAL else SnapshotState.COMPLETE,
        key_id=row.key_id,
        repairs=row.repairs,
        pinned=row.pinned,
        signer=reader.host.signing_key.public_text() if reader.host and reader.host.id == row.host else None,
        source_name=row.source_name,
        host_name=own_host_name(reader),
        tags=row.tags,
        counts=row.counts,
        problems=row.problems,
        flag="not whole: the store lost something while it was made"
        if row.state == State.UNCLEAN
        else _late(row.started_at, info) or hurt.flag_of(row.id),
    )


def _from_manifest(manifest: Manifest, signed: bool | None, openers: _Openers, info: ObjectInfo) -> Entry:
    about = openers.open(manifest)
    flag = "signed by an unknown signer" if signed is False else _late(manifest.started, info)
    return Entry(
        id=manifest.snapshot,
        source=manifest.source,
        host=manifest.host,
        seq=manifest.sequence,
        started=manifest.started,
        completed=manifest.completed,
        state=manifest.state,
        key_id=manifest.key,
        repairs=manifest.repairs,
        pinned=manifest.pinned,
        signer=manifest.signer,
        source_name=about.source if about else None,
        host_name=about.host if about else None,
        tags=about.tags if about else None,
        counts=Counts(about.files, about.bytes, about.new_bytes, about.stored_bytes) if about else None,
        problems=about.problems if about else None,
        signed=signed,
        flag=flag,
    )


def _late(started: int, info: ObjectInfo) -> str | None:
    return "signed more than a day later than the store's clock says" if started > info.modified + FUTURE_NS else None


def _without_repaired(entries: Iterable[Entry]) -> list[Entry]:
    """Leave out what a later manifest of the same source and sequence repairs."""
    found = list(entries)
    mended = {
        (one.host, one.source, one.seq, one.repairs)
        for one in found
        if one.repairs is not None and one.signed is not False
    }
    return [one for one in found if (one.host, one.source, one.seq, one.id) not in mended]


def _standing(entries: Iterable[Entry], shown: Iterable[Entry]) -> dict[SnapshotId, SnapshotId]:
    """For each hidden snapshot the shown one that repairs it, or what repairs it."""
    known = {one.id: one for one in entries}
    found: dict[SnapshotId, SnapshotId] = {}
    for one in shown:
        hidden = one.repairs
        while hidden is not None and hidden not in found and (entry := known.get(hidden)) is not None:
            if (entry.host, entry.source, entry.seq) != (one.host, one.source, one.seq):
                break
            found[hidden], hidden = one.id, entry.repairs
    return found


def _flag_order(entries: Iterable[Entry]) -> list[Entry]:
    """Flag what is out of order: a later sequence of a source that claims an earlier start."""
    newest: dict[tuple[HostId, SourceId], int] = {}
    found = []
    for one in entries:
        key = (one.host, one.source)
        if one.flag is None and one.started < newest.get(key, one.started):
            found.append(replace(one, flag="out of order: it says that it began before an older one"))
            continue
        if one.flag is None:
            newest[key] = one.started
        found.append(one)
    return found


def sources_of(entries: Iterable[Entry]) -> dict[tuple[HostId, SourceId], list[Entry]]:
    """Snapshots by source, each list oldest first."""
    found: dict[tuple[HostId, SourceId], list[Entry]] = {}
    for one in entries:
        found.setdefault((one.host, one.source), []).append(one)
    return found


def only_source(catalog: Catalog, name: str | None) -> list[Entry]:
    """The snapshots of the source that is called `name`; without one, of the only source there is.

    Sources whose names cannot be told (another host's, without an identity) are never taken for the one that is meant, and
    what an unknown signer signed is in nobody's way.  Raises UsageError.
    """
    known = [one for one in catalog.entries if one.signed is not False]
    groups = list(sources_of(known or catalog.entries).values())
    named = groups if name is None else [group for group in groups if is_called(group[-1], name)]
    if len(named) == 1:
        return named[0]
    if named:
        shown = ", ".join(_tell_apart([group[-1] for group in named]))
        raise UsageError(
            f"several sources: {shown}", hint="say which by --source NAME or HOST:NAME, or name the snapshot by its id"
        )
    if name is not None and any(group[-1].source_name is None for group in groups):
        raise UsageError(
            "source names cannot be told without an identity", hint="give --identity FILE, or name snapshots by id"
        )
    what = f"source {name!r} has no snapshots" if name else "the store has no snapshots"
    raise UsageError(what, hint="`vaultpy snapshot list` shows what there is")


def is_called(entry: Entry, name: str) -> bool:
    """Whether `name` means a snapshot's source: it is the source's, or `host:source`, where hosts have some of one name."""
    return entry.source_name is not None and name in (entry.source_name, describe_source(entry))


def describe_source(entry: Entry) -> str:
    """`host:source` where the names are known, ids where they are not."""
    return f"{entry.host_name or entry.host}:{entry.source_name or entry.source}"


def _tell_apart(entries: Sequence[Entry]) -> list[str]:
    """What one snapshot of each source says of it; with the host's id, where two hosts have the same name."""
    counts = Counter(map(describe_source, entries))
    return sorted(
        text if counts[text] == 1 else f"{text} of host {one.host}"
        for one, text in zip(entries, map(describe_source, entries), strict=True)
    )
