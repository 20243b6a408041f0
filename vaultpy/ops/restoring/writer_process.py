"""A process that writes a part of a restore, and the end of it that this one holds.

    to it:    Setup · Share · Share …
    from it:  an Outcome, or the error that ended it, for each

Both ends are this program, on this machine, joined by an inherited socket that nobody else can open, so what comes over it
is believed.  The store key's secret goes the same way, never by arguments or environment, which others can see.
"""

from __future__ import annotations

import marshal
import os
import pickle
from dataclasses import dataclass
from multiprocessing.connection import Connection

from vaultpy.age import parse_identity
from vaultpy.errors import VaultpyError
from vaultpy.ops.processes import end_of, release, start_process, unreachable
from vaultpy.ops.restoring.fetch import Fetcher
from vaultpy.ops.restoring.share import Outcome, Share
from vaultpy.ops.restoring.write import Writer
from vaultpy.source.apply import ApplyOptions
from vaultpy.source.target import TargetTree
from vaultpy.store.open import open_store

# The same buffers of a few MiB again and again: to give them back to the system after each use, and to be given them anew,
# was a sixth of all that a restore of large files costs.
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": str(16 << 20), "MALLOC_TRIM_THRESHOLD_": str(32 << 20)}
_GOOD, _BAD = b"\1", b"\0"


@dataclass(frozen=True, slots=True)
class Setup:
    """The store's URL, the secret key that opens it as text, where to write, and how."""

    store: str
    identity: str
    target: bytes
    options: ApplyOptions


class WriterProcess:
    """A process that writes shares.  For one thread at a time.  Use as a context manager: leaving it ends the process."""

    def __init__(self, setup: Setup) -> None:
        self._process, fd = start_process("writer", __name__, environment=_ENVIRONMENT)
        self._connection = Connection(fd)
        try:
            self._send(pickle.dumps(setup))
        except BaseException:
            self.__exit__()
            raise

    def write(self, share: Share) -> Outcome:
        """As Writer.write."""
        self._send(marshal.dumps(tuple(share)))
        try:
            answer = self._connection.recv_bytes()
        except (EOFError, ConnectionError):
            raise self._ended() from None
        except OSError as error:
            raise unreachable("writer", error) from error
        if answer[:1] == _GOOD:
            return Outcome._make(marshal.loads(answer[1:]))
        failure: VaultpyError = pickle.loads(answer[1:])
        raise failure

    def __enter__(self) -> WriterProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()
        release(self._process)

    def _send(self, data: bytes) -> None:
        try:
            self._connection.send_bytes(data)
        except ConnectionError:
            raise self._ended() from None
        except OSError as error:
            raise unreachable("writer", error) from error

    def _ended(self) -> VaultpyError:
        return VaultpyError(end_of("writer", self._process), hint="run the restore again; it goes on")


def run(fd: int) -> None:
    """Be that process: write what comes over the socket `fd` until the other end lets go."""
    connection = Connection(fd)
    try:
        setup: Setup = pickle.loads(connection.recv_bytes())
        with TargetTree(setup.target) as tree:
            fetcher = Fetcher(open_store(setup.store), [parse_identity(setup.identity)])
            writer = Writer(fetcher, tree, setup.options)
            while True:
                connection.send_bytes(_answer(writer, connection.recv_bytes()))
    except (EOFError, ConnectionError):
        os._exit(0)  # nobody is left to write for
    except VaultpyError as error:
        connection.recv_bytes()
        connection.send_bytes(_BAD + pickle.dumps(error))


def _answer(writer: Writer, request: bytes) -> bytes:
    try:
        outcome = writer.write(Share._make(marshal.loads(request)))
        # marshal refuses what is derived from str, as the kinds of metadata are.
        return _GOOD + marshal.dumps(tuple(outcome._replace(missed=list(map(str, outcome.missed)))))
    except VaultpyError as error:
        return _BAD + pickle.dumps(error)
    except BaseException as error:  # noqa: BLE001  told to the other end, which says it to the user
        return _BAD + pickle.dumps(VaultpyError(f"writer process failed: {error!r}"))
