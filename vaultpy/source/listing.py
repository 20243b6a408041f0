"""What is in one directory: the part of a walk that runs once per file, so it does nothing that it need not."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

from vaultpy.errors import SourceError
from vaultpy.model import Problem
from vaultpy.source.failures import to_problem, translate
from vaultpy.source.filters import Decision, Plain, Verdict

Entry = tuple[bytes, os.stat_result]
"""A name in a folder, and what was there when it was listed (links not followed)."""

by_name = itemgetter(0)

_ENCODING = sys.getfilesystemencoding()
_ERRORS = sys.getfilesystemencodeerrors()
_TYPE = 0o170000
_DIRECTORY = stat.S_IFDIR
_NOTHING_IN_IT = frozenset({stat.S_IFSOCK, stat.S_IFDOOR, stat.S_IFPORT}) - {0}
"""Kinds that have no content and that only their maker can make again (S_IFDOOR and S_IFPORT are 0 where unknown)."""


OnDecision = Callable[[bytes, Decision], None]
"""Hears of every path about which some setting decided."""


@dataclass(frozen=True, slots=True)
class Leave:
    """What a listing leaves out.

    `skip`: this program's own files and folders, devices by inode.  `verdict`: by names, for this folder.  `plain`: where
    it is given, the verdict on a name that does not fit it is known to be None.  `unwanted`: a name and what is there in,
    why it is left out all the same, or None, out; asked last.  `on_decision`: see there.
    """

    skip: Mapping[int, Collection[int]] = field(default_factory=dict)
    verdict: Verdict | None = None
    plain: Plain | None = None
    unwanted: Callable[[bytes, os.stat_result], str | None] | None = None
    on_decision: OnDecision | None = None


PORTION = 50_000
"""Entries of one directory that are held at a time."""

_BESIDE = (b"-wal", b"-journal", b"-shm")

_JOURNALS = (b"-wal", b"-journal")
"""What lies beside a database in use (see `sqlite`): left out or not, it says that one is there."""


@dataclass(slots=True)
class Listing:
    """What was found in a directory; entries and directories in the byte order of their names.  `journals`: names that a
    database's journal has, and that are left out.  `more`: names that come behind these follow."""

    entries: list[Entry] = field(default_factory=list)
    directories: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: list[bytes] = field(default_factory=list)
    skipped: int = 0
    journals: list[bytes] = field(default_factory=list)
    more: bool = False

    def sort(self) -> None:
        self.entries.sort(key=by_name)
        self.directories.sort(key=by_name)


def list_folder(fd: int, path: bytes, leave: Leave) -> Iterator[Listing]:
    """List and stat everything in an open directory, whose absolute path only serves for naming things.

    One listing, unless the directory is so large that it comes in portions.  What vanishes or fails meanwhile is a problem
    of the listing.  Raises VaultpyError for a lack of descriptors or memory, which is nobody's problem but ours.
    """
    listing = Listing()
    rest: list[bytes] = []
    try:
        with os.scandir(fd) as found:
            _take(islice(found, PORTION), path, leave, listing)
            rest.extend(entry.name.encode(_ENCODING, _ERRORS) for entry in found)
    except OSError as error:  # the directory itself fails: what was read of it so far is kept
        listing.problems.append(_problem(path, error))
    if rest:
        yield from _portions(fd, path, leave, listing, rest)
    else:
        listing.sort()
        yield listing


def _portions(fd: int, path: bytes, leave: Leave, first: Listing, rest: list[bytes]) -> Iterator[Listing]:
    """A large directory in the order of its names, of which `first` has been looked at: of the others only the names are
    held, and they are looked at when it is their turn."""
    known, directories = dict(first.entries), {name for name, _ in first.directories}
    journals = first.journals
    portions = _cut_up(sorted([*known, *rest]), rest)
    first.entries = []
    while portions:
        names = portions.pop().split(b"/")
        listing, first = first, Listing(journals=journals)
        seen = [(name, known.pop(name)) for name in names if name in known]
        listing.entries, listing.directories = seen, [entry for entry in seen if entry[0] in directories]
        others = set(names).difference(name for name, _ in seen)
        _take((_Named(os.fsdecode(one), fd) for one in others), path, leave, listing)
        listing.sort()
        listing.more = bool(portions)
        yield listing


