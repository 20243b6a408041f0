"""A worker process: reads the batches that it is given, and packs what is new of them.

It knows neither index nor store, and no secret: hashes go out, a verdict on each comes back, sealed blobs go out.  Two
threads of it work beside each other, so that files are read while earlier ones are packed:

    receive: batch → [queue] ; verdict → chunks that are new → seal → blob
    read:    [queue] → files → parts
"""

from __future__ import annotations

import os
import queue
import threading

from vaultpy.age import parse_recipient
from vaultpy.errors import VaultpyError
from vaultpy.ops.seal import Sealer
from vaultpy.ops.wire import Batch, Failed, Setup, Verdict, Wire
from vaultpy.source.batch import BatchReader, Group


def run(fd: int) -> None:
    """Work until told to finish, or until the other end is gone; `fd` is the socket to it."""
    wire = Wire(fd)
    try:
        setup = wire.receive()
        assert isinstance(setup, Setup)
        recipients = [parse_recipient(text) for text in setup.recipients]
        with Sealer(recipients, setup.settings, wire.send_blob, random=os.urandom) as sealer:
            _work(wire, sealer, birth_times=setup.birth_times)
    except (EOFError, BrokenPipeError):
        os._exit(1)  # nobody is left to tell
    except BaseException as error:  # noqa: BLE001  told to the other end, which says it to the user
        _fail(wire, error)


def _work(wire: Wire, sealer: Sealer, *, birth_times: bool) -> None:
    batches: queue.SimpleQueue[tuple[int, list[Group]]] = queue.SimpleQueue()
    reader = BatchReader(wire.send, birth_times=birth_times)
    threading.Thread(target=_read, args=(wire, reader, batches), name="read", daemon=True).start()
    while (message := wire.receive()) is not None:
        if isinstance(message, Verdict):
            for hash, data in reader.settle(message.new):
                sealer.add(hash, data)
        else:
            assert isinstance(message, Batch)
            fds = wire.take_fds(len(message.files))
            batches.put((message.number, list(zip(fds, message.files, strict=True))))
    sealer.finish()
    wire.send(None)


def _read(wire: Wire, reader: BatchReader, batches: queue.SimpleQueue[tuple[int, list[Group]]]) -> None:
    try:
        while True:
            number, groups = batches.get()
            reader.read(number, groups)
            for fd, _ in groups:
                os.close(fd)
    except BaseException as error:  # noqa: BLE001  as above; the thread that receives would wait for ever
        _fail(wire, error)


def _fail(wire: Wire, error: BaseException) -> None:
    try:
        if isinstance(error, VaultpyError):
            wire.send(Failed(type(error), error.message, error.hint))
        else:
            wire.send(Failed(VaultpyError, f"worker process failed: {error!r}", None))
    finally:
        os._exit(1)
