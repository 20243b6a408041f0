"""From a URL to a store."""

from __future__ import annotations

from vaultpy.store.base import Store
from vaultpy.store.limit import FREE, Line
from vaultpy.store.local import LocalStore, create_local
from vaultpy.store.location import FileLocation, S3Location, parse_location
from vaultpy.store.trial import Trial


def open_store(url: str, line: Line = FREE) -> Store:
    """The store at a URL, over a line.  Raises UsageError for a URL that says nothing, NoStore for a folder that is not there.

    An S3 server is not asked anything yet.
    """
    location = parse_location(url)
    return LocalStore(location.path, line) if isinstance(location, FileLocation) else _open_s3(location, line)


def make_place(url: str) -> Store:
    """The store at a URL where one is to begin: the folder is made where it is missing; a bucket has to be there.

    Raises NoStore for a missing bucket, StoreDenied for refused credentials, so that `init` stops before it wrote anything.
    """
    location = parse_location(url)
    if isinstance(location, FileLocation):
        return create_local(location.path)
    store = _open_s3(location, FREE)
    store.clock()
    return store


def open_trial(url: str) -> Trial | None:
    """What can be tried at a URL beyond the contract of a store; None where the contract is all there is."""
    location = parse_location(url)
    if isinstance(location, FileLocation):
        return None
    from vaultpy.store.s3 import try_s3

    return try_s3(location)


def _open_s3(location: S3Location, line: Line) -> Store:
    from vaultpy.store.s3 import open_s3  # boto3 takes a quarter of a second to import

    return open_s3(location, line)
