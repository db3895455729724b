"""Verified revenue by UTC day, state and currency: mv_daily_revenue_summary.

Contract  params/api_contract.yaml, view mv_daily_revenue_summary.

Why    Finance reads what was captured, refunded and charged back each day. Entries that are only authorized have
       moved no money and are left out. Currencies are never added up. Days are those of verification_timestamp
       in UTC, whatever the TimeZone of whoever refreshes. The unique index is what REFRESH MATERIALIZED VIEW
       CONCURRENTLY needs; it carries the measures too, so that reading the view is an index-only scan.

Locks  ACCESS SHARE on revenue_ledger while the view is filled: reads and writes go on.

Undo   Drops the view and, with it, its index; the ledger it is computed from keeps every row.
"""

from alembic import op

revision: str = "202511151510"
down_revision: str | None = "202511151500"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        CREATE MATERIALIZED VIEW mv_daily_revenue_summary AS
        SELECT
            tenant_id,
            (verification_timestamp AT TIME ZONE 'UTC')::date AS revenue_date,
            state,
            currency,
            sum(amount_cents)::bigint AS total_amount_cents,
            count(*) AS transaction_count
        FROM revenue_ledger
        WHERE state IN ('captured', 'refunded', 'chargeback')
        GROUP BY tenant_id, (verification_timestamp AT TIME ZONE 'UTC')::date, state, currency
    """)
    op.execute("""
        CREATE UNIQUE INDEX idx_mv_daily_revenue_summary_unique
            ON mv_daily_revenue_summary (tenant_id, revenue_date, state, currency)
            INCLUDE (total_amount_cents, transaction_count)
    """)
    op.execute("""REVOKE ALL ON mv_daily_revenue_summary FROM PUBLIC, app_rw, app_ro""")
    op.execute("""
        COMMENT ON MATERIALIZED VIEW mv_daily_revenue_summary IS
            'Purpose: captured, refunded and charged back amounts by UTC day and currency, for dashboards and '
            'finance. Refresh: hourly and after bulk changes, CONCURRENTLY, by refresh_materialized_view().'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_daily_revenue_summary.tenant_id IS
            'INVARIANT: auth_critical. Tenant whose ledger entries are summed up.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_daily_revenue_summary.revenue_date IS
            'INVARIANT: financial_critical. UTC day on which the entries were verified.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_daily_revenue_summary.state IS
            'INVARIANT: financial_critical. State of the entries: captured, refunded or chargeback.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_daily_revenue_summary.currency IS
            'INVARIANT: financial_critical. ISO 4217 code of the amounts; amounts of two currencies are never '
            'added up.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_daily_revenue_summary.total_amount_cents IS
            'INVARIANT: financial_critical. Sum of amount_cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_daily_revenue_summary.transaction_count IS
            'INVARIANT: financial_critical. Number of ledger entries.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_mv_daily_revenue_summary_unique IS
            'One row for each tenant, day, state and currency; lets the view be refreshed concurrently and read '
            'by index alone.'
    """)


def downgrade() -> None:
    op.execute("""DROP MATERIALIZED VIEW mv_daily_revenue_summary""")
