"""A worker process: reads the batches that it is given, and packs what is new of them.

It knows neither index nor store, and no secret: hashes go out, a verdict on each comes back, sealed blobs go out.  One
thread does all of it, in the order in which messages come, because in Python two threads would mostly wait for each other.
"""

from __future__ import annotations

import gc
import os
from collections import deque

from vaultpy.age import parse_recipient
from vaultpy.errors import VaultpyError
from vaultpy.ops.making.seal import Sealer
from vaultpy.ops.making.wire import Batch, Failed, Setup, Verdict, Wire
from vaultpy.source.batch import BatchReader, Group, Part


def run(fd: int) -> None:
    """Work until told to finish, or until the other end is gone; `fd` is the socket to it."""
    gc.disable()  # nothing here forms cycles, and what lives long is little
    wire = Wire(fd)
    try:
        setup = wire.receive()
        assert isinstance(setup, Setup)
        recipients = [parse_recipient(text) for text in setup.recipients]
        with Sealer(recipients, setup.settings, wire.send_blob, random=os.urandom, scratch=setup.scratch) as sealer:
            _Worker(wire, sealer, birth_times=setup.birth_times).work()
    except (EOFError, BrokenPipeError):
        os._exit(1)  # nobody is left to tell
    except BaseException as error:  # noqa: BLE001  told to the other end, which says it to the user
        if isinstance(error, VaultpyError):
            wire.send(Failed(type(error), error.message, error.hint))
        else:
            wire.send(Failed(VaultpyError, f"worker process failed: {error!r}", None))


class _Worker:
    def __init__(self, wire: Wire, sealer: Sealer, *, birth_times: bool) -> None:
        self._wire, self._sealer = wire, sealer
        self._reader = BatchReader(self._give, birth_times=birth_times)
        self._batches: deque[tuple[int, list[Group]]] = deque()
        self._told_to_finish = False

    def work(self) -> None:
        while self._batches or self._reader.holds or not self._told_to_finish:
            if self._batches:
                self._read(*self._batches.popleft())
            else:
                self._hear()
        self._sealer.finish()
        self._wire.send(None)

    def _read(self, number: int, groups: list[Group]) -> None:
        try:
            self._reader.read(number, groups)
        finally:
            for fd, _ in groups:
                os.close(fd)

    def _give(self, part: Part) -> None:
        """Ask about what was read; hear what comes meanwhile, and wait for a verdict where enough waits for one."""
        self._wire.send(part)
        while self._reader.is_full or self._wire.has_message():
            self._hear()

    def _hear(self) -> None:
        message = self._wire.receive()
        if isinstance(message, Verdict):
            for hash, data in self._reader.settle(message.new):
                self._sealer.add(hash, data)
        elif isinstance(message, Batch):
            fds = self._wire.take_fds(len(message.files))
            self._batches.append((message.number, list(zip(fds, message.files, strict=True))))
        else:
            assert message is None
            self._told_to_finish = True
