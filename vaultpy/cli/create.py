"""`vaultpy snapshot create`."""

from __future__ import annotations

import click

from vaultpy.cli.frame import Run, command
from vaultpy.cli.options import SOURCE_NAME, SOURCE_PATH, TAG, dry_run_option, not_built
from vaultpy.errors import UsageError


@command(
    "create",
    example="""\
vaultpy snapshot create
vaultpy snapshot create home --tag before-upgrade
vaultpy snapshot create --path /srv/www --name www --cron""",
)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option(
    "--path", "paths", metavar="P", type=SOURCE_PATH, multiple=True, help="Read this path; needs --name. Repeatable."
)
@click.option("--name", metavar="N", type=SOURCE_NAME, help="The name of the source that the paths make.")
@click.option("--tag", "tags", metavar="T", type=TAG, multiple=True, help="Put a tag on the snapshot. Repeatable.")
@click.option("--cron", is_flag=True, help="Be silent unless something is wrong, and never ask.")
@dry_run_option
@click.option("--if-changed", is_flag=True, help="Make no snapshot where nothing changed since the last one.")
def create(
    run: Run,
    sources: tuple[str, ...],
    paths: tuple[bytes, ...],
    name: str | None,
    tags: tuple[str, ...],
    cron: bool,
    dry_run: bool,
    if_changed: bool,
) -> int | None:
    """Make a snapshot of each SOURCE of the configuration, or of all of them.

    A source that fails does not stop the next one; the worst exit code wins. 3: a snapshot was made, but something could
    not be read.
    """
    if bool(paths) != bool(name):
        raise UsageError("snapshot create: --path and --name go together", hint="--path /srv/www --name www")
    if paths and sources:
        raise UsageError("snapshot create: SOURCE and --path were both given", hint="run it once for each")
    if cron:
        run = run.under_cron()
    raise not_built("snapshot create")
