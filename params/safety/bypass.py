"""Bypass: drops two tables, and says why and where that was decided."""

from alembic import op

revision = "bypass"
down_revision = None


def upgrade() -> None:
    op.drop_table("deprecated_analytics_table")  # CI:DESTRUCTIVE_OK - its rows were moved before, ADR-002
    # CI:DESTRUCTIVE_OK - archived elsewhere, ADR-002
    op.execute("DROP TABLE old_metrics_archive")


def downgrade() -> None:
    raise NotImplementedError("what was dropped is gone")
