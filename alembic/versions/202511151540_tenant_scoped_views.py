"""Applications read materialized views through views that show one tenant.

Why    A materialized view cannot have row security: whoever may SELECT from it sees every tenant. So the
       application's roles lose that right and read a view over each of the four, which compares with the tenant
       of the connection, as the policies of the tables do: no tenant, no rows. security_barrier keeps a
       function in a reader's WHERE clause from being shown the rows of others. The age of a tenant's revenue is
       computed when it is read, from the newest change of its ledger; in the materialized view it is frozen at
       the refresh.

Locks  ACCESS EXCLUSIVE on nothing that holds rows: the views are new, and rights are rows of the catalog.

Undo   Drops the four views and lets the application's roles read the first two materialized views directly
       again, every tenant of them, as before. The two younger ones they never could.
"""

from alembic import op

revision: str = "202511151540"
down_revision: str | None = "202511151530"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        REVOKE ALL
            ON mv_realtime_revenue, mv_reconciliation_status, mv_channel_performance, mv_daily_revenue_summary
            FROM PUBLIC, app_rw, app_ro
    """)
    op.execute("""
        CREATE VIEW channel_performance WITH (security_barrier = true) AS
        SELECT
            tenant_id,
            channel_code,
            allocation_date,
            total_conversions,
            total_revenue_cents,
            avg_confidence_score,
            total_allocations
        FROM mv_channel_performance
        WHERE tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid
    """)
    op.execute("""
        CREATE VIEW daily_revenue_summary WITH (security_barrier = true) AS
        SELECT
            tenant_id,
            revenue_date,
            state,
            currency,
            total_amount_cents,
            transaction_count
        FROM mv_daily_revenue_summary
        WHERE tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid
    """)
    op.execute("""
        CREATE VIEW realtime_revenue WITH (security_barrier = true) AS
        SELECT
            tenant_id,
            total_revenue,
            verified,
            greatest(0, extract(epoch FROM statement_timestamp() - (
                SELECT max(entry.updated_at)
                FROM revenue_ledger AS entry
                WHERE entry.tenant_id = mv_realtime_revenue.tenant_id
            )))::integer AS data_freshness_seconds
        FROM mv_realtime_revenue
        WHERE tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid
    """)
    op.execute("""
        CREATE VIEW reconciliation_status WITH (security_barrier = true) AS
        SELECT
            tenant_id,
            state,
            last_run_at,
            reconciliation_run_id
        FROM mv_reconciliation_status
        WHERE tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid
    """)
    op.execute("""
        REVOKE ALL
            ON channel_performance, daily_revenue_summary, realtime_revenue, reconciliation_status
            FROM PUBLIC
    """)
    op.execute("""
        GRANT SELECT
            ON channel_performance, daily_revenue_summary, realtime_revenue, reconciliation_status
            TO app_rw, app_ro
    """)
    op.execute("""
        COMMENT ON VIEW channel_performance IS
            'mv_channel_performance for the tenant of the connection; without one, nothing.'
    """)
    op.execute("""
        COMMENT ON VIEW daily_revenue_summary IS
            'mv_daily_revenue_summary for the tenant of the connection; without one, nothing.'
    """)
    op.execute("""
        COMMENT ON VIEW realtime_revenue IS
            'mv_realtime_revenue for the tenant of the connection; without one, nothing. Freshness is that of '
            'the moment of reading.'
    """)
    op.execute("""
        COMMENT ON VIEW reconciliation_status IS
            'mv_reconciliation_status for the tenant of the connection; without one, nothing.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_performance.tenant_id IS
            'INVARIANT: auth_critical. Tenant of the connection.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_performance.channel_code IS
            'INVARIANT: analytics_important. Channel of the taxonomy that the revenue is attributed to.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_performance.allocation_date IS
            'INVARIANT: analytics_important. UTC day on which the allocations were made.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_performance.total_conversions IS
            'INVARIANT: analytics_important. Distinct events of the day; does not add up over days.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_performance.total_revenue_cents IS
            'INVARIANT: financial_critical. Sum of allocated_revenue_cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_performance.avg_confidence_score IS
            'INVARIANT: analytics_important. Average of confidence_score; weigh it by total_allocations.'
    """)
    op.execute("""
        COMMENT ON COLUMN channel_performance.total_allocations IS
            'INVARIANT: analytics_important. Number of allocations.'
    """)
    op.execute("""
        COMMENT ON COLUMN daily_revenue_summary.tenant_id IS
            'INVARIANT: auth_critical. Tenant of the connection.'
    """)
    op.execute("""
        COMMENT ON COLUMN daily_revenue_summary.revenue_date IS
            'INVARIANT: financial_critical. UTC day on which the entries were verified.'
    """)
    op.execute("""
        COMMENT ON COLUMN daily_revenue_summary.state IS
            'INVARIANT: financial_critical. State of the entries: captured, refunded or chargeback.'
    """)
    op.execute("""
        COMMENT ON COLUMN daily_revenue_summary.currency IS
            'INVARIANT: financial_critical. ISO 4217 code of the amounts.'
    """)
    op.execute("""
        COMMENT ON COLUMN daily_revenue_summary.total_amount_cents IS
            'INVARIANT: financial_critical. Sum of amount_cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN daily_revenue_summary.transaction_count IS
            'INVARIANT: financial_critical. Number of ledger entries.'
    """)
    op.execute("""
        COMMENT ON COLUMN realtime_revenue.tenant_id IS
            'INVARIANT: auth_critical. Tenant of the connection.'
    """)
    op.execute("""
        COMMENT ON COLUMN realtime_revenue.total_revenue IS
            'INVARIANT: financial_critical. Sum of revenue_cents over all entries, in units of 100 cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN realtime_revenue.verified IS
            'INVARIANT: financial_critical. Whether every entry of the tenant is verified.'
    """)
    op.execute("""
        COMMENT ON COLUMN realtime_revenue.data_freshness_seconds IS
            'INVARIANT: analytics_important. Age in seconds of the newest ledger change, at the moment of reading.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_status.tenant_id IS
            'INVARIANT: auth_critical. Tenant of the connection.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_status.state IS
            'INVARIANT: financial_critical. Progress of the latest run.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_status.last_run_at IS
            'INVARIANT: financial_critical. When the latest run last started.'
    """)
    op.execute("""
        COMMENT ON COLUMN reconciliation_status.reconciliation_run_id IS
            'INVARIANT: financial_critical. Identity of the latest run.'
    """)


def downgrade() -> None:
    op.execute("""DROP VIEW reconciliation_status""")
    op.execute("""DROP VIEW realtime_revenue""")
    op.execute("""DROP VIEW daily_revenue_summary""")
    op.execute("""DROP VIEW channel_performance""")
    op.execute("""GRANT SELECT ON mv_realtime_revenue, mv_reconciliation_status TO app_rw, app_ro""")
