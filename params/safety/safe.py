"""Green: adds a column, an index and a check, and takes nothing away."""

import sqlalchemy as sa
from alembic import op

revision = "safe"
down_revision = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("region", sa.String(50), nullable=True))
    op.execute("CREATE INDEX idx_tenants_region ON tenants (region)")
    op.execute("ALTER TABLE tenants ADD CONSTRAINT ck_tenants_region CHECK (region <> '') NOT VALID")


def downgrade() -> None:
    op.execute("ALTER TABLE tenants DROP CONSTRAINT ck_tenants_region")
    op.execute("DROP INDEX idx_tenants_region")
    op.drop_column("tenants", "region")
