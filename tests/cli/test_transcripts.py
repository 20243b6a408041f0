"""Whole sessions as people see them: each file of transcripts/ is run again and must come out the same.

A line that begins with `## ` is a comment, one with `$ ` a command; what follows is what it says: its standard output, then
its standard error behind `2> `, then `exit N` unless that is 0.  What differs from run to run is masked (`<id 1>`, `<time>`
…), and masks may stand in commands.  A command that is not vaultpy's is the shell's.  VAULTPY_TRANSCRIPTS=update writes the
files anew.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
HOME = "/home/ada"
UPDATE = os.environ.get("VAULTPY_TRANSCRIPTS") == "update"

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NUMBERED = {
    "id": UUID,
    "recipient": r"age1[0-9a-z]{40,}",
    "signer": r"ssh-ed25519 AAAA[A-Za-z0-9+/=]+",
    "fingerprint": r"SHA256:[A-Za-z0-9+/]{43}",
    "object": r"blobs/[0-9a-f/]{70}",
}
PLAIN = {
    "short id": r"\b[0-9a-f]{8}(?:-[0-9a-f]{1,4})*(?=  )",
    "time": r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z?",
    "size": r"\b\d+(?:\.\d+)? (?:B|bytes|[kKMG]i?B)\b",
    "seconds": r"\b\d+(?:\.\d+)? (?:s|ms)\b",
    "number": r"(?<=process )\d+",
    "chunker": r"(?<=chunker: )(?:compiled|pure python)",
}


class Masks:
    """What was masked by which word, and back."""

    def __init__(self, home: Path) -> None:
        self._home = str(home)
        self._known: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def mask(self, text: str) -> str:
        text = text.replace(self._home, HOME)
        text = re.sub(r"(?m)^vaultpy: warning: chunker: .*\n", "", text)  # on a Python without a compiled one
        for kind, pattern in NUMBERED.items():
            text = re.sub(pattern, lambda found, kind=kind: self._name(kind, found[0]), text)  # type: ignore[misc]
        for kind, pattern in PLAIN.items():
            text = re.sub(pattern, f"<{kind}>", text)
        text = re.sub(r"(?m)^([-dl][-rwx]{9}) \S+ \S+", r"\1 <user> <group>", text)
        # Columns are as wide as what was masked.
        return "".join(re.sub(r"(?<=\S) {2,}", "  ", line) for line in text.splitlines(keepends=True))

    def unmask(self, command: str) -> str:
        for value, name in self._known.items():
            command = command.replace(name, value)
        return command.replace(HOME, self._home)

    def _name(self, kind: str, value: str) -> str:
        if value not in self._known:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._known[value] = f"<{kind} {self._counts[kind]}>"
        return self._known[value]


@pytest.fixture
def ada(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home as deep below `/` as its mask says, so that counts of files are always the same."""
    before = os.umask(0o022)
    folder = Path(tempfile.mkdtemp(prefix="vaultpy-", dir="/tmp"))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / ".local" / "state"))
    monkeypatch.chdir(folder)
    system, _, *rest = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((system, "adas-laptop", *rest)))
    yield folder
    os.umask(before)
    shutil.rmtree(folder)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_session_goes_as_it_was_written_down(
    path: Path, vaultpy: Any, ada: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = Masks(ada)
    lines = []
    for line in commands_of(path.read_text()):
        lines.append(line)
        if line.startswith("$ "):
            lines += run(masks.unmask(line.removeprefix("$ ")), vaultpy, masks)
    session = "".join(f"{line}\n" for line in lines)
    if UPDATE:
        path.write_text(session)
    before, now = path.read_text().splitlines(), session.splitlines()
    changed = "\n".join(difflib.unified_diff(before, now, "written down", "now", lineterm="", n=1))
    if changed:
        pytest.fail(changed, pytrace=False)


def commands_of(session: str) -> Iterator[str]:
    """The lines that a person wrote: commands, comments, empty lines before comments."""
    lines = session.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("$ ", "## ")):
            if number and not lines[number - 1]:
                yield ""
            yield line


def run(command: str, vaultpy: Any, masks: Masks) -> list[str]:
    words = shlex.split(command)
    if words[0] == "vaultpy":
        ran = vaultpy(*words[1:])
        code, out, err = ran.code, ran.out, ran.err
    else:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        code, out, err = done.returncode, done.stdout, done.stderr
    out, err = masks.mask(out), masks.mask(err)
    assert out.endswith("\n") or not out
    said = out.splitlines() + [f"2> {line}" for line in err.splitlines()]
    return said + ([f"exit {code}"] if code else [])


def test_there_are_sessions() -> None:
    assert {"begin", "snapshots", "purge", "keys", "trouble", "cron", "keeper"} <= {path.stem for path in TRANSCRIPTS}
