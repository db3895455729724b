"""First materialized views: revenue per tenant and latest reconciliation per tenant.

Why    The dashboard reads one row per tenant instead of summing the ledger. The unique index on tenant_id
       is what REFRESH MATERIALIZED VIEW CONCURRENTLY needs. Known limits, kept as first published:
       data_freshness_seconds is frozen at refresh, and two runs of a tenant with the same last_run_at break
       the unique index of mv_reconciliation_status.

Locks  ACCESS SHARE on revenue_ledger and reconciliation_runs while the views are filled: reads and writes
       go on.

Undo   Drops both views with their contents; the tables they are computed from keep every row.
"""

from alembic import op

revision: str = "202511131119"
down_revision: str | None = "202511131115"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        CREATE MATERIALIZED VIEW mv_realtime_revenue AS
        SELECT
            tenant_id,
            sum(revenue_cents) / 100.0 AS total_revenue,
            bool_and(is_verified) AS verified,
            extract(epoch FROM now() - max(updated_at))::integer AS data_freshness_seconds
        FROM revenue_ledger
        GROUP BY tenant_id
    """)
    op.execute("""CREATE UNIQUE INDEX idx_mv_realtime_revenue_tenant_id ON mv_realtime_revenue (tenant_id)""")
    op.execute("""
        CREATE MATERIALIZED VIEW mv_reconciliation_status AS
        SELECT
            run.tenant_id,
            run.state,
            run.last_run_at,
            run.id AS reconciliation_run_id
        FROM reconciliation_runs AS run
        JOIN (
            SELECT tenant_id, max(last_run_at) AS last_run_at
            FROM reconciliation_runs
            GROUP BY tenant_id
        ) AS latest
            ON latest.tenant_id = run.tenant_id
            AND latest.last_run_at = run.last_run_at
    """)
    op.execute("""
        CREATE UNIQUE INDEX idx_mv_reconciliation_status_tenant_id
            ON mv_reconciliation_status (tenant_id)
    """)
    op.execute("""
        COMMENT ON MATERIALIZED VIEW mv_realtime_revenue IS
            'Revenue of each tenant, from revenue_ledger, as of the last refresh; one row per tenant that '
            'has entries.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_realtime_revenue.tenant_id IS
            'INVARIANT: auth_critical. Tenant the row sums up.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_realtime_revenue.total_revenue IS
            'INVARIANT: financial_critical. Sum of revenue_cents over all entries, in units of 100 cents.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_realtime_revenue.verified IS
            'INVARIANT: financial_critical. Whether every entry of the tenant is verified.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_realtime_revenue.data_freshness_seconds IS
            'INVARIANT: analytics_important. Age in seconds of the newest ledger change, at the moment of '
            'the refresh.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_mv_realtime_revenue_tenant_id IS
            'One row per tenant; lets the view be refreshed concurrently.'
    """)
    op.execute("""
        COMMENT ON MATERIALIZED VIEW mv_reconciliation_status IS
            'Latest reconciliation run of each tenant, from reconciliation_runs, as of the last refresh.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_reconciliation_status.tenant_id IS
            'INVARIANT: auth_critical. Tenant the run belongs to.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_reconciliation_status.state IS
            'INVARIANT: financial_critical. Progress of the latest run.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_reconciliation_status.last_run_at IS
            'INVARIANT: financial_critical. When the latest run last started.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_reconciliation_status.reconciliation_run_id IS
            'INVARIANT: financial_critical. Identity of the latest run.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_mv_reconciliation_status_tenant_id IS
            'One row per tenant; lets the view be refreshed concurrently.'
    """)


def downgrade() -> None:
    op.execute("""DROP MATERIALIZED VIEW mv_reconciliation_status""")
    op.execute("""DROP MATERIALIZED VIEW mv_realtime_revenue""")
