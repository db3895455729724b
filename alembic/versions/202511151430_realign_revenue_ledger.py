"""Phase 7: ledger entries get their transaction, state, amount, currency and verification.

Why    Webhooks name a transaction and move it through states (authorized, captured, refunded, chargeback);
       storing one twice must be refused. An entry made before is the transaction 'legacy_' and its id,
       captured if it was verified and authorized if not, verified when it was confirmed or else when it was
       made, in USD. The values are computed while the table is rewritten, not by an UPDATE: a rewrite fires
       no row trigger (ledgers carry triggers that keep them append-only), is not confined by row security,
       touches each row once and leaves no dead rows.

Locks  ACCESS EXCLUSIVE on revenue_ledger until the revision commits: one rewrite and one read for each of
       three indexes. Readers with an older snapshot see the table empty.

Undo   Drops the nine columns with their data, the check and the three indexes. Amounts, states and
       transaction ids stored since the upgrade are lost; revenue_cents and is_verified stay as they are.
"""

from alembic import op

revision: str = "202511151430"
down_revision: str | None = "202511151420"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE revenue_ledger
            ADD COLUMN transaction_id varchar(255),
            ADD COLUMN order_id varchar(255),
            ADD COLUMN state varchar(50),
            ADD COLUMN previous_state varchar(50),
            ADD COLUMN amount_cents integer,
            ADD COLUMN currency varchar(3) DEFAULT 'USD' NOT NULL,
            ADD COLUMN verification_source varchar(50) DEFAULT 'legacy_migration' NOT NULL,
            ADD COLUMN verification_timestamp timestamptz,
            ADD COLUMN metadata jsonb
    """)
    op.execute("""
        ALTER TABLE revenue_ledger
            ALTER COLUMN transaction_id TYPE varchar(255) USING concat('legacy_', id),
            ALTER COLUMN transaction_id SET NOT NULL,
            ALTER COLUMN state TYPE varchar(50)
                USING CASE WHEN is_verified THEN 'captured' ELSE 'authorized' END,
            ALTER COLUMN state SET NOT NULL,
            ALTER COLUMN amount_cents TYPE integer USING revenue_cents,
            ALTER COLUMN amount_cents SET NOT NULL,
            ALTER COLUMN verification_source DROP DEFAULT,
            ALTER COLUMN verification_timestamp TYPE timestamptz USING coalesce(verified_at, created_at),
            ALTER COLUMN verification_timestamp SET NOT NULL,
            ADD CONSTRAINT ck_revenue_ledger_state_valid
                CHECK (state IN ('authorized', 'captured', 'refunded', 'chargeback'))
    """)
    op.execute("""
        CREATE UNIQUE INDEX idx_revenue_ledger_transaction_id
            ON revenue_ledger (transaction_id)
    """)
    op.execute("""CREATE INDEX idx_revenue_ledger_state ON revenue_ledger (state)""")
    op.execute("""
        CREATE INDEX idx_revenue_ledger_tenant_state
            ON revenue_ledger (tenant_id, state, created_at DESC)
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.transaction_id IS
            'INVARIANT: financial_critical. Transaction of the payment source; storing one a second time '
            'is refused.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.order_id IS
            'INVARIANT: financial_critical. Order the payment is for, as the shop names it.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.state IS
            'INVARIANT: financial_critical. State of the payment (authorized, captured, refunded, '
            'chargeback).'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.previous_state IS
            'INVARIANT: financial_critical. State before the last change; NULL when there was none.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.amount_cents IS
            'INVARIANT: financial_critical. Amount in cents of the currency.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.currency IS
            'INVARIANT: financial_critical. Currency of the amount, as an ISO 4217 code.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.verification_source IS
            'INVARIANT: financial_critical. Source that states the amount; legacy_migration for entries '
            'made before sources were kept.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.verification_timestamp IS
            'INVARIANT: financial_critical. When the source stated the amount.'
    """)
    op.execute("""
        COMMENT ON COLUMN revenue_ledger.metadata IS
            'INVARIANT: none. What else the source sent.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT ck_revenue_ledger_state_valid ON revenue_ledger IS
            'A payment is authorized, captured, refunded or charged back.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_revenue_ledger_transaction_id IS
            'Refuses a transaction that is already stored.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_revenue_ledger_state IS
            'Finds entries by state.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_revenue_ledger_tenant_state IS
            'Lists the entries of a tenant in a state, newest first.'
    """)


def downgrade() -> None:
    op.execute("""DROP INDEX idx_revenue_ledger_tenant_state""")
    op.execute("""DROP INDEX idx_revenue_ledger_state""")
    op.execute("""DROP INDEX idx_revenue_ledger_transaction_id""")
    op.execute("""
        ALTER TABLE revenue_ledger
            DROP CONSTRAINT ck_revenue_ledger_state_valid,
            DROP COLUMN metadata,
            DROP COLUMN verification_timestamp,
            DROP COLUMN verification_source,
            DROP COLUMN currency,
            DROP COLUMN amount_cents,
            DROP COLUMN previous_state,
            DROP COLUMN state,
            DROP COLUMN order_id,
            DROP COLUMN transaction_id
    """)
