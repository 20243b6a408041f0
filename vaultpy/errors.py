"""Everything vaultpy raises on purpose: one line for a person, a way out, and the exit code that tells the truth.

Reading a source, talking to the store and writing the index fail as three separate trees, because only the first may
be noted and passed over; the other two stop the run.  A full store must never look like an unreadable file.
"""

from __future__ import annotations


class VaultpyError(Exception):
    """A failure with a message for people: lower case, the object first, no full stop; advice goes into `hint`."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(VaultpyError):
    """The command line or the configuration asks for something that makes no sense."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration file is missing, unreadable, or says something that vaultpy does not know."""


class SourceError(VaultpyError):
    """One path of a source could not be read; the run notes it and goes on."""

    exit_code = 3


class VanishedError(SourceError):
    """A path was there when its folder was listed and is gone now: a note, not an error."""


class ReplacedError(SourceError):
    """A path is no longer the thing that was listed (another inode or kind)."""


class DamageError(VaultpyError):
    """Bytes are not what their hash, signature or format says they must be."""

    exit_code = 4


class StoreError(VaultpyError):
    """The store could not do what was asked; the run stops."""


class ObjectNotFound(StoreError):
    """A definite answer: the store has no object of that name.  Never raised for 403, 500 or a time-out."""


class ObjectExists(StoreError):
    """Another object, with other bytes, already has that name; it was left as it is."""


class StoreDenied(StoreError):
    """The credentials were refused or do not allow the operation."""


class StoreFull(StoreError):
    """The store has no room or quota left; trying again does not help."""


class StoreUnavailable(StoreError):
    """The store could not be reached or answered with a passing fault, for as long as was allowed for trying again."""


class StoreContradiction(StoreError):
    """The store's answers cannot all be true (a listing that goes backwards, a body cut short): nothing is built on it."""


class NoStore(StoreError):
    """There is no vaultpy store at that place."""

    exit_code = 10


class StoreFormatError(StoreError):
    """The store, or an object in it, is of a format that this version does not know."""


class UntrustedSigner(VaultpyError):
    """A manifest's signature is good, but nothing says that its signer may be believed."""

    exit_code = 4


class IndexDatabaseError(VaultpyError):
    """The local index could not be read or written; the run stops."""


class IndexBehind(IndexDatabaseError):
    """The store holds snapshots of this host that the index does not know: an old copy, or a twin of this host."""


class IndexDamaged(IndexDatabaseError):
    """The index is there and is none that can be read: it can be made anew from the store."""


class IndexBusy(IndexDatabaseError):
    """Another process has been at work on the index for as long as was waited."""

    exit_code = 11


class IndexChanged(IndexDatabaseError):
    """What is being read in the index was dropped or moved there meanwhile: what was read so far is not all of it."""


class OtherVersion(IndexDatabaseError):
    """The index is of another version of vaultpy, and may only be read here."""


class LockedError(VaultpyError):
    """Another run holds the lock of this state folder."""

    exit_code = 11


class NoIdentity(VaultpyError):
    """No identity was given, or none that opens what has to be opened."""

    exit_code = 12


class TargetError(VaultpyError):
    """One path of a restore's target could not be made; the restore notes it and goes on, and is incomplete."""

    exit_code = 4


class TargetFull(TargetError):
    """There is no room left where the restore writes, or nothing left to write with; it stops."""
