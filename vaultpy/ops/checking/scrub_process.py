"""A process that looks at objects, and the end of it that this one holds.

    to it:    Setup · Job · Job …
    from it:  what was Seen, or the error that ended it, for each

Both ends are this program, on this machine, joined by an inherited socket that nobody else can open, so what comes over it
is believed.  The store keys' secrets go the same way, never by arguments or environment, which others can see.
"""

from __future__ import annotations

import os
import pickle
import subprocess
from dataclasses import dataclass
from multiprocessing.connection import Connection

from vaultpy.age import parse_identity
from vaultpy.errors import VaultpyError
from vaultpy.ops.checking.inspect import Job, Seen, inspect
from vaultpy.ops.processes import end_of, start_process
from vaultpy.store.open import open_store

_END_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Setup:
    """The store's URL, and the secret keys that open its blobs, as text."""

    store: str
    identities: tuple[str, ...]


class ScrubProcess:
    """A process that looks at objects.  For one thread at a time.  Use as a context manager: leaving it ends the process."""

    def __init__(self, setup: Setup) -> None:
        self._process, fd = start_process("verifying", __name__)
        self._connection = Connection(fd)
        self._send(setup)

    def inspect(self, job: Job) -> Seen:
        """As `inspect`, there."""
        self._send(job)
        try:
            answer = pickle.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionError):
            raise self._ended() from None
        if isinstance(answer, VaultpyError):
            raise answer
        assert isinstance(answer, Seen)
        return answer

    def __enter__(self) -> ScrubProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: Setup | Job) -> None:
        try:
            self._connection.send_bytes(pickle.dumps(message))
        except ConnectionError:
            raise self._ended() from None

    def _ended(self) -> VaultpyError:
        return VaultpyError(end_of("verifying", self._process), hint="verify again; nothing was changed")


def run(fd: int) -> None:
    """Be that process: look at what comes over the socket `fd` until the other end lets go."""
    connection = Connection(fd)
    try:
        setup: Setup = pickle.loads(connection.recv_bytes())
        identities = [parse_identity(text) for text in setup.identities]
        store = open_store(setup.store)
        while True:
            job: Job = pickle.loads(connection.recv_bytes())
            try:
                answer: Seen | VaultpyError = inspect(store, identities, job)
            except VaultpyError as error:
                answer = error
            except Exception as error:  # noqa: BLE001  told to the other end, which says it to the user
                answer = VaultpyError(f"verifying process failed: {error!r}")
            connection.send_bytes(pickle.dumps(answer))
    except (EOFError, ConnectionError):
        os._exit(0)  # nobody is left to look for
