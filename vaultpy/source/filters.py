"""What is left out of a source: patterns in gitignore's syntax, and caches that say so themselves.

The rules, as gitignore's manual has them, with the source path as the folder that the ignore file lies in:

- the last pattern that matches a path decides; `!` takes back what an earlier pattern left out;
- a directory that is left out is not entered, so nothing below it can be taken back;
- a pattern without a slash (but at its end) matches the name at any depth; with one it is anchored: it matches the
  whole path below the source path;
- a `/` at the end: directories only; `*`, `?` and `[...]` never match a slash; `**` as a whole segment is any depth.

One addition, because people copy paths: an anchored pattern that begins with the source path itself, written
absolutely, means that place.  For the source path /home/anna, `/home/anna/.cache` and `/home/*/.cache` are `/.cache`.
The first segment has to be there literally, so `/*/x` keeps its meaning.  A source path itself is never left out.

pathspec translates the globs to regular expressions.  Which pattern decides is told here, because pathspec answers for
files and not for directories: with `*`, `!*/`, `!*.c` it would leave every directory out.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from vaultpy.errors import UsageError
from vaultpy.source.read import OPEN, open_unseen

CACHE_TAG = b"CACHEDIR.TAG"
_CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"

_NEWLINE = "\udc0a"
"""Stands for a newline in names and patterns: `.` and `$` treat newlines as no other character.  No name holds it, as
surrogates only stand for bytes from 0x80 on."""

_POSIX_CLASS = re.compile(r"\[[:.=].*?[:.=]\]")
_WELL_FORMED = re.compile(r"(?:\\.|\[[!^]?+.[^\]]*\]|[^\\\[])*+", re.DOTALL)
_NAME_END = "(?:(?P<ps_d>/)|$)"


class Decision(NamedTuple):
    """Whether a path is left out or (by a pattern with `!`) taken back, and what says so."""

    out: bool
    reason: str


Verdict = Callable[[str, bool], Decision | None]
"""A name (as os.fsdecode has it) and whether it is a directory in; what is decided about it, or None, out."""


class Plain(NamedTuple):
    """Names, and beginnings and ends of names: what most patterns are."""

    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    negated: bool
    directories_only: bool
    by_name: bool
    glob: str
    regex: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Filter:
    """Some patterns, compiled, and the folder that they are relative to.

    Most paths are left out by nothing.  So the patterns that can leave something out are first asked together, by a set
    lookup, a test of beginnings and ends and one regular expression; only where one of them matches are the rules gone
    through.
    """

    rules: tuple[_Rule, ...]
    """The last pattern first."""
    plain: Plain
    name_regex: re.Pattern[str] | None
    path_regex: re.Pattern[str] | None

    def within(self, folder: bytes) -> Verdict:
        """The verdict on what a folder holds; `folder` is its path below the one that the patterns are relative to (b""
        for that itself)."""
        prefix = _readable(folder) + "/" if folder else ""
        (names, prefixes, suffixes), name_regex, path_regex = self.plain, self.name_regex, self.path_regex

        def verdict(name: str, is_directory: bool) -> Decision | None:
            if "\n" in name:
                name = name.replace("\n", _NEWLINE)
            if (
                name in names
                or name.endswith(suffixes)
                or name.startswith(prefixes)
                or (name_regex is not None and name_regex.match(name))
                or (path_regex is not None and path_regex.match(prefix + name))
            ):
                return self._decide(name, prefix + name, is_directory)
            return None

        return verdict

    @property
    def is_plain(self) -> bool:
        """Whether only names matter, and only those that fit `plain`: the verdict on any other, in any folder, is None."""
        texts = (*self.plain.names, *self.plain.prefixes, *self.plain.suffixes)
        has_newlines = any(_NEWLINE in text for text in texts)  # which names are not written with
        return self.name_regex is None and not has_newlines and all(rule.by_name for rule in self.rules)

    def decides(self, folder: bytes) -> Verdict:
        """The same, one that also knows what is taken back without having been left out by these patterns: for several
        filters one above the other.  It goes through all rules each time."""
        prefix = _readable(folder) + "/" if folder else ""

        def verdict(name: str, is_directory: bool) -> Decision | None:
            name = name.replace("\n", _NEWLINE)
            return self._decide(name, prefix + name, is_directory)

        return verdict

    def excluded(self, path: bytes, is_directory: bool) -> str | None:
        """The pattern that leaves out this path below the source path, if none of its parents is left out already."""
        folder, _, name = path.rpartition(b"/")
        decision = self.within(folder)(os.fsdecode(name), is_directory)
        return decision.reason if decision is not None and decision.out else None

    def _decide(self, name: str, path: str, is_directory: bool) -> Decision | None:
        for rule in self.rules:
            if (is_directory or not rule.directories_only) and rule.regex.match(name if rule.by_name else path):
                return Decision(not rule.negated, rule.text)
        return None


def compile_filter(patterns: Iterable[str], root: bytes = b"/") -> Filter | None:
    """The filter for the source path `root` (absolute); None when no pattern says anything.

    Raises UsageError for a pattern that does not parse: ignoring it would store what should be left out.
    """
    above = [segment for segment in _readable(root).split("/") if segment]
    rules = [rule for text in patterns if (rule := _parse(text, above)) is not None]
    if not any(not rule.negated for rule in rules):
        return None
    return _prepare(rules)


def compile_lines(lines: Iterable[str], on_wrong: Callable[[int, str], None]) -> Filter | None:
    """The filter that an ignore file makes for the folder it lies in; None when it says nothing.

    A line that does not parse says nothing either, and `on_wrong` hears its number and why.
    """
    rules = []
    for number, text in enumerate(lines, 1):
        try:
            rule = _parse(text, ())
        except UsageError as error:
            on_wrong(number, error.message)
        else:
            rules += [rule] if rule is not None else []
    return _prepare(rules) if rules else None


def _prepare(rules: Sequence[_Rule]) -> Filter:
    names: set[str] = set()
    prefixes: set[str] = set()
    suffixes: set[str] = set()
    name_globs: list[str] = []
    path_globs: list[str] = []
    for rule in rules:
        if rule.negated:
            continue
        if not rule.by_name:
            path_globs.append(rule.regex.pattern)
        elif _is_literal(rule.glob):
            names.add(rule.glob)
        elif rule.glob.startswith("*") and _is_literal(rule.glob[1:]):
            suffixes.add(rule.glob[1:])
        elif rule.glob.endswith("*") and _is_literal(rule.glob[:-1]):
            prefixes.add(rule.glob[:-1])
        else:
            name_globs.append(rule.regex.pattern)
    plain = Plain(frozenset(names), tuple(prefixes), tuple(suffixes))
    return Filter(tuple(reversed(rules)), plain, _any_of(name_globs), _any_of(path_globs))


def _any_of(globs: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{glob})" for glob in globs)) if globs else None


def _parse(text: str, above: Sequence[str]) -> _Rule | None:
    """One line of patterns; None for a comment, an empty line, and what gitignore says matches nothing."""
    line = text if text.endswith("\\ ") else text.rstrip()
    if not line or line.startswith("#"):
        return None
    # Names are compared as Python decodes them, which need not be UTF-8; a pattern of the configuration is UTF-8.
    line = _readable(line.encode("utf-8", "surrogateescape"))
    negated = line.startswith("!")
    glob = line[negated:]
    directories_only = glob.endswith("/")
    glob = glob.removesuffix("/")
    if not glob or glob.endswith("/"):
        return None
    if glob.startswith("**/") and "/" not in glob[3:]:
        glob = glob[3:]
    by_name = "/" not in glob
    if not by_name:
        glob = _below(glob, above, text)
    return _Rule(text, negated, directories_only, by_name, glob, _compile(glob, text))


def _below(glob: str, above: Sequence[str], text: str) -> str:
    """An anchored pattern that begins with the source path itself, without that beginning."""
    segments = glob.split("/")[1:]
    if glob.startswith("/") and above and len(segments) > len(above) and segments[0] == above[0]:
        pairs = zip(segments, above, strict=False)
        if all("**" not in segment and _compile(segment, text).match(name) for segment, name in pairs):
            return "/" + "/".join(segments[len(above) :])
    return glob


def _compile(glob: str, text: str) -> re.Pattern[str]:
    """The regular expression, for `match`, of a name or of a path that is written without a slash at its end."""
    # Anchoring everything also takes the meaning from `!` and `#` at the beginning.
    anchored = "/" + glob.removeprefix("/")
    try:
        if _POSIX_CLASS.search(glob):
            raise ValueError("classes such as [:alpha:] are not known")
        if not _WELL_FORMED.fullmatch(glob):
            raise ValueError("a bracket is not closed, or a backslash ends it")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `[[]` is a bracket here, and may be a nested set one day
            regex = next(iter(GitIgnoreSpec.from_lines([anchored]).patterns)).regex
            if regex is None:
                raise ValueError("it does not parse")
            # A path below one that matches is not asked: what is left out is not entered.
            whole = regex.pattern.replace(_NAME_END, "$")
            return re.compile(whole if whole.startswith("^") else f"^.*{whole}")  # `**/*/**` becomes a mere `/`
    except (ValueError, re.error) as error:
        raise UsageError(
            f"pattern {text!r}: {error}",
            hint="put a backslash before *, ?, [ and \\ to mean the character itself",
        ) from error


def _is_literal(glob: str) -> bool:
    return not any(char in glob for char in "*?[\\")


def _readable(path: bytes) -> str:
    return os.fsdecode(path).replace("\n", _NEWLINE)


def is_cache(dir_fd: int) -> bool:
    """Whether a directory holds a CACHEDIR.TAG with the right first 43 bytes (https://bford.info/cachedir/).

    A tag that cannot be read says nothing: the directory is stored.
    """
    try:
        fd = open_unseen(CACHE_TAG, OPEN, dir_fd)
    except OSError:
        return False
    try:
        return os.read(fd, len(_CACHE_SIGNATURE)) == _CACHE_SIGNATURE
    except OSError:
        return False
    finally:
        os.close(fd)
