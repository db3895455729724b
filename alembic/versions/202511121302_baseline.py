"""Baseline: the empty schema every later revision starts from.

Why    Gives the chain a first revision to stamp, so that a database without tables and a database that was
       never under migration control can be told apart.

Locks  None on user tables. Alembic writes one row to alembic_version.

Undo   Removes nothing, because it makes nothing.
"""

revision: str = "202511121302"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make nothing: the schema is empty at this revision."""


def downgrade() -> None:
    """Remove nothing: upgrade made nothing."""
