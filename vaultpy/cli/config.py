"""`vaultpy config show` and `check`."""

from __future__ import annotations

import os
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
    document="""\
An object with `config` (the file), `problems` and `warnings` (lists of strings) and `chunker` (`compiled` or
`pure python`).""",
)
def check(run: Run) -> int | None:
    """Read the configuration and look at what it names: state folder, store, signers, the sources' paths.

    Says which chunker runs, too. Exit code 1 when something is not as it should be; warnings alone do not count.
    """
    from vaultpy.ops.check import check_config

    config = run.config()
    found = check_config(config)
    for text in (*found.problems, *found.warnings):
        run.output.warn(text)
    document = {
        "config": config.path,
        "problems": found.problems,
        "warnings": found.warnings,
        "chunker": found.chunker,
    }
    count = len(found.problems)
    verdict = "good" if not count else "1 problem" if count == 1 else f"{count} problems"
    run.output.done(document, f"{config.path}: {verdict}", f"chunker: {found.chunker}")
    return 1 if found.problems else None


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
        "readers": config.readers,
        "uploads": config.uploads,
        "upload_limit": config.upload_limit,
        "download_limit": config.download_limit,
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
        "exclude_files": source.exclude_files,
        "exclude_if_present": source.exclude_if_present,
        "exclude_larger_than": source.exclude_larger_than,
        "exclude_nodump": source.exclude_nodump,
        "birth_times": source.birth_times,
        "access_times": source.access_times,
        "compare": source.compare,
    }
