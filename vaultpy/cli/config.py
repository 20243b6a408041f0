"""`vaultpy config show` and `check`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vaultpy.cli.frame import Run, command
from vaultpy.config import Config, SourceConfig, render_config


@command(
    "show",
    example="vaultpy config show --json",
    document="An object with `config` (the file) and every setting of docs/configuration.md; `blob_size` is in bytes.",
)
def show(run: Run) -> int | None:
    """Show the settings that hold, defaults included. There are no secrets among them."""
    config = run.config()
    run.output.show(_document(config), f"# {config.path}", iter(render_config(config).splitlines()))
    return None


@command(
    "check",
    example="vaultpy config check --config ./vaultpy.toml",
    document="An object with `config` (the file) and `problems`, a list of strings.",
)
def check(run: Run) -> int | None:
    """Read the configuration and look at what it names: the state folder and the sources' paths.

    Exit code 1 when something is not as it should be.
    """
    config = run.config()
    problems = list(_problems(config))
    for problem in problems:
        run.output.warn(problem)
    document = {"config": config.path, "problems": problems}
    verdict = f"{config.path}: {len(problems)} problems" if problems else f"{config.path}: good"
    run.output.done(document, verdict)
    return 1 if problems else None


def _problems(config: Config) -> Iterator[str]:
    yield from _state_problems(config.state)
    for source in config.sources.values():
        for path in source.paths:
            if not os.path.lexists(path):
                yield f"source {source.name}: {os.fsdecode(path)}: not there"
            elif not os.access(path, os.R_OK, follow_symlinks=False):
                yield f"source {source.name}: {os.fsdecode(path)}: not readable"
    if not config.sources and not config.keeper:
        yield "no sources: `vaultpy snapshot create` has nothing to do without --path"


def _state_problems(state: Path) -> Iterator[str]:
    if not state.is_dir():
        yield f"state {state}: no such folder; `vaultpy init` makes it"
    elif not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        yield f"state {state}: not writable"
    elif state.stat().st_mode & 0o077:
        yield f"state {state}: others can look into it; it should have mode 0700"


def _document(config: Config) -> dict[str, object]:
    key = config.key
    return {
        "config": config.path,
        "store": config.store,
        "store_id": config.store_id,
        "state": config.state,
        "key": {"id": key.id, "recipient": key.recipient} if key else None,
        "signers": config.signers,
        "keeper": config.keeper,
        "compression": config.compression,
        "blob_size": config.blob_size,
        "uploads": config.uploads,
        "reuse_blind": config.reuse_blind,
        "sources": {name: _source(source) for name, source in config.sources.items()},
    }


def _source(source: SourceConfig) -> dict[str, object]:
    return {
        "paths": [Path(os.fsdecode(path)) for path in source.paths],
        "exclude": source.exclude,
        "tags": source.tags,
        "one_file_system": source.one_file_system,
        "exclude_caches": source.exclude_caches,
        "compare": source.compare,
    }
