"""`vaultpy store probe`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vaultpy.cli.frame import Run, command
from vaultpy.cli.text import counted

if TYPE_CHECKING:
    from vaultpy.ops.probing.probed import Probed, Tried

LEFT_SHOWN = 10


@command(
    "probe",
    reads_store=True,
    example="""\
vaultpy store probe
vaultpy store probe --store 's3://backups/laptop?region=eu-central-1' --json""",
    document="""\
An object with `url`, `tried` (a list of objects with `subject`, `verdict`: `good`, `weak`, `bad` or `untold`, `found`, and
`means`, null where that is plain), `rights` (an object: what the credentials may, true or false; what could not be tried is
not in it), `roles` (those of docs/s3.md that the rights suffice for), `left` (names that could not be removed) and
`versions` (hidden versions of what was removed).""",
)
def probe(run: Run) -> int | None:
    """Try the store with these credentials, and say what that means for safety.

    Puts some small objects, reads, lists, replaces and deletes them. What may not be deleted has names that the next prune
    collects. The store need not be made yet. Exit code 1: it must not be used.
    """
    from vaultpy.ops.probing.probe import probe as operate
    from vaultpy.store.open import open_store, open_trial

    place = run.config_or_store()
    url = place if isinstance(place, str) else place.store
    probed = operate(open_store(url), open_trial(url), clock=time.time_ns, random=os.urandom)
    run.output.show(_document(probed), *_lines(probed))
    return probed.exit_code


def _lines(probed: Probed) -> Iterator[str]:
    yield f"store {probed.url}"
    for one in probed.tried:
        yield from tried_lines(one)
    allowed = [right.value for right, may in probed.rights.items() if may]
    denied = [right.value for right, may in probed.rights.items() if not may]
    yield f"allowed: {', '.join(allowed) or 'nothing'}"
    if denied:
        yield f"not allowed: {', '.join(denied)}"
    yield f"enough for: {', '.join(probed.roles) or 'none of the roles of docs/s3.md'}"
    if probed.versions:
        yield f"{counted(probed.versions, 'hidden version')} of what was put and deleted stay until the bucket drops them"
    if probed.left:
        yield f"{counted(len(probed.left), 'object')} could not be removed; the next prunes collect them:"
        yield from (f"  {name}" for name in probed.left[:LEFT_SHOWN])


def tried_lines(one: Tried) -> Iterator[str]:
    """What was tried, in a line for people, and below it what that means."""
    yield f"{one.verdict.value:<6} {one.subject}: {one.found}"
    if one.means:
        yield f"       {one.means}"


def _document(probed: Probed) -> dict[str, object]:
    return {
        "url": probed.url,
        "tried": [
            {"subject": one.subject, "verdict": one.verdict.value, "found": one.found, "means": one.means}
            for one in probed.tried
        ],
        "rights": {right.value: may for right, may in probed.rights.items()},
        "roles": probed.roles,
        "left": probed.left,
        "versions": probed.versions,
    }
