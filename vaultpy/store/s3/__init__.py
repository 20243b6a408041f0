"""`s3://`: a store in a bucket, on AWS or any compatible server.  The only importer of boto3 and botocore."""

from vaultpy.store.limit import FREE, Line
from vaultpy.store.location import S3Location
from vaultpy.store.s3.client import make_client
from vaultpy.store.s3.store import S3Store
from vaultpy.store.s3.trial import BucketTrial

__all__ = ["BucketTrial", "S3Store", "make_client", "open_s3", "try_s3"]


def open_s3(location: S3Location, line: Line = FREE) -> S3Store:
    """The store in a bucket, with credentials from boto3's own chain.  Raises StoreError; asks the server nothing yet."""
    return S3Store(location, make_client(location, line))


def try_s3(location: S3Location) -> BucketTrial:
    """Ways to try the bucket out, with a client of their own; asks the server nothing yet."""
    return BucketTrial(location, make_client(location))
