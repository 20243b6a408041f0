"""How each program is told to do the same thing: one class a program, one method a step.

Every program works in a room of its own, knows nothing but that room, compresses as it does by default where it compresses
at all by default (zstd where it has to be told), and leaves out the same 20 patterns.  A step that a program does not have
raises Lacks, and the row says so.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from meter import Command, capture, must
from trees import EXCLUDED

PASSWORD = "benchmark"


class Lacks(Exception):
    """A program cannot do what a row measures."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of an S3 server; `address` is host:port, plain http."""

    address: str
    name: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Room:
    """Where one program works: its home and its store are in `folder`; it backs `source` up, to `bucket` if there is one."""

    folder: Path
    source: Path
    bucket: Bucket | None = None

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the person who runs the benchmark but the way to the programs."""
        own = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TMPDIR": str(self.folder)}
        own |= {f"XDG_{name}_HOME": str(self.home / name.lower()) for name in ("CONFIG", "STATE", "CACHE", "DATA")}
        if self.bucket:
            own |= {"AWS_ACCESS_KEY_ID": self.bucket.access_key, "AWS_SECRET_ACCESS_KEY": self.bucket.secret_key}
            own |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1"}
        return own

    def command(self, *argv: str | Path, folder: Path | None = None, **more: str) -> Command:
        return Command(tuple(map(str, argv)), self.environment | more, folder)

    def moved(self) -> Room:
        """The same store seen from a machine that knows nothing else."""
        return replace(self, folder=self.folder / "elsewhere")


class Program(Protocol):
    """What the benchmark asks of a program.  Commands are made, and run by others; only `begin` and `meet` run some."""

    name: str

    def version(self) -> str: ...

    def begin(self, room: Room) -> None:
        """Make an empty store; unmeasured."""

    def meet(self, room: Room, old: Room) -> None:
        """Let a new machine know a store that the one of `old` made; unmeasured."""

    def snapshot(self, room: Room) -> Command: ...

    def restore(self, room: Room, target: Path) -> Command:
        """The newest snapshot into `target`, which is there and empty."""

    def restored(self, room: Room, target: Path) -> Path:
        """Where `restore` brings the source back to."""

    def restore_one(self, room: Room, file: Path, target: Path) -> Command: ...

    def verify(self, room: Room) -> Command:
        """Read and check every stored byte."""

    def listing(self, room: Room) -> Command: ...

    def help(self, room: Room) -> Command: ...


class Vaultpy:
    name = "vaultpy"
    program = str(Path(sys.executable).with_name("vaultpy"))

    def version(self) -> str:
        return _version(self.program, "--version")

    def begin(self, room: Room) -> None:
        init = ("init", "--quiet", "--store", _vaultpy_url(room), "--new-identity", room.folder / "identity.txt")
        must(self._command(room, *init), room.folder / "init.log")
        patterns = ", ".join(f'"{one}"' for one in EXCLUDED)
        with self._config(room).open("a") as config:
            config.write(f'\n[sources.tree]\npaths = ["{room.source}"]\nexclude = [{patterns}]\n')

    def meet(self, room: Room, old: Room) -> None:
        shutil.copy(old.folder / "identity.txt", room.folder)

    def snapshot(self, room: Room) -> Command:
        return self._command(room, "snapshot", "create", "--quiet")

    def restore(self, room: Room, target: Path) -> Command:
        # The others give setuid programs back unasked.
        return self._command(room, "snapshot", "restore", "latest", target, "--privileged", *self._access(room))

    def restored(self, room: Room, target: Path) -> Path:
        return target / room.source.relative_to("/")

    def restore_one(self, room: Room, file: Path, target: Path) -> Command:
        return self._command(room, "snapshot", "restore", "latest", target, file, *self._access(room))

    def verify(self, room: Room) -> Command:
        return self._command(room, "snapshot", "verify", "--all", "--deep", *self._access(room))

    def listing(self, room: Room) -> Command:
        return self._command(room, "snapshot", "list")

    def help(self, room: Room) -> Command:
        return self._command(room, "--help")

    def index(self, room: Room) -> Path:
        """The index of the host that works in a room."""
        return next((room.home / "state/vaultpy").glob("*/index.sqlite"))

    def _access(self, room: Room) -> tuple[str | Path, ...]:
        known = () if self._config(room).exists() else ("--store", _vaultpy_url(room))
        return ("--identity", room.folder / "identity.txt", *known)

    def _config(self, room: Room) -> Path:
        return room.home / "config/vaultpy/config.toml"

    def _command(self, room: Room, *argv: str | Path) -> Command:
        return room.command(self.program, *argv)


def _vaultpy_url(room: Room) -> str:
    if room.bucket is None:
        return f"file://{room.store}"
    return f"s3://{room.bucket.name}/vault?endpoint=http://{room.bucket.address}&region=us-east-1&addressing=path"


class Restic:
    name = "restic"

    def version(self) -> str:
        return _version("restic", "version")

    def begin(self, room: Room) -> None:
        must(self._command(room, "init", "--repository-version", "2"), room.folder / "init.log")

    def meet(self, room: Room, old: Room) -> None:
        pass

    def snapshot(self, room: Room) -> Command:
        return self._command(room, "backup", room.source, *(f"--exclude={one}" for one in EXCLUDED))

    def restore(self, room: Room, target: Path) -> Command:
        return self._command(room, "restore", "latest", "--target", target)

    def restored(self, room: Room, target: Path) -> Path:
        return target / room.source.relative_to("/")

    def restore_one(self, room: Room, file: Path, target: Path) -> Command:
        return self._command(room, "restore", "latest", "--target", target, "--include", file)

    def verify(self, room: Room) -> Command:
        return self._command(room, "check", "--read-data")

    def listing(self, room: Room) -> Command:
        return self._command(room, "snapshots")

    def help(self, room: Room) -> Command:
        return room.command("restic", "--help")

    def _command(self, room: Room, *argv: str | Path) -> Command:
        bucket = room.bucket
        place = f"s3:http://{bucket.address}/{bucket.name}/restic" if bucket else str(room.store)
        return room.command("restic", "--repo", place, "--quiet", *argv, RESTIC_PASSWORD=PASSWORD)


class Rustic:
    name = "rustic"

    def version(self) -> str:
        return _version("rustic", "--version")

    def begin(self, room: Room) -> None:
        must(self._command(room, "init"), room.folder / "init.log")

    def meet(self, room: Room, old: Room) -> None:
        pass

    def snapshot(self, room: Room) -> Command:
        return self._command(room, "backup", room.source, *(f"--glob=!{one}" for one in EXCLUDED))

    def restore(self, room: Room, target: Path) -> Command:
        return self._command(room, "restore", f"latest:{room.source}", target)

    def restored(self, room: Room, target: Path) -> Path:
        return target

    def restore_one(self, room: Room, file: Path, target: Path) -> Command:
        return self._command(room, "restore", f"latest:{file}", target / file.name)

    def verify(self, room: Room) -> Command:
        return self._command(room, "check", "--read-data")

    def listing(self, room: Room) -> Command:
        return self._command(room, "snapshots")

    def help(self, room: Room) -> Command:
        return room.command("rustic", "--help")

    def _command(self, room: Room, *argv: str | Path) -> Command:
        more = {"RUSTIC_PASSWORD": PASSWORD, "RUSTIC_NO_PROGRESS": "true", "RUSTIC_LOG_LEVEL": "warn"}
        if room.bucket is None:
            return room.command("rustic", "--repository", room.store, *argv, **more)
        options = {"bucket": room.bucket.name, "root": "/rustic", "endpoint": f"http://{room.bucket.address}"}
        options |= {"access_key_id": room.bucket.access_key, "secret_access_key": room.bucket.secret_key}
        more |= {f"OPENDAL_{name.upper()}": value for name, value in options.items()} | {"OPENDAL_REGION": "us-east-1"}
        return room.command("rustic", "--repository", "opendal:s3", *argv, **more)


class Borg:
    name = "borg"

    def version(self) -> str:
        return _version("borg", "--version")

    def begin(self, room: Room) -> None:
        must(self._command(room, "init", "--encryption", "repokey-blake2", room.store), room.folder / "init.log")

    def meet(self, room: Room, old: Room) -> None:
        pass

    def snapshot(self, room: Room) -> Command:
        patterns = (f"--exclude=sh:**/{one}" for one in EXCLUDED)
        archive = f"{room.store}::{{now:%Y%m%d-%H%M%S.%f}}"
        return self._command(room, "create", "--compression", "zstd,3", *patterns, archive, room.source)

    def restore(self, room: Room, target: Path) -> Command:
        return self._command(room, "extract", self._newest(room), folder=target)

    def restored(self, room: Room, target: Path) -> Path:
        return target / room.source.relative_to("/")

    def restore_one(self, room: Room, file: Path, target: Path) -> Command:
        return self._command(room, "extract", self._newest(room), file.relative_to("/"), folder=target)

    def verify(self, room: Room) -> Command:
        return self._command(room, "check", "--verify-data", room.store)

    def listing(self, room: Room) -> Command:
        return self._command(room, "list", room.store)

    def help(self, room: Room) -> Command:
        return room.command("borg", "--help")

    def _newest(self, room: Room) -> str:
        name = capture(self._command(room, "list", "--last", "1", "--short", room.store)).strip()
        return f"{room.store}::{name}"

    def _command(self, room: Room, *argv: str | Path, folder: Path | None = None) -> Command:
        if room.bucket:
            raise Lacks("borg does not speak S3")
        return room.command("borg", *argv, folder=folder, BORG_PASSPHRASE=PASSWORD)


class Kopia:
    name = "kopia"

    def version(self) -> str:
        return _version("kopia", "--version")

    def begin(self, room: Room) -> None:
        self._repository(room, "create")
        policy = ("policy", "set", "--global", "--compression=zstd", *(f"--add-ignore={one}" for one in EXCLUDED))
        must(self._command(room, *policy), room.folder / "policy.log")

    def meet(self, room: Room, old: Room) -> None:
        self._repository(room, "connect")

    def snapshot(self, room: Room) -> Command:
        return self._command(room, "snapshot", "create", room.source)

    def restore(self, room: Room, target: Path) -> Command:
        return self._command(room, "snapshot", "restore", self._newest(room), target)

    def restored(self, room: Room, target: Path) -> Path:
        return target

    def restore_one(self, room: Room, file: Path, target: Path) -> Command:
        inside = f"{self._newest(room)}/{file.relative_to(room.source)}"
        return self._command(room, "snapshot", "restore", inside, target / file.name)

    def verify(self, room: Room) -> Command:
        return self._command(room, "snapshot", "verify", "--verify-files-percent=100")

    def listing(self, room: Room) -> Command:
        return self._command(room, "snapshot", "list")

    def help(self, room: Room) -> Command:
        return room.command("kopia", "--help")

    def _newest(self, room: Room) -> str:
        listed = capture(self._command(room, "snapshot", "list", "--all", "--json", "--max-results=1"))
        [found] = re.findall(r'"rootEntry":\s*\{.*?"obj":\s*"(\w+)"', listed, re.DOTALL)[-1:]
        return str(found)

    def _repository(self, room: Room, verb: str) -> None:
        place: tuple[str | Path, ...] = ("filesystem", "--path", room.store)
        if room.bucket is None:
            room.store.mkdir(exist_ok=True)
        else:
            place = ("s3", "--disable-tls", f"--endpoint={room.bucket.address}", f"--bucket={room.bucket.name}")
            place += (f"--access-key={room.bucket.access_key}", f"--secret-access-key={room.bucket.secret_key}")
            place += ("--region=us-east-1", "--prefix=kopia/")
        known = ("--override-hostname=bench", "--override-username=bench")
        must(self._command(room, "repository", verb, *place, *known), room.folder / f"{verb}.log")

    def _command(self, room: Room, *argv: str | Path) -> Command:
        shared = (f"--config-file={room.home}/kopia.config", f"--log-dir={room.home}/log", "--no-progress")
        return room.command("kopia", *argv, *shared, KOPIA_PASSWORD=PASSWORD, KOPIA_CHECK_FOR_UPDATES="false")


PEERS: dict[str, Callable[[], Program]] = {"restic": Restic, "borg": Borg, "kopia": Kopia, "rustic": Rustic}


def choose_programs(wanted: tuple[str, ...] | None) -> tuple[list[Program], list[str]]:
    """vaultpy and the peers that are on PATH (of those that are wanted), and the names of those that are not."""
    names = [name for name in PEERS if wanted is None or name in wanted]
    missing = [name for name in names if shutil.which(name) is None]
    return [Vaultpy(), *(PEERS[name]() for name in names if name not in missing)], missing


def new_room(folder: Path, source: Path, bucket: Bucket | None = None) -> Room:
    """A room with empty folders."""
    room = Room(folder, source, bucket)
    room.home.mkdir(parents=True)
    return room


def _version(*argv: str) -> str:
    said = capture(Command(argv, dict(os.environ)))
    found = re.search(r"\d+\.\d+(\.\d+)?", said)
    return found[0] if found else said.strip()