def _cut_up(names: list[bytes], rest: list[bytes]) -> list[bytes]:
    """The names portion by portion, the last first, each as one text: a name by itself takes four times its length.  Both
    lists are empty then."""
    rest.clear()
    portions = []
    start = 0
    while start < len(names):
        end = _cut(names, start + PORTION)
        portions.append(b"/".join(names[start:end]))
        start = end
    names.clear()
    return portions[::-1]


def _cut(names: list[bytes], end: int) -> int:
    """Where a portion ends: not between a database and what lies beside it, whose names go on behind its own."""
    while end < len(names) and (names[end].endswith(_BESIDE) or names[end].startswith(names[end - 1])):
        end += 1
    return end


class _Named:
    """What os.scandir gives, for a name that is looked at later."""

    __slots__ = ("_fd", "name")

    def __init__(self, name: str, fd: int) -> None:
        self.name, self._fd = name, fd

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        return os.stat(self.name, dir_fd=self._fd, follow_symlinks=follow_symlinks)

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        try:
            return stat.S_ISDIR(self.stat(follow_symlinks=follow_symlinks).st_mode)
        except OSError:
            return False  # as os.scandir's says of what it cannot look at


def _take(found: Iterable[os.DirEntry[str] | _Named], path: bytes, leave: Leave, listing: Listing) -> None:
    verdict, skip, unwanted = leave.verdict, leave.skip, leave.unwanted
    ask_all = leave.plain is None and verdict is not None
    names, prefixes, suffixes = leave.plain or Plain()
    entries, directories = listing.entries, listing.directories
    for entry in found:
        text = entry.name
        name = text.encode(_ENCODING, _ERRORS)
        try:
            # The filter first: who excludes a mount that even root may not look at does not want to hear of it.
            if (
                (ask_all or text in names or text.endswith(suffixes) or text.startswith(prefixes))
                and verdict is not None
                and (decision := verdict(text, entry.is_dir(follow_symlinks=False))) is not None
            ):
                _tell(leave, path, name, decision)
                if decision.out:
                    _note_journal(listing, name)
                    continue
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            listing.problems.append(_problem(join(path, name), error))
            continue
        if status.st_ino in skip and status.st_dev in skip[status.st_ino]:
            listing.left_out.append(join(path, name))
            continue
        if unwanted is not None and (reason := unwanted(name, status)) is not None:
            _tell(leave, path, name, Decision(True, reason))
            _note_journal(listing, name)
            continue
        kind = status.st_mode & _TYPE
        if kind == _DIRECTORY:
            directories.append((name, status))
        elif kind in _NOTHING_IN_IT:
            listing.skipped += 1
            _tell(leave, path, name, Decision(True, "a socket, or something like it"))
            continue
        entries.append((name, status))


def _tell(leave: Leave, path: bytes, name: bytes, decision: Decision) -> None:
    if leave.on_decision is not None:
        leave.on_decision(join(path, name), decision)


def _note_journal(listing: Listing, name: bytes) -> None:
    """Remember of a name that is left out that a database's journal has it."""
    if name.endswith(_JOURNALS):
        listing.journals.append(name)


def keep_only(listing: Listing, path: bytes, kept: bytes, reason: str, on_decision: OnDecision | None) -> None:
    """Forget all of a listing but the name that says that the rest is not wanted: it says so again when it is restored."""
    if on_decision is not None:
        for name, _ in listing.entries:
            if name != kept:
                on_decision(join(path, name), Decision(True, reason))
    listing.entries[:] = [entry for entry in listing.entries if entry[0] == kept]
    listing.directories[:] = [entry for entry in listing.directories if entry[0] == kept]
    listing.problems.clear()
    listing.skipped = 0


def join(folder: bytes, name: bytes) -> bytes:
    """The path of a name in a folder, `/` among them."""
    return b"%b/%b" % (folder.rstrip(b"/"), name)


def _problem(path: bytes, error: OSError) -> Problem:
    failure = translate(error)
    if not isinstance(failure, SourceError):
        raise failure from error
    return to_problem(path, failure)
