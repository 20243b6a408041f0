"""`s3://`: a store in a bucket, on AWS or any compatible server.  The only importer of boto3 and botocore."""

from vaultpy.store.s3.store import S3Store

__all__ = ["S3Store"]
