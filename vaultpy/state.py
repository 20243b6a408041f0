"""What makes a host itself: its id and its two small secrets, which sign manifests and open exports, and no content.

They lie in one file of the state folder, and once more beside the configuration, so that losing the state folder loses
nothing that `index rebuild` cannot bring back.  The copy names the machine it was made on: a configuration folder that is
copied to 200 machines makes 200 hosts, not one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vaultpy.age import Identity, Recipient, X25519Identity, parse_identity
from vaultpy.durable import make_folders, sync_folder
from vaultpy.errors import ConfigError, DamageError, UsageError
from vaultpy.model import HostId, StoreId, host_id_of
from vaultpy.signature import SigningKey, load_signing_key

FORMAT = 1
_MACHINE_ID = Path("/etc/machine-id")


@dataclass(frozen=True, slots=True)
class StatePaths:
    """Where a host keeps what is its own; `copy` lies beside the configuration file."""

    folder: Path
    copy: Path

    @property
    def secrets(self) -> Path:
        return self.folder / "host.json"

    @property
    def index(self) -> Path:
        return self.folder / "index.sqlite"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def scratch(self) -> Path:
        """For exports on their way; whatever a dead run left there is removed by the next."""
        return self.folder / "scratch"


def state_paths(state: Path, config: Path) -> StatePaths:
    """The places that belong to a state folder and a configuration file."""
    return StatePaths(state, config.with_name(config.name + ".host"))


@dataclass(frozen=True, slots=True)
class Host:
    """This host: what it signs with, which is also who it is, and what opens its own exports."""

    signing_key: SigningKey
    index_key: Identity

    @property
    def id(self) -> HostId:
        return host_id_of(self.signing_key.public_text())

    @property
    def index_recipient(self) -> Recipient:
        return self.index_key.recipient()


def make_host(random: Callable[[int], bytes]) -> Host:
    """A host that never was before."""
    return Host(SigningKey.generate(), X25519Identity.generate(random))


def load_host(paths: StatePaths, store: StoreId) -> Host | None:
    """The host of this state folder; else the one whose copy lies beside the configuration, if it was this machine.

    Raises ConfigError when a file is there and cannot be understood: making a new host instead would orphan the old one's
    snapshots silently.
    """
    for path, is_copy in ((paths.secrets, False), (paths.copy, True)):
        try:
            text = path.read_text()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(
                f"host secrets {path} cannot be read: {(error.strerror or str(error)).lower()}",
                hint="run as the user that the state folder belongs to, and look at its disk",
            ) from error
        except UnicodeDecodeError as error:
            raise _damaged(path) from error
        machine, host = _decode(text, path)
        if not is_copy or machine == _machine(store):
            return host
    return None


def keep_host(paths: StatePaths, store: StoreId, make: Callable[[], Host]) -> tuple[Host, bool]:
    """The host of this state folder, saved, and whether it is new: where nobody knows one, `make` makes it.

    Of several processes that begin at once, one makes it: what another had signed with a host that was written over would
    be a stranger's for ever.  Raises as `load_host` and `save_host` do.
    """
    make_folder(paths.folder)
    with _alone(paths.folder):
        known = load_host(paths, store)
        host = known or make()
        save_host(paths, store, host)
    return host, known is None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time, where the file system has locks.  Not the lock of the runs: that is held for hours."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield


def save_host(paths: StatePaths, store: StoreId, host: Host) -> bool:
    """Write the secrets and their copy, durable, for the owner's eyes only; whether the copy is there.

    What is there already and says the same is left as it is.  Raises ConfigError where the state folder cannot be written.
    """
    text = _encode(host, store)
    make_folder(paths.folder)
    try:
        _keep(paths.secrets, text)
    except OSError as error:
        raise ConfigError(
            f"state folder {paths.folder} cannot be written: {(error.strerror or str(error)).lower()}",
            hint="run as the user it belongs to, or make room there",
        ) from error
    try:
        make_folders(paths.copy.parent)  # init writes the configuration, for which it would be made, last
        _keep(paths.copy, text)
    except OSError:
        # A configuration that another user owns (/etc, read-only media) gets no copy; the state folder has the secrets.
        return False
    return True


def make_folder(folder: Path) -> None:
    """The folder and its parents, the folder itself for its owner alone.  Raises ConfigError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"state folder {folder} cannot be made: {(error.strerror or str(error)).lower()}",
            hint="set state in the config",
        ) from error


def _encode(host: Host, store: StoreId) -> str:
    said = {
        "format": FORMAT,
        "host": str(host.id),
        "machine": _machine(store),
        "signing_key": host.signing_key.to_pem().decode(),
        "index_key": host.index_key.to_text(),
    }
    return json.dumps(said, indent=1) + "\n"


def _decode(text: str, path: Path) -> tuple[str, Host]:
    try:
        said = json.loads(text)
        if said["format"] != FORMAT:
            raise ConfigError(f"host secrets {path} are of a newer format", hint="use a newer vaultpy")
        host = Host(load_signing_key(said["signing_key"].encode()), parse_identity(said["index_key"]))
        return str(said["machine"]), host
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DamageError, UsageError) as error:
        if isinstance(error, ConfigError):
            raise
        raise _damaged(path) from error


def _holds(path: Path, text: str) -> bool:
    """Whether a file says the same; the text of one signing key is another at each writing, so texts do not tell."""
    if not path.exists():
        return False
    try:
        found, wanted = _decode(path.read_text(), path), _decode(text, path)
    except (ConfigError, UnicodeDecodeError):
        return False  # a damaged copy: the one in the state folder was read before
    return _meaning(*found) == _meaning(*wanted)


def _damaged(path: Path) -> ConfigError:
    return ConfigError(
        f"host secrets {path} are damaged", hint="bring the file back, or move it away to become a new host"
    )


def _meaning(machine: str, host: Host) -> tuple[str, str, str]:
    return machine, host.signing_key.public_text(), host.index_key.to_text()


def _machine(store: StoreId) -> str:
    """Names this machine without giving its id away; a clone of the whole disk has the same (rule 3 stops that)."""
    try:
        own = _MACHINE_ID.read_text().strip()
    except OSError:
        own = os.uname().nodename
    return hashlib.sha256(f"vaultpy {store} {own}".encode()).hexdigest()


def _keep(path: Path, text: str) -> None:
    """Write it, durable, unless it is there."""
    if _holds(path, text):
        return
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:  # which goes on where the kernel takes only a part of a write
        file.write(text.encode())
        file.flush()
        os.fsync(fd)
    temporary.replace(path)
    sync_folder(path.parent)
