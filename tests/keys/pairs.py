"""Pairs of recipients and identities of every kind, and the program of a plugin."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from vaultpy.age import HybridIdentity, KeyTextError, X25519Identity

PASSPHRASE = "correct horse"

# Speaks age's plugin protocol (C2SP age-plugin) and hides nothing: the file key lies in its stanza as it is.  Unwrapping
# shows a message and wants a PIN, which is 1234.
PLUGIN = """\
import base64, sys

def read():
    arguments = sys.stdin.readline().split()[1:]
    body = ""
    while True:
        line = sys.stdin.readline().rstrip("\\n")
        body += line
        if len(line) < 64:
            return arguments, base64.b64decode(body + "=" * (-len(body) % 4))

def send(*arguments, body=b""):
    text = base64.b64encode(body).decode().rstrip("=")
    lines = [text[i : i + 64] for i in range(0, len(text) + 1, 64)]
    sys.stdout.write("-> " + " ".join(arguments) + "\\n" + "\\n".join(lines) + "\\n")
    sys.stdout.flush()

said = []
while not said or said[-1][0][0] != "done":
    said.append(read())
if sys.argv[1] == "--age-plugin=recipient-v1":
    for number, (arguments, body) in enumerate(one for one in said if one[0][0] == "wrap-file-key"):
        send("recipient-stanza", str(number), "toy", body=body)
        read()
else:
    send("msg", body=b"touch the toy")
    read()
    send("request-secret", body=b"PIN?")
    arguments, pin = read()
    for arguments, body in said:
        if arguments[0] == "recipient-stanza" and arguments[2] == "toy":
            if pin == b"1234":
                send("file-key", arguments[1], body=body)
            else:
                send("error", "stanza", arguments[1], "0", body=b"wrong PIN")
            read()
send("done")
"""


@dataclass(frozen=True)
class Pair:
    """A recipient and the identity file that opens what is wrapped for it; `real_age`: the age program knows it."""

    recipient: str
    identity: bytes
    real_age: bool = True


def make_ssh(folder: Path, kind: str, passphrase: str = "") -> Pair:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    path = folder / f"{kind}{len(passphrase)}"
    if not path.exists():
        size = ["-b", "2048"] if kind == "rsa" else []
        command = ["ssh-keygen", "-q", "-t", kind, *size, "-N", passphrase, "-C", "me@there", "-f", str(path)]
        subprocess.run(command, check=True, timeout=30)
    return Pair(path.with_name(path.name + ".pub").read_text().strip(), path.read_bytes())


def make_x25519() -> Pair:
    identity = X25519Identity.generate()
    return Pair(identity.recipient().to_text(), identity.to_text().encode() + b"\n")


def make_hybrid() -> Pair:
    try:
        identity = HybridIdentity.generate()
    except KeyTextError as error:
        pytest.skip(error.message)
    return Pair(identity.recipient().to_text(), identity.to_text().encode() + b"\n", real_age=False)
