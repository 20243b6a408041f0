"""A process that looks at objects, and at the texts of exports, and the end of it that this one holds.

    to it:    Place · Rules · a Job, or a text · a Job, or a text …
    from it:  what was Seen, or Examined, or the error that ended it, for each job and text

Both ends are this program, on this machine, joined by an inherited socket that nobody else can open, so what comes over it
is believed.  The store keys' secrets go the same way, never by arguments or environment, which others can see.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from vaultpy.age import Identity, parse_identity
from vaultpy.errors import VaultpyError
from vaultpy.index.examine import Examined, Rules, Unproven, examine
from vaultpy.ops.checking.inspect import Job, Seen, inspect
from vaultpy.ops.processes import end_of, release, start_process, unreachable
from vaultpy.store.base import Store
from vaultpy.store.open import open_store

PIECE = 1024 * 1024
"""Bytes of an object that are read at once: on a local store as quick as more, and memory is needed for four processes."""

Answer = Seen | Examined | VaultpyError | Unproven


@dataclass(frozen=True, slots=True)
class Place:
    """Where objects are: the store's URL, and the secret keys that open its blobs, as text."""

    store: str
    identities: tuple[str, ...]


class CheckProcess:
    """A process that looks.  For one thread at a time.  Use as a context manager: leaving it ends the process."""

    def __init__(self, hash_seed: int) -> None:
        """`hash_seed`: what all processes that make digests of one export have in common."""
        self._process, fd = start_process("verifying", __name__, environment={"PYTHONHASHSEED": str(hash_seed)})
        self._connection = Connection(fd)

    def tell(self, about: Place | Rules) -> None:
        """What the jobs, or the texts, that follow have in common."""
        try:
            self._connection.send_bytes(pickle.dumps(about))
        except ConnectionError:
            raise self._ended() from None
        except OSError as error:
            raise unreachable("verifying", error) from error

    def ask(self, task: Job | bytes) -> Seen | Examined:
        """As `inspect`, or `examine`, there."""
        try:
            self._connection.send_bytes(pickle.dumps(task))
            answer: Answer = pickle.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionError):
            raise self._ended() from None
        except OSError as error:
            raise unreachable("verifying", error) from error
        if isinstance(answer, (VaultpyError, Unproven)):
            raise answer
        return answer

    def __enter__(self) -> CheckProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()
        release(self._process)

    def _ended(self) -> VaultpyError:
        return VaultpyError(end_of("verifying", self._process), hint="verify again; nothing was changed")


def run(fd: int) -> None:
    """Be that process: look at what comes over the socket `fd` until the other end lets go."""
    connection, looker = Connection(fd), _Looker()
    try:
        while True:
            message = pickle.loads(connection.recv_bytes())
            if isinstance(message, (Place, Rules)):
                looker.hear(message)
            else:
                connection.send_bytes(pickle.dumps(_answer(looker, message)))
    except (EOFError, ConnectionError):
        os._exit(0)  # nobody is left to look for


class _Looker:
    """What a process was told."""

    _rules: Rules
    _store: Store
    _identities: Sequence[Identity]

    def hear(self, about: Place | Rules) -> None:
        if isinstance(about, Rules):
            self._rules = about
        else:
            self._store = open_store(about.store)
            self._identities = [parse_identity(text) for text in about.identities]

    def look(self, task: Job | bytes) -> Seen | Examined:
        if isinstance(task, bytes):
            return examine(self._rules, task)
        return inspect(self._store, self._identities, task, piece=PIECE)


def _answer(looker: _Looker, task: Job | bytes) -> Answer:
    try:
        return looker.look(task)
    except (VaultpyError, Unproven) as error:
        return error
    except Exception as error:  # noqa: BLE001  told to the other end, which says it to the user
        return VaultpyError(f"verifying process failed: {error!r}")
