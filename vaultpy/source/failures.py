"""What the system says about a path, in our words: which failures are notes about one path, and which are our own."""

from __future__ import annotations

import errno
import os

from vaultpy.errors import ReplacedError, SourceError, VanishedError, VaultpyError
from vaultpy.model import Problem, ProblemKind

_GONE = frozenset({errno.ENOENT, errno.ESTALE})
_ANOTHER_KIND = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV, errno.EINVAL})
_OUR_OWN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBADF})


def explain(error: OSError) -> str:
    """What the system said, without the path: `permission denied`."""
    return os.strerror(error.errno).lower() if error.errno is not None else str(error).lower()


def translate(error: OSError) -> VaultpyError:
    """The SourceError that says the same, its message without the path: only the caller knows it whole.

    A lack of descriptors or memory is no fault of the path: it comes back as a VaultpyError that stops the run, because
    as a note it would leave thousands of readable files out of a snapshot.
    """
    detail = explain(error)
    if error.errno in _GONE:
        return VanishedError(detail)
    if error.errno in _ANOTHER_KIND:
        return ReplacedError(f"no longer what it was when it was listed ({detail})")
    if error.errno in _OUR_OWN:
        return VaultpyError(f"reading the source: {detail}", hint="raise the limits on open files and memory")
    return SourceError(detail)


def to_problem(path: bytes, error: SourceError) -> Problem:
    """The note that a SourceError leaves about a path."""
    passing = isinstance(error, (VanishedError, ReplacedError))
    return Problem(path, ProblemKind.VANISHED if passing else ProblemKind.UNREADABLE, error.message)
