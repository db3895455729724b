"""Phase 6: allocations get the statistics of the model and their verification.

Why    An allocation by a Bayesian model comes with its confidence, its credible interval and the
       diagnostics that say whether the sampler converged; a verified one says by what and when. An
       allocation made before takes its share as its confidence, at most 1, and the model type 'unknown'.
       The confidence is computed while the table is rewritten, not by an UPDATE: a rewrite fires no row
       trigger, is not confined by row security, touches each row once and leaves no dead rows.

Locks  ACCESS EXCLUSIVE on attribution_allocations until the revision commits: one rewrite and one read for
       the index. Readers with an older snapshot see the table empty.

Undo   Drops the nine columns with their data, the check and the index.
"""

from alembic import op

revision: str = "202511151420"
down_revision: str | None = "202511151410"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE attribution_allocations
            ADD COLUMN model_type varchar(50) DEFAULT 'unknown' NOT NULL,
            ADD COLUMN confidence_score numeric(4,3),
            ADD COLUMN credible_interval_lower_cents integer,
            ADD COLUMN credible_interval_upper_cents integer,
            ADD COLUMN convergence_r_hat numeric(5,4),
            ADD COLUMN effective_sample_size integer,
            ADD COLUMN verified boolean DEFAULT false NOT NULL,
            ADD COLUMN verification_source varchar(50),
            ADD COLUMN verification_timestamp timestamptz
    """)
    op.execute("""
        ALTER TABLE attribution_allocations
            ALTER COLUMN model_type DROP DEFAULT,
            ALTER COLUMN confidence_score TYPE numeric(4,3) USING least(allocation_ratio, 1),
            ALTER COLUMN confidence_score SET NOT NULL,
            ADD CONSTRAINT ck_allocations_confidence_score
                CHECK (confidence_score >= 0 AND confidence_score <= 1)
    """)
    op.execute("""
        CREATE INDEX idx_allocations_channel_performance
            ON attribution_allocations (tenant_id, channel_code, created_at DESC)
            INCLUDE (allocated_revenue_cents, confidence_score)
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.model_type IS
            'INVARIANT: analytics_important. Kind of model that made the allocation; unknown for '
            'allocations made before kinds were kept.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.confidence_score IS
            'INVARIANT: analytics_important. Confidence of the model in the allocation, from 0 to 1.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.credible_interval_lower_cents IS
            'INVARIANT: analytics_important. Lower end of the credible interval of the allocated revenue, '
            'in cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.credible_interval_upper_cents IS
            'INVARIANT: analytics_important. Upper end of the credible interval of the allocated revenue, '
            'in cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.convergence_r_hat IS
            'INVARIANT: analytics_important. R-hat of the sampler; close to 1 when its chains converged.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.effective_sample_size IS
            'INVARIANT: analytics_important. Number of independent draws the sample of the model is '
            'worth.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.verified IS
            'INVARIANT: analytics_important. Whether the allocation was confirmed against a second '
            'source.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.verification_source IS
            'INVARIANT: analytics_important. Source that confirmed the allocation.'
    """)
    op.execute("""
        COMMENT ON COLUMN attribution_allocations.verification_timestamp IS
            'INVARIANT: analytics_important. When the allocation was confirmed.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_allocations_confidence_score ON attribution_allocations IS
            'A confidence is between 0 and 1.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_allocations_channel_performance IS
            'Answers revenue and confidence by tenant, channel and time from the index alone.'
    """)


def downgrade() -> None:
    op.execute("""DROP INDEX idx_allocations_channel_performance""")
    op.execute("""
        ALTER TABLE attribution_allocations
            DROP CONSTRAINT ck_allocations_confidence_score,
            DROP COLUMN verification_timestamp,
            DROP COLUMN verification_source,
            DROP COLUMN verified,
            DROP COLUMN effective_sample_size,
            DROP COLUMN convergence_r_hat,
            DROP COLUMN credible_interval_upper_cents,
            DROP COLUMN credible_interval_lower_cents,
            DROP COLUMN confidence_score,
            DROP COLUMN model_type
    """)
