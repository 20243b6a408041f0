"""What verifications found about objects, and when."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    """CREATE TABLE checks (
    object BLOB NOT NULL,
    read_at INTEGER,
    damage TEXT,
    found_at INTEGER,
    PRIMARY KEY (object)
)
 WITHOUT ROWID""",
    """CREATE INDEX checks_damaged ON checks (object) WHERE damage IS NOT NULL""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
