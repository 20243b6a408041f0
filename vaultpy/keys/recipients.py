"""Whom a store key is wrapped for: every kind of recipient that age knows, checked by form, and wrapping itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pyrage  # type: ignore[import-untyped]

from vaultpy.age import HybridRecipient, KeyTextError, encrypt, parse_recipient
from vaultpy.age.bech32 import decode_bech32
from vaultpy.errors import UsageError
from vaultpy.keys.plugins import PluginTalk, missing_plugin, recipient_plugin

RecipientKind = Literal["x25519", "hybrid", "ssh", "plugin"]

_SSH_TYPES = ("ssh-ed25519", "ssh-rsa")
_ACCEPTED = "accepted are age1… (age-keygen), age1pq1…, ssh-ed25519 and ssh-rsa public keys, and plugins' age1NAME1…"
_TEXT_LIMIT = 8 * 1024
# Recipients that age itself knows, though their text looks like a plugin's.
_TAGGED = {"age1tag": pyrage.tag, "age1tagpq": pyrage.tagpq}


@dataclass(frozen=True, slots=True)
class RecipientForm:
    """A recipient in its one form (an SSH key without its comment).

    `recognisable`: who knows the recipient can see in the store that a store key is wrapped for it.
    """

    text: str
    kind: RecipientKind
    recognisable: bool


def check_recipient(text: str) -> RecipientForm:
    """What kind of recipient a text is.  No program is run, so of a plugin's only the form is known to be right.

    Raises UsageError, which names the text and what is accepted; a secret key given by mistake is never shown.
    """
    text = text.strip()
    if not text or len(text) > _TEXT_LIMIT or not text.isprintable():
        raise _refuse(text, "it is empty, too long or has control characters")
    if text.upper().startswith("AGE-SECRET-KEY-") or text.upper().startswith("AGE-PLUGIN-") or text.startswith("-----"):
        raise UsageError("recipient is a secret key", hint="give its public half; " + _ACCEPTED)
    if text.startswith("ssh-"):
        return _check_ssh(text)
    return _check_bech32(text)


def wrap(secret_text: bytes, recipient: str) -> bytes:
    """`secret_text` as an ordinary (binary) age file for one recipient.  May run the recipient's plugin.

    Raises UsageError when the recipient does not parse or its plugin does not run.
    """
    form = check_recipient(recipient)
    if form.kind == "hybrid":
        # pyrage knows no mlkem768x25519.
        return encrypt(secret_text, [parse_recipient(form.text)])
    try:
        return bytes(pyrage.encrypt(secret_text, [_pyrage_recipient(form)]))
    except pyrage.EncryptError as error:
        raise UsageError(f"recipient {_shown(form.text)} cannot be encrypted to: {_one_line(error)}") from error


def _check_ssh(text: str) -> RecipientForm:
    fields = text.split()
    if len(fields) < 2 or fields[0] not in _SSH_TYPES:
        raise _refuse(text, "of SSH keys, age takes ssh-ed25519 and ssh-rsa")
    bare = " ".join(fields[:2])
    try:
        pyrage.ssh.Recipient.from_str(bare)
    except pyrage.RecipientError as error:
        reason = "the RSA key has fewer than 2048 bits" if "TooSmall" in str(error) else "the key is malformed"
        raise _refuse(bare, reason) from None
    return RecipientForm(bare, "ssh", True)


def _check_bech32(text: str) -> RecipientForm:
    try:
        prefix, _ = decode_bech32(text)
    except KeyTextError as error:
        raise _refuse(text, error.message) from None
    if prefix in ("age", "age1pq"):
        try:
            recipient = parse_recipient(text)
        except KeyTextError as error:
            raise UsageError(error.message, hint=_ACCEPTED) from None
        return RecipientForm(text, "hybrid" if isinstance(recipient, HybridRecipient) else "x25519", False)
    if recipient_plugin(prefix) is None:
        raise _refuse(text, "it is of no kind that is known")
    form = RecipientForm(text, "plugin", True)
    _parse_plugin(form, prefix)
    return form


def _pyrage_recipient(form: RecipientForm) -> Any:
    if form.kind == "x25519":
        return pyrage.x25519.Recipient.from_str(form.text)
    if form.kind == "ssh":
        return pyrage.ssh.Recipient.from_str(form.text)
    prefix, _ = decode_bech32(form.text)
    parsed = _parse_plugin(form, prefix)
    if prefix in _TAGGED:
        return parsed
    name = recipient_plugin(prefix) or ""
    try:
        return pyrage.plugin.RecipientPluginV1(name, [parsed], [], PluginTalk())
    except pyrage.EncryptError as error:
        raise missing_plugin(name) from error


def _parse_plugin(form: RecipientForm, prefix: str) -> Any:
    parser = _TAGGED[prefix].Recipient if prefix in _TAGGED else pyrage.plugin.Recipient
    try:
        return parser.from_str(form.text)
    except pyrage.RecipientError as error:
        raise _refuse(form.text, _one_line(error)) from None


def _refuse(text: str, reason: str) -> UsageError:
    return UsageError(f"recipient {_shown(text)} does not parse: {reason}", hint=_ACCEPTED)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 70 else text[:70] + "…")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:1].lower() + text[1:]
