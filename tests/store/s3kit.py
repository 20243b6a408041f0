"""A store whose server says what a test wants, with a clock that only moves when somebody sleeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripted import ScriptedServer

from vaultpy.store.location import S3Location
from vaultpy.store.s3 import S3Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass
class FakeTime:
    """A clock in seconds, and the sleeps that moved it."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass(frozen=True)
class Scripted:
    """A store (prefix "p") and the server behind it; `variant(...)` is the same with other settings in its URL."""

    store: S3Store
    server: ScriptedServer
    time: FakeTime
    variant: Callable[..., S3Store]


@dataclass(frozen=True)
class SharedServer:
    """One server and one client for all tests: making a client takes longer than most tests."""

    server: ScriptedServer
    client: S3Client
    location: S3Location
