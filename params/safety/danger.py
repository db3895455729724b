"""Red: drops two tables, and nobody says why."""

from alembic import op

revision = "danger"
down_revision = None


def upgrade() -> None:
    op.drop_table("old_analytics_table")
    op.execute("DROP TABLE old_metrics")


def downgrade() -> None:
    raise NotImplementedError("what was dropped is gone")
