"""Allocation columns: the share of an event and the model that computed it.

Why    Several models may allocate the same event, so a model version becomes part of what makes an
       allocation unique, and the share is kept beside the amount it led to. Rows made before have a share
       of 0 and the model 'unknown': neither can be derived from what was stored.

Locks  ACCESS EXCLUSIVE on attribution_allocations. The columns have constant defaults, so the table is not
       rewritten; the check scans it once, and each index reads it once.

Undo   Drops both columns with their data, the check and the two indexes.
"""

from alembic import op

revision: str = "202511131232"
down_revision: str | None = "202511131121"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE attribution_allocations
            ADD COLUMN allocation_ratio numeric(6,5) DEFAULT 0 NOT NULL,
            ADD COLUMN model_version text DEFAULT 'unknown' NOT NULL,
            ADD CONSTRAINT ck_attribution_allocations_allocation_ratio_bounds
                CHECK (allocation_ratio >= 0 AND allocation_ratio <= 1)
    """)
    op.execute("""
        CREATE INDEX idx_attribution_allocations_tenant_model_version
            ON attribution_allocations (tenant_id, model_version)
    """)
    op.execute("""
        CREATE UNIQUE INDEX idx_attribution_allocations_tenant_event_model_channel
            ON attribution_allocations (tenant_id, event_id, model_version, channel)
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.allocation_ratio IS
            'INVARIANT: analytics_important. Share of the event credited to the channel, from 0 to 1.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.model_version IS
            'INVARIANT: analytics_important. Version of the model that made the allocation.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_attribution_allocations_allocation_ratio_bounds ON attribution_allocations IS
            'A share is between 0 and 1.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_attribution_allocations_tenant_model_version IS
            'Lists the allocations of a tenant by model version.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_attribution_allocations_tenant_event_model_channel IS
            'A model version credits a channel once for an event.'
    """)


def downgrade() -> None:
    op.execute("""DROP INDEX idx_attribution_allocations_tenant_event_model_channel""")
    op.execute("""DROP INDEX idx_attribution_allocations_tenant_model_version""")
    op.execute("""
        ALTER TABLE attribution_allocations
            DROP CONSTRAINT ck_attribution_allocations_allocation_ratio_bounds,
            DROP COLUMN model_version,
            DROP COLUMN allocation_ratio
    """)
