"""What commands that read a store begin with: the store, by what there is to read it with, and the snapshot that was named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaultpy.cli.frame import Run
from vaultpy.cli.options import ask_passphrase
from vaultpy.cli.text import counted

if TYPE_CHECKING:
    from vaultpy.ops.reading.catalog import Entry
    from vaultpy.ops.reading.reader import Reader


def open_for(
    run: Run, identities: Sequence[Path] = (), signers: Sequence[str] = ()
) -> contextlib.AbstractContextManager[Reader]:
    """The store of the configuration or of --store, read with these identity files, signers believed besides."""
    from vaultpy.ops.reading.reader import open_reader

    return open_reader(
        run.config_or_store(),
        line=run.line(),
        identity_files=identities,
        signers=signers,
        ask_passphrase=ask_passphrase,
        tell=run.output.tell,
    )


@contextlib.contextmanager
def open_snapshot(
    run: Run, snapshot: str, source: str | None, identities: Sequence[Path], signers: Sequence[str]
) -> Iterator[tuple[Reader, Entry]]:
    """The same, and the one snapshot in it that is called so.  Raises UsageError where none is, or several.

    Says so where `latest` is not the newest that there is: at a restore nobody may take it for that.
    """
    from vaultpy.ops.reading.catalog import read_catalog
    from vaultpy.ops.reading.resolve import LATEST, passed_over, resolve_snapshot

    with open_for(run, identities, signers) as reader:
        catalog = read_catalog(reader)
        entry = resolve_snapshot(catalog, snapshot, source)
        if snapshot == LATEST and (number := passed_over(catalog, entry)):
            run.output.warn(
                f"{counted(number, 'newer snapshot')} of unknown signers passed over (`vaultpy snapshot list` shows them;"
                " if they are a host's that you know: --signer)"
            )
        yield reader, entry
