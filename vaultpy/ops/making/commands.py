"""Commands whose output is stored: each is a file of one folder that no file system has, and that snapshots do.

They come with the walk, as a folder of their own, so that they are compared, closed and listed as everything else is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from vaultpy import chunker
from vaultpy.config import CommandConfig
from vaultpy.index.live import LiveFile, chunks_of
from vaultpy.model import Problem, ProblemKind
from vaultpy.ops.making.compare import Found, Place, Sink
from vaultpy.ops.making.stream import Stamp, Streams
from vaultpy.source.listing import by_name, join
from vaultpy.source.programs import Program, ProgramFailed
from vaultpy.source.roots import Roots
from vaultpy.source.walk import NO_FD, Folder

NAME = b"vaultpy-commands"
PATH = b"/" + NAME

_FOLDER = Stamp(stat.S_IFDIR | 0o700, 0, 0, 0, 0, 0)
"""The same in every run, so that it is unchanged; its owner is whoever runs."""


def with_top(roots: Roots) -> Roots:
    """The roots of a source that has commands: whatever its paths are, the walk comes by `/`."""
    if any(path == b"/" for path, _ in (*roots.roots, *roots.ancestors)):
        return roots
    return replace(roots, ancestors=((b"/", os.stat("/")), *roots.ancestors))


def with_commands(folders: Iterable[Folder], names: Iterable[bytes], now: int) -> Iterator[Folder]:
    """The folders of a walk, and behind `/` the one with the commands' outputs, which are new as of `now`.

    A real folder of its name is left out.
    """
    entries = [(name, cast(os.stat_result, _file(now))) for name in sorted(names)]
    entry = (NAME, cast(os.stat_result, _FOLDER._replace(st_uid=os.geteuid(), st_gid=os.getegid())))
    for folder in folders:
        if folder.path == b"/":
            others = [one for one in folder.entries if one[0] != NAME]
            left_out = [*folder.left_out, *([PATH] if len(others) < len(folder.entries) else [])]
            yield folder._replace(entries=sorted([*others, entry], key=by_name), left_out=left_out)
            yield Folder(PATH, NO_FD, entry[1], entries)
        elif folder.path != PATH and not folder.path.startswith(PATH + b"/"):
            yield folder


def _file(now: int) -> Stamp:
    return Stamp(stat.S_IFREG | 0o600, 0, now, now, os.geteuid(), os.getegid())


@dataclass(frozen=True, slots=True)
class Commands:
    """What is run, by the name of its output, and in which environment."""

    commands: Mapping[bytes, CommandConfig]
    environment: Mapping[str, str]


def commands_of(commands: Sequence[CommandConfig], environment: Mapping[str, str], source: str) -> Commands:
    """The commands of a source."""
    named = {os.fsencode(command.name): command for command in commands}
    return Commands(named, {**environment, "VAULTPY_SOURCE": source})


class CommandSink:
    """A sink that runs the commands of its folder and gives everything else to another."""

    def __init__(self, inner: Sink, commands: Commands, streams: Streams) -> None:
        self._inner, self._commands, self._streams = inner, commands, streams

    def put_directory(self, parent_id: int | None, name: bytes) -> int:
        return self._inner.put_directory(parent_id, name)

    def changed(self, place: Place, old: LiveFile | None) -> None:
        if place.path != PATH:
            self._inner.changed(place, old)
            return
        row = self._streams.row_of(place.directory_id, place.name, cast(Stamp, place.stat), 0)
        self._streams.put(row._replace(kind=place.kind), self._streams.store(()), (), old)

    def changed_files(self, folder: Folder, directory_id: int, files: Sequence[Found]) -> None:
        if folder.path != PATH:
            self._inner.changed_files(folder, directory_id, files)
            return
        for name, _, old in files:
            self._run(directory_id, name, old)

    def close_file(self, row_id: int) -> None:
        self._inner.close_file(row_id)

    def close_directory(self, row_id: int) -> None:
        self._inner.close_directory(row_id)

    def folder_done(self) -> None:
        self._inner.folder_done()

    def _run(self, directory_id: int, name: bytes, old: LiveFile | None) -> None:
        """Run one command; where it fails there is no file, not even the one of the run before."""
        command, recorder = self._commands.commands[name], self._streams.recorder
        # Asked before: a chunk that has to be stored anew lies where it may stay afterwards.
        reusable = old is not None and (not old.size or recorder.is_reusable(old.id))
        try:
            with Program(command.run, self._commands.environment, command.timeout, keep_output=True) as program:
                stored = self._streams.store(chunker.cut(program.read))
                program.finish()
        except ProgramFailed as failure:
            self._streams.fail(Problem(join(PATH, name), ProblemKind.FAILED, failure.message), old)
            return
        if old is not None and reusable and chunks_of(recorder.index, old.id) == stored.chunk_ids:
            self._streams.leave(old)
            return
        row = self._streams.row_of(directory_id, name, _file(self._streams.now()), stored.size)
        self._streams.put(row, stored, (), old)
