"""age plugins: programs named `age-plugin-NAME` that hold keys elsewhere, on a YubiKey for instance."""

from __future__ import annotations

import re
from collections.abc import Callable

from vaultpy.errors import UsageError

RECIPIENT_PREFIX = "age1"
IDENTITY_PREFIX = "AGE-PLUGIN-"

# No path separator, and not a dot first: a name with one has made age run a program of the sender's (CVE-2024-56327).
_NAME = re.compile(r"[a-z0-9][a-z0-9+._-]*")


def recipient_plugin(prefix: str) -> str | None:
    """The plugin's name in the Bech32 prefix of a recipient (`age1yubikey`); None when there is none that is safe."""
    return _checked(prefix.removeprefix(RECIPIENT_PREFIX)) if prefix.startswith(RECIPIENT_PREFIX) else None


def identity_plugin(prefix: str) -> str | None:
    """The same of an identity (`AGE-PLUGIN-YUBIKEY-`)."""
    if not prefix.startswith(IDENTITY_PREFIX) or not prefix.endswith("-"):
        return None
    return _checked(prefix.removeprefix(IDENTITY_PREFIX)[:-1].lower())


class PluginTalk:
    """What pyrage calls when a plugin wants something of the user; answers None where nobody can be asked."""

    def __init__(
        self, ask_passphrase: Callable[[], str] | None = None, tell: Callable[[str], None] | None = None
    ) -> None:
        self._ask = ask_passphrase
        self._tell = tell

    def display_message(self, message: str) -> None:
        """`touch your key`; the text is the plugin's, so whoever shows it escapes it."""
        if self._tell is not None:
            self._tell(message)

    def confirm(self, message: str, yes_string: str, no_string: str | None) -> bool | None:
        """Nothing that vaultpy does needs a yes, and none is invented."""
        self.display_message(message)
        return None

    def request_public_string(self, description: str) -> str | None:
        """No plugin in use asks for one when it wraps or unwraps."""
        return None

    def request_passphrase(self, description: str) -> str | None:
        """A PIN, say."""
        self.display_message(description)
        return self._ask() if self._ask is not None else None


def missing_plugin(name: str) -> UsageError:
    """The error for a plugin that does not start."""
    return UsageError(
        f"program age-plugin-{name} cannot be run, and the key needs it", hint="install it so that it is on PATH"
    )


def _checked(name: str) -> str | None:
    return name if _NAME.fullmatch(name) else None
