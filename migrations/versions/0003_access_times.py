"""Access times, of sources that ask for them."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    "ALTER TABLE files ADD COLUMN atime INTEGER",
    "CREATE INDEX files_with_atime ON files (last_seq) WHERE atime IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
