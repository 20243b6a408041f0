"""How an age file or key can be wrong.

The kinds are those that the C2SP/CCTV vectors tell apart: header, HMAC, payload and armor failure; "no match" is
vaultpy.errors.NoIdentity.
"""

from __future__ import annotations

from vaultpy.errors import DamageError, UsageError


class AgeError(DamageError):
    """An age file is malformed, cut short, lengthened or forged; no byte of it may be believed."""


class HeaderError(AgeError):
    """The header is not what the format says, or a stanza addressed to one of our key types is malformed."""


class PassphraseError(HeaderError):
    """The header has an scrypt stanza.  vaultpy never writes one, and a hostile one can ask for hours of work."""


class HeaderMacError(AgeError):
    """An identity opened the header, but its MAC shows that it was changed."""


class PayloadError(AgeError):
    """A piece of the payload is forged, missing, out of place or too many."""


class ArmorError(AgeError):
    """The text is not canonical age armor."""


class KeyTextError(UsageError):
    """A recipient or identity does not parse or cannot be used; the message never holds a secret."""
