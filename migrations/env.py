"""alembic's entry: runs the scripts on the engine that vaultpy/index/upgrade.py hands over, one transaction a script."""

from alembic import context

with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection, render_as_batch=True, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
